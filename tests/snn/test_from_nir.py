"""NIR graphs of others become networks with their spikes."""

from dataclasses import replace
from itertools import pairwise

import nir
import numpy as np
import pytest
import torch

from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.snn.from_nir import from_nir
from polystep_snn.snn.readouts import MembraneReadout, SpikeCountReadout
from polystep_snn.snn.record import record
from tests.hardware.formats.written import make, spikes_for
from tests.snn.nir_graphs import graph_of, snntorch_graph


def neuron(kind, size, rng, dt, leaks=False):
    """Constants of any value, different for every neuron where that is allowed."""

    def some(low, high):
        return rng.uniform(low, high, size)

    zeros = np.zeros(size)
    leak = some(-1, 2) if leaks else zeros
    if kind in ("IF", "I"):
        fields = {"r": some(0.5, 2) / dt}
    elif kind in ("LIF", "LI"):
        fields = {"tau": np.full(size, 12 * dt), "r": some(5, 20), "v_leak": leak}
    else:
        fields = {
            "tau_mem": np.full(size, 12 * dt),
            "tau_syn": np.full(size, 3 * dt),
            "r": some(5, 20),
            "w_in": some(1, 3),
            "v_leak": leak,
        }
    if kind.endswith("F"):
        fields |= {"v_threshold": some(0.5, 1.5), "v_reset": zeros}
    return getattr(nir, kind)(**fields)


def euler(graph, x, dt):
    """NIR's equations, node by node: the output in every step, and each layer's spikes (of the last one too, if it fires)."""
    after, name, signal, spikes = dict(graph.edges), "input", x, []
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Linear | nir.Affine):
            signal = signal @ node.weight.T + getattr(node, "bias", 0.0)
            continue
        v, i, out = np.zeros(signal.shape[1:]), np.zeros(signal.shape[1:]), []
        for current in signal:
            if isinstance(node, nir.CubaLIF | nir.CubaLI):
                i = i + dt / node.tau_syn * (node.w_in * current - i)
                v = v + dt / node.tau_mem * (node.v_leak - v + node.r * i)
            elif isinstance(node, nir.IF | nir.I):
                v = v + dt * node.r * current
            else:
                v = v + dt / node.tau * (node.v_leak - v + node.r * current)
            if hasattr(node, "v_threshold"):
                z = v > node.v_threshold
                v = np.where(z, node.v_reset, v)
                out.append(z.astype(float))
            else:
                out.append(v)
        signal = np.array(out)
        spikes.append(signal)
    return spikes


@pytest.mark.parametrize("from_file", [False, True], ids=["graph", "file"])
@pytest.mark.parametrize("leaks", [False, True], ids=["at rest", "leak potentials"])
@pytest.mark.parametrize("last", ["LIF", "CubaLIF", "IF", "LI", "CubaLI", "I"])
@pytest.mark.parametrize("hidden", ["LIF", "CubaLIF", "IF"])
def test_it_follows_nirs_equations(tmp_path, hidden, last, leaks, from_file):
    rng, dt, sizes = np.random.default_rng(3), 5e-4, (20, 30, 15, 4)
    nodes = []
    for k, (m, n) in enumerate(pairwise(sizes)):
        weight = rng.normal(0, 0.3, (n, m))
        nodes.append(nir.Affine(weight, rng.normal(0, 0.1, n)) if k != 1 else nir.Linear(weight))
        nodes.append(neuron(last if k == 2 else hidden, n, rng, dt, leaks))
    graph = graph_of(*nodes)
    x = (rng.random((40, 25, 20)) < 0.3).astype(np.float64)
    expected = euler(graph, x, dt)
    if from_file:
        nir.write(tmp_path / "n.nir", graph)
    network = from_nir(tmp_path / "n.nir" if from_file else graph, dt=dt)
    assert network.sizes == list(sizes)
    output = network(torch.from_numpy(x))[0].numpy()
    fires = last.endswith("F")
    assert np.allclose(output, expected[2].sum(0) if fires else expected[2][-1], atol=1e-9)
    recording = record(network, torch.from_numpy(x[:, :1]))
    for found, train in zip(recording.spikes, expected[:2], strict=True):
        assert 0.02 < train.mean() < 0.9
        assert np.array_equal(found.numpy(), train[:, 0])


