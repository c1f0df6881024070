"""Recurrent weights and delays in NIR graphs: cycles and ``Delay`` nodes, written, read back, and run by their equations."""

import os
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written import change, make
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory
from tests.hardware.test_memory_file import same_memory
from tests.reference.naive_nir import naive_nir


@pytest.mark.parametrize("memory", MEMORIES)
def test_what_is_written_is_read_back(tmp_path, memory):
    for seed in range(6):
        network, spikes = random_with_memory(memory, seed)
        nir_format.write(tmp_path / "n.nir", network)
        found = nir_format.read(tmp_path / "n.nir")
        assert same_memory(found, network)
        assert np.array_equal(Simulator(found).run(spikes), Simulator(network).run(spikes))


@pytest.mark.parametrize("memory", MEMORIES)
def test_its_equations_fire_the_same_spikes(tmp_path, memory):
    """Without leak and without a current all is exact: every spike, and the membranes of a readout that integrates."""
    fired = 0
    for seed in range(12):
        network, spikes = random_with_memory(memory, seed)
        layers = [replace(layer, du=4095, dv=0) for layer in network.layers]
        if seed % 2:
            layers[-1] = replace(layers[-1], recurrent=None, vth=np.full(layers[-1].num_neurons, 2**17 - 1, np.int32))
        network = replace(network, layers=tuple(layers), readout="membrane" if seed % 2 else "count")
        nir_format.write(tmp_path / "n.nir", network)
        graph = nir.read(tmp_path / "n.nir")
        expected = Simulator(network).record(spikes)
        for b in range(spikes.shape[1]):
            sent = naive_nir(graph, spikes[:, b], nir_format.DT)
            for k, layer in enumerate(expected.layers):
                if k < len(layers) - 1 or seed % 2 == 0:
                    assert np.array_equal(sent[f"neurons_{k}"] > 0, layer.z[:, b]), (seed, k)
                    fired += layer.z[:, b].sum()
            if seed % 2:
                assert np.array_equal(sent["output"][-1] * 64, expected.values[b])
    assert fired > 500


@pytest.mark.parametrize(("du", "dv"), [(4095, 205), (1000, 205), (2047, 0)])
def test_leaks_and_currents_are_those_of_the_equations(tmp_path, du, dv):
    """``decay`` rounds, so late spikes may differ in a network whose spikes come back; most do not."""
    same = total = 0
    for seed in range(8):
        network, spikes = random_with_memory("both", seed, num_steps=20)
        network = replace(network, layers=tuple(replace(layer, du=du, dv=dv) for layer in network.layers), readout="count")
        nir_format.write(tmp_path / "n.nir", network)
        graph = nir.read(tmp_path / "n.nir")
        for b, k in np.ndindex(spikes.shape[1], len(network.layers)):
            z = Simulator(network).record(spikes).layers[k].z[:, b]
            same += (naive_nir(graph, spikes[:, b], nir_format.DT)[f"neurons_{k}"] == z).sum()
            total += z.size
    assert same > 0.97 * total


def remembering():
    """20 inputs with delays, 15 recurrent neurons, 12, 5."""
    network, rng = make(), np.random.default_rng(0)
    first = replace(
        network.layers[0],
        recurrent=rng.integers(-50, 50, (15, 15)).astype(np.int8),
        delays=rng.integers(0, 12, 20).astype(np.uint8),
    )
    return replace(network, layers=(first, *network.layers[1:]))


def test_the_nodes_have_names_and_units(tmp_path):
    nir_format.write(tmp_path / "n.nir", remembering(), dt=1e-3)
    graph, layer = nir.read(tmp_path / "n.nir"), remembering().layers[0]
    assert ("neurons_0", "recurrent_0") in graph.edges
    assert ("recurrent_0", "neurons_0") in graph.edges
    assert ("input", "delay_0") in graph.edges
    assert np.allclose(graph.nodes["delay_0"].delay, layer.delays * 1e-3)
    assert np.array_equal(graph.nodes["delay_0"].metadata["delays"], layer.delays)
    unit = graph.nodes["dense_0"].weight[0, 0] / layer.weight[0, 0]
    assert np.allclose(graph.nodes["recurrent_0"].weight, layer.recurrent * unit)
    nodes, ways_back = nir_format.recurrent_chain(nir_format.read_graph(tmp_path / "n.nir"))
    expected = ["input", "delay_0", "dense_0", "neurons_0", "dense_1", "neurons_1", "dense_2", "neurons_2", "output"]
    assert [name for name, _ in nodes] == expected
    assert [(name, way[0]) for name, way in ways_back.items()] == [("neurons_0", "recurrent_0")]
    with pytest.raises(InputError, match="node 'neurons_0' has more than one edge out: only chains are read"):
        nir_format.chain(nir_format.read_graph(tmp_path / "n.nir"))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("node/nodes/recurrent_0/weight", np.zeros((15, 15), np.float32)),
        ("node/nodes/recurrent_0", None),
        ("node/nodes/delay_0/delay", np.zeros(20)),
        ("node/nodes/delay_0/metadata/delays", np.zeros(20, np.uint8)),
        ("node/edges", np.array([[b"input", b"output"]])),
    ],
)
def test_a_changed_file_is_not_read_as_the_old_network(tmp_path, place, value):
    nir_format.write(tmp_path / "n.nir", remembering())
    change(tmp_path / "n.nir", place, value)
    with pytest.raises(InputError, match="the graph is no longer that of the integers inside"):
        nir_format.read(tmp_path / "n.nir")


