"""NIR graphs whose spikes come back or arrive late become recurrent and delayed layers."""

from dataclasses import replace
from itertools import pairwise

import nir
import numpy as np
import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.geometry import Delayed, Recurrent
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.snn.from_nir import from_nir
from polystep_snn.snn.record import record
from tests.hardware.formats.written import make
from tests.reference.naive_nir import naive_nir
from tests.snn.nir_graphs import graph_of, linear
from tests.snn.test_from_nir import neuron

DT = 5e-4


def with_way_back(graph, neurons, node, name="back"):
    graph.nodes[name] = node
    graph.edges += [(neurons, name), (name, neurons)]
    return graph


def remembering(hidden="LIF", last="CubaLI", recurrent=True, delays=True, seed=0, sizes=(12, 10, 9, 4)):
    """Three layers: the first recurrent, the spikes of the second late."""
    rng = np.random.default_rng(seed)
    nodes = []
    for k, (m, n) in enumerate(pairwise(sizes)):
        nodes += [nir.Affine(rng.normal(0, 0.4, (n, m)), rng.normal(0, 0.1, n)), neuron(last if k == 2 else hidden, n, rng, DT)]
    if delays:
        nodes.insert(4, nir.Delay(np.arange(sizes[2]) % 6 * DT))
    graph = graph_of(*nodes)
    return with_way_back(graph, "n1", nir.Linear(rng.normal(0, 0.8, (sizes[1],) * 2))) if recurrent else graph


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(("hidden", "last"), [("LIF", "CubaLI"), ("CubaLIF", "LIF"), ("IF", "I"), ("CubaLIF", "CubaLIF")])
def test_it_fires_as_the_equations_say(tmp_path, hidden, last, from_file):
    graph = remembering(hidden, last)
    if from_file:
        nir.write(tmp_path / "n.nir", graph)
    network = from_nir(tmp_path / "n.nir" if from_file else graph, dt=DT)
    assert network.architecture == [12, Recurrent(10), Delayed(9, 5), 4]
    x = (np.random.default_rng(1).random((50, 8, 12)) < 0.3).astype(np.float64)
    for b in range(8):
        sent = naive_nir(graph, x[:, b], DT)
        found = record(network, torch.from_numpy(x[:, b : b + 1]))
        for name, spikes in zip(("n1", "n3"), found.spikes, strict=True):
            assert 0.02 < sent[name].mean() < 0.9
            assert np.array_equal(spikes.numpy(), sent[name]), (b, name)
        expected = sent["output"].sum(0) if last.endswith("F") else sent["output"][-1]
        assert np.allclose(found.readout[-1].numpy(), expected, atol=1e-9)


def test_both_memories_matter():
    x = torch.from_numpy((np.random.default_rng(1).random((50, 20, 12)) < 0.3).astype(np.float64))
    whole = from_nir(remembering(), dt=DT)(x)[0]
    assert not torch.equal(whole, from_nir(remembering(recurrent=False), dt=DT)(x)[0])
    late = from_nir(remembering(), dt=DT)
    late.delays[2].zero_()
    assert not torch.equal(whole, late(x)[0])


def test_biases_of_the_way_back_are_added_in_every_step():
    """As where they stand on the way in, from the first step on."""
    rng = np.random.default_rng(2)
    weight, bias, back, added = rng.normal(0, 0.4, (5, 4)), rng.normal(0, 0.2, 5), rng.normal(0, 0.8, (5, 5)), rng.normal(0, 0.5, 5)
    lif, after = neuron("CubaLIF", 5, rng, DT), (nir.Linear(rng.normal(0, 1, (3, 5))), neuron("LI", 3, rng, DT))
    one = with_way_back(graph_of(nir.Affine(weight, bias), lif, *after), "n1", nir.Affine(back, added))
    other = with_way_back(graph_of(nir.Affine(weight, bias + added), lif, *after), "n1", nir.Linear(back))
    x = torch.from_numpy((rng.random((30, 40, 4)) < 0.4).astype(np.float64))
    ours, theirs = from_nir(one, dt=DT), from_nir(other, dt=DT)
    assert torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-9)
    ours.biases[0].sub_(torch.from_numpy(added))
    assert not torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-3)


@pytest.mark.parametrize("readout", ["count", "membrane"])
def test_our_own_integers_as_a_float_network(tmp_path, readout):
    """Without leak and current all is exact."""
    rng, network = np.random.default_rng(0), make(readout, sizes=(20, 15, 12, 5), du=4095, dv=0, vth=150)
    first, second, last = network.layers
    first = replace(first, recurrent=rng.integers(-100, 101, (15, 15)).astype(np.int8))
    last = replace(last, delays=rng.integers(0, 4, 12).astype(np.uint8))
    network = replace(network, layers=(first, second, last))
    nir_format.write(tmp_path / "n.nir", network)
    found = from_nir(tmp_path / "n.nir")
    assert found.architecture == [20, Recurrent(15), Delayed(12, 3), 5]
    assert found.delays[2].tolist() == last.delays.tolist()
    x = (rng.random((network.num_steps, 100, 20)) < 0.5).astype(np.uint8)
    expected = Simulator(network).run(x)
    assert len(np.unique(expected)) > 3
    unit = 1 if readout == "count" else 64 / 2.0 ** round(np.log2(last.scale))
    assert np.array_equal(found(torch.from_numpy(x).float())[0].numpy() * unit, expected)