@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize("alpha", [None, 0.5])
def test_a_file_of_snntorch(tmp_path, alpha, flatten):
    graph = snntorch_graph(alpha=alpha, flatten=flatten)
    nir.write(tmp_path / "n.nir", graph)
    network = from_nir(tmp_path / "n.nir", dt=1e-4)
    assert [p.beta for p in network.neurons] == [0.9]
    assert network.readout.neuron.alpha == (alpha or 0)
    x = (np.random.default_rng(1).random((25, 100, 20)) < 0.3).astype(np.float32)
    # snnTorch's Leaky and Synaptic with reset_mechanism="zero", reset_delay=False.
    signal = x
    for linear, _ in pairwise([n for n in graph.nodes.values() if isinstance(n, nir.Affine)] + [None]):
        syn = mem = np.zeros((100, len(linear.weight)), np.float32)
        out = []
        for current in signal @ linear.weight.T + linear.bias:
            syn = np.float32(alpha or 0) * syn + current
            mem = np.float32(0.9) * mem + syn
            out.append((mem - 1 > 0).astype(np.float32))
            mem = np.where(out[-1] > 0, np.float32(0), mem)
        signal = np.array(out)
    counts = network(torch.from_numpy(x))[0].numpy()
    assert signal.sum(0).max() > 3
    assert np.array_equal(counts, signal.sum(0))


@pytest.mark.parametrize("last", ["LIFBoxCell", "LIBoxCell"])
def test_a_file_that_norse_wrote(tmp_path, last):
    """Norse's own ``to_nir``, which multiplies time constants by dt: a dt of 1e-6 gives back what was meant."""
    import norse.torch as norse
    from norse.torch.functional.leaky_integrator_box import LIBoxParameters
    from norse.torch.functional.lif_box import LIFBoxParameters

    def cell(kind, size):
        ones = torch.ones(size)
        if kind == "LIBoxCell":
            return norse.LIBoxCell(LIBoxParameters(50 * ones, 0 * ones))
        return norse.LIFBoxCell(LIFBoxParameters(100 * ones, 0 * ones, 0.25 * ones, 0 * ones, "heaviside"))

    torch.manual_seed(0)
    linears = [torch.nn.Linear(n, m) for n, m in pairwise((30, 20, 5))]
    with torch.no_grad():
        for linear in linears:
            linear.weight.mul_(8)
    model = norse.SequentialState(linears[0], cell("LIFBoxCell", 20), linears[1], cell(last, 5))
    nir.write(tmp_path / "n.nir", norse.to_nir(model, torch.rand(1, 30)))
    network = from_nir(tmp_path / "n.nir", dt=1e-6)
    assert [p.beta for p in network.neurons] == [0.9]

    x, state, total = (torch.rand(30, 100, 30) < 0.3).float(), None, 0
    with torch.no_grad():
        for frame in x:
            out, state = model(frame, state)
            total = total + out
    output = network(x)[0]
    assert total.std() > 0.1
    if last == "LIBoxCell":
        assert torch.allclose(output, out, atol=1e-5)
    else:
        assert torch.equal(output, total)
    assert torch.equal(output.argmax(1), (out if last == "LIBoxCell" else total).argmax(1))


@pytest.mark.parametrize("readout", ["count", "membrane"])
@pytest.mark.parametrize("dv", [0, 2048])
@pytest.mark.parametrize("du", [4095, 2047])
def test_our_own_integers_as_a_float_network(tmp_path, readout, dv, du):
    """The step is in the file. Six steps of halving are exact in the chip too."""
    integers = replace(make(readout, sizes=(40, 30, 5), dv=dv, du=du, bias=40, vth=250), num_steps=6)
    nir_format.write(tmp_path / "n.nir", integers)
    network = from_nir(tmp_path / "n.nir")
    assert isinstance(network.readout, MembraneReadout if readout == "membrane" else SpikeCountReadout)
    x = spikes_for(integers, samples=200)
    unit = 1 if readout == "count" else 64 / 2.0**-7
    expected = Simulator(integers).run(x)
    assert expected.any()
    assert np.array_equal(network(torch.from_numpy(x).float())[0].numpy() * unit, expected)