def test_a_recurrent_integrator_is_refused(tmp_path):
    network = make("membrane")
    last = replace(network.layers[-1], recurrent=np.ones((5, 5), np.int8))
    with pytest.raises(InputError, match="layer 2 integrates and never fires, but has recurrent weights: leave them out"):
        nir_format.write(tmp_path / "n.nir", replace(network, layers=(*network.layers[:-1], last)))
    assert not os.listdir(tmp_path)


def graph_of(edges, inner=None):
    kinds = {"in": "Input", "out": "Output", "w": "Linear", "n": "LIF", "r": "Affine", "q": "Linear", "d": "Delay", "g": "NIRGraph"}
    names = {name for edge in edges.split() for name in edge.split(">")}
    nodes = {name: {"type": kinds[name]} | (inner or {} if name == "g" else {}) for name in sorted(names)}
    return {"nodes": nodes, "edges": [edge.split(">") for edge in edges.split()]}


def test_spikes_come_back_within_graphs_in_any_order_of_edges():
    inner = graph_of("r>n n>out in>n n>r")
    nodes, ways_back = nir_format.recurrent_chain(graph_of("g>out in>w w>g", inner))
    assert [name for name, _ in nodes] == ["in", "w", "g.n", "out"]
    assert [(name, way[0], way[1]["type"]) for name, way in ways_back.items()] == [("g.n", "g.r", "Affine")]
    assert nir_format.recurrent_chain(graph_of("in>w w>n n>out"))[1] == {}


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ("in>w w>n n>out n>r r>n n>q q>n", "spikes of node 'n' come back by 'q' and 'r': add their weights up"),
        ("in>w w>n n>out n>d d>n", "node 'd' delays spikes that come back, but those arrive in the next step here: train without it"),
        ("in>w w>n n>out n>r r>d d>n", "node 'd' delays spikes that come back"),
        ("in>w w>n n>out n>d d>r r>n", "node 'd' delays spikes that come back"),
        ("in>w w>n n>out n>q q>w", "node 'n' has more than one edge out: only chains are read, in which spikes come back"),
        ("in>w w>n n>out n>n", "node 'n' has more than one edge"),
        ("in>w w>n n>out n>r r>w", "node 'n' has more than one edge out"),
        ("in>w w>n n>out w>r r>w", "node 'w' has more than one edge out"),
        ("in>w w>n n>out r>n", "node 'n' has more than one edge in"),
        ("in>w w>n n>out n>r r>r", "node 'n' has more than one edge out"),
        ("in>w w>n n>r r>n", "0 nodes of type Output"),
    ],
)
def test_other_circles_are_refused(edges, message):
    with pytest.raises(InputError, match=message) as caught:
        nir_format.recurrent_chain(graph_of(edges))
    assert "\n" not in str(caught.value)


def test_a_network_that_seven_programs_ran():
    """12 inputs, 38 recurrent neurons, 7 classes (Pedersen et al. 2024, paper/03_rnn)."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    path = Path(folder or "") / "peers" / "braille_noDelay_bias_zero.nir"
    if not folder or not path.exists():
        pytest.skip("POLYSTEP_SNN_DATA holds no peers/braille_noDelay_bias_zero.nir: the recurrent network is not here")
    nodes, ways_back = nir_format.recurrent_chain(nir_format.read_graph(path))
    found = [(name, node["type"]) for name, node in nodes]
    inner = [("fc1", "Affine"), ("lif1.lif", "CubaLIF"), ("fc2", "Affine"), ("lif2", "CubaLIF")]
    assert found == [("input", "Input"), *inner, ("output", "Output")]
    ((neurons, (weights, node)),) = ways_back.items()
    assert (neurons, weights, node["type"], node["weight"].shape) == ("lif1.lif", "lif1.w_rec", "Affine", (38, 38))
    with pytest.raises(InputError, match=r"holds no integer network, another program wrote it: polystep_snn.from_nir reads float networks"):
        nir_format.read(path)