def lif(size=3, **changes):
    ones = np.ones(size)
    return nir.LIF(**{"tau": 0.01 * ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones, "v_reset": 0 * ones, **changes})


def delayed(values, count=3):
    return graph_of(linear(count), lif(count), nir.Delay(np.array(values)), linear(2, count), lif(2))


def both():
    return with_way_back(delayed([1e-3] * 3), "n1", linear(3, 3))


def two_ways():
    return with_way_back(with_way_back(graph_of(linear(), lif(), linear(2, 3), lif(2)), "n1", linear(3, 3)), "n1", linear(3, 3), "again")


def late_way_back():
    graph = graph_of(linear(), lif(), linear(2, 3), lif(2))
    graph.nodes |= {"back": linear(3, 3), "late": nir.Delay(np.full(3, 1e-3))}
    graph.edges += [("n1", "back"), ("back", "late"), ("late", "n1")]
    return graph


def too_many_delays():
    graph = delayed([1e-3] * 3)
    graph.nodes["n2"].delay = np.full(4, 1e-3)
    return graph


def wrong_size():
    graph = with_way_back(graph_of(linear(), lif(), linear(2, 3), lif(2)), "n1", linear(3, 3))
    graph.nodes["back"].weight = np.ones((3, 4))
    return graph


def maps(behind=False):
    convolution = nir.Conv2d((4, 4), np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.zeros(2))
    neurons = lif(8)
    for field in ("tau", "r", "v_leak", "v_threshold", "v_reset"):
        setattr(neurons, field, getattr(neurons, field).reshape(2, 2, 2))
    flat = nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1)
    named = {"input": nir.Input({"input": np.array([1, 4, 4])}), "c": convolution, "n": neurons, "f": flat}
    if behind:
        named["d"] = nir.Delay(np.full(8, 1e-3))
    named |= {"w": linear(2, 8), "m": lif(2), "output": nir.Output({"output": np.array([2])})}
    names = list(named)
    graph = nir.NIRGraph(named, list(pairwise(names)), type_check=False)
    return graph if behind else with_way_back(graph, "n", linear(8, 8))


def two_resets():
    graph = remembering()
    graph.nodes["n1"].metadata, graph.nodes["n3"].metadata = {"reset": "zero"}, {"reset": "subtract"}
    return graph


@pytest.mark.parametrize(
    ("make_graph", "message"),
    [
        (lambda: delayed([1e-3, 2.5e-3, 0]), "node 'n2': a delay is 0.0025 s, which is 2.5 steps of 0.001 s: give whole steps"),
        (lambda: delayed([1e-3, -1e-3, 0]), "node 'n2': a delay is -0.001 s, which is -1 steps"),
        (lambda: delayed([1e-3, np.nan, 0]), "node 'n2': delay contains NaN"),
        (lambda: delayed([0.063, 0, 0]), "node 'n2': .*longest delay is 63: choose a longest delay from 1 to 62 steps"),
        (too_many_delays, "node 'n2': delay has 4 values for 3 neurons"),
        (lambda: graph_of(nir.Delay(np.full(4, 1e-3)), linear(), lif()), "node 'n0' delays the input, but only hidden neurons have"),
        (lambda: graph_of(linear(), nir.Delay(np.full(3, 1e-3)), lif()), "node 'n1' is Delay, expected LIF, CubaLIF, IF"),
        (lambda: graph_of(linear(), lif(), nir.Delay(np.full(3, 1e-3))), "node 'n1' ends the network and is late, but no readout is"),
        (lambda: with_way_back(graph_of(linear(), lif()), "n1", linear(3, 3)), "node 'n1' ends the network and is recurrent, but no"),
        (both, "node 'n2' delays spikes of recurrent neurons, but a layer has either here: put a dense layer between"),
        (two_ways, "spikes of node 'n1' come back by 'back' and 'again': add their weights up"),
        (late_way_back, "node 'late' delays spikes that come back, but those arrive in the next step here"),
        (wrong_size, r"node 'back' has recurrent weights \[3, 4\] for 3 neurons: give one from each to each"),
        (maps, "node 'back': spikes of maps come back, but recurrent layers are dense here"),
        (lambda: maps(behind=True), "node 'd' delays spikes of maps, but those of dense layers alone can be late here"),
        (two_resets, "the graph contradicts itself.*name what is meant with the argument reset="),
    ],
)
def test_what_has_no_counterpart_is_named(make_graph, message):
    with pytest.raises(InputError, match=message) as caught:
        from_nir(make_graph(), dt=1e-3)
    assert "\n" not in str(caught.value)


def test_delays_add_up_and_one_may_stand_for_all():
    graph = graph_of(
        linear(), lif(), nir.Delay(np.array([0, 1e-3, 2e-3])), nir.Delay(np.array([3e-3])), linear(2, 3), lif(2), type_check=False
    )
    network = from_nir(graph, dt=1e-3)
    assert network.architecture == [4, Delayed(3, 5), 2]
    assert network.delays[1].tolist() == [3, 4, 5]
    assert from_nir(delayed([0.0] * 3), dt=1e-3).architecture == [4, 3, 2]


def test_delays_of_float32_are_whole_steps():
    network = from_nir(delayed(np.array([0, 7, 62], np.float32) * np.float32(1e-4)), dt=1e-4)
    assert network.delays[1].tolist() == [0, 7, 62]
