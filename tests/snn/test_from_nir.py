"""NIR graphs of others become networks with their spikes."""

from dataclasses import replace
from itertools import pairwise

import nir
import numpy as np
import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.snn.from_nir import from_nir
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.readouts import MembraneReadout, SpikeCountReadout
from polystep_snn.snn.record import record
from tests.hardware.formats.test_formats import make, spikes_for


def graph_of(*nodes, names=None, edges=None, **options):
    """A chain; ``names`` for the nodes between input and output."""
    names = names or [f"n{k}" for k in range(len(nodes))]
    shape = nodes[0].input_type["input"]
    named = {"input": nir.Input({"input": shape}), **dict(zip(names, nodes, strict=True))}
    named["output"] = nir.Output({"output": np.array(nodes[-1].output_type["output"])})
    return nir.NIRGraph(named, edges or list(pairwise(named)), **options)


def neuron(kind, size, rng, dt):
    """Constants of any value, different for every neuron where that is allowed."""

    def some(low, high):
        return rng.uniform(low, high, size)

    zeros = np.zeros(size)
    if kind in ("IF", "I"):
        fields = {"r": some(0.5, 2) / dt}
    elif kind in ("LIF", "LI"):
        fields = {"tau": np.full(size, 12 * dt), "r": some(5, 20), "v_leak": zeros}
    else:
        fields = {
            "tau_mem": np.full(size, 12 * dt),
            "tau_syn": np.full(size, 3 * dt),
            "r": some(5, 20),
            "w_in": some(1, 3),
            "v_leak": zeros,
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
            if isinstance(node, nir.CubaLIF):
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
@pytest.mark.parametrize("last", ["LIF", "CubaLIF", "IF", "LI", "I"])
@pytest.mark.parametrize("hidden", ["LIF", "CubaLIF", "IF"])
def test_it_follows_nirs_equations(tmp_path, hidden, last, from_file):
    rng, dt, sizes = np.random.default_rng(3), 5e-4, (20, 30, 15, 4)
    nodes = []
    for k, (m, n) in enumerate(pairwise(sizes)):
        weight = rng.normal(0, 0.3, (n, m))
        nodes.append(nir.Affine(weight, rng.normal(0, 0.1, n)) if k != 1 else nir.Linear(weight))
        nodes.append(neuron(last if k == 2 else hidden, n, rng, dt))
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


def snntorch_graph(beta=0.9, size=(20, 30, 5), alpha=None, flatten=False):
    """What snnTorch's ``export_to_nir`` makes of ``Sequential(Linear, Leaky, Linear, Leaky)``: float32, a step of 1e-4, r = tau / dt."""
    rng, dt, nodes = np.random.default_rng(0), np.float32(1e-4), []
    for m, n in pairwise(size):
        nodes.append(nir.Affine(weight=rng.uniform(-0.4, 0.5, (n, m)).astype("f4"), bias=rng.uniform(-0.1, 0.1, n).astype("f4")))
        tau = dt / (1 - np.full(n, beta, np.float32))
        ones, zeros = np.ones(n, np.float32), np.zeros(n, np.float32)
        if alpha is None:
            nodes.append(nir.LIF(tau=tau, v_threshold=ones, v_leak=zeros, r=tau / dt, v_reset=zeros))
        else:
            syn = dt / (1 - np.full(n, alpha, np.float32))
            constants = {"v_threshold": ones, "v_leak": zeros, "r": tau / dt, "w_in": syn / dt, "v_reset": zeros}
            nodes.append(nir.CubaLIF(tau_syn=syn, tau_mem=tau, **constants))
    if flatten:
        shape = np.array([4, size[0] // 4])
        nodes.insert(0, nir.Flatten(input_type={"input": shape}, start_dim=0, end_dim=-1))
    # Its names are the modules' places, and its edges come in no order.
    graph = graph_of(*nodes, names=[str(k) for k in range(len(nodes))])
    graph.edges.reverse()
    return graph


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
def test_our_own_integers_as_a_float_network(tmp_path, readout, dv):
    """The step is in the file. Six steps of halving are exact in the chip too."""
    integers = replace(make(readout, sizes=(40, 30, 5), dv=dv, vth=250), num_steps=6)
    nir_format.write(tmp_path / "n.nir", integers)
    network = from_nir(tmp_path / "n.nir")
    assert isinstance(network.readout, MembraneReadout if readout == "membrane" else SpikeCountReadout)
    x = spikes_for(integers, samples=200)
    unit = 1 if readout == "count" else 64 / 2.0**-7
    expected = Simulator(integers).run(x)
    assert expected.any()
    assert np.array_equal(network(torch.from_numpy(x).float())[0].numpy() * unit, expected)


def test_the_dtype_is_that_of_the_weights():
    assert from_nir(snntorch_graph(), dt=1e-4).weights[0].dtype == torch.float32
    assert isinstance(from_nir(snntorch_graph(), dt=1e-4), SpikingNetwork)


def lif(size=3, **changes):
    ones = np.ones(size)
    return nir.LIF(**{"tau": 0.01 * ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones, "v_reset": 0 * ones, **changes})


def linear(n=3, m=4, value=1.0):
    return nir.Linear(np.full((n, m), value))


def branch():
    nodes = {"input": nir.Input({"input": np.array([3])}), "a": linear(3, 3), "b": lif(), "c": lif(), "output": nir.Output({"output": [3]})}
    return nir.NIRGraph(nodes, [("input", "a"), ("a", "b"), ("a", "c"), ("b", "output"), ("c", "output")], type_check=False)


def recurrent():
    graph = graph_of(linear(3, 3), lif(), linear(3, 3), lif())
    graph.edges.append(("n3", "n2"))
    return graph


def loop_apart():
    graph = graph_of(linear(), lif())
    graph.nodes |= {"x": linear(3, 3), "y": lif()}
    graph.edges += [("x", "y"), ("y", "x")]
    return graph


def dead_end():
    graph = graph_of(linear(), lif())
    graph.edges.remove(("n1", "output"))
    return graph


def back_to_the_start():
    graph = graph_of(linear(), lif())
    graph.edges[-1] = ("n1", "input")
    return graph


def with_edges(edges):
    graph = graph_of(linear(), lif())
    graph.edges = edges
    return graph


def without(field):
    graph = graph_of(linear(), lif())
    setattr(graph.nodes["n1"], field, None)
    return graph


def inconsistent(weight):
    graph = graph_of(linear(), lif())
    graph.nodes["n0"].weight = weight
    return graph


@pytest.mark.parametrize(
    ("make_graph", "message"),
    [
        (branch, "node 'a' has more than one edge out"),
        (recurrent, "node 'n3' has more than one edge out"),
        (loop_apart, "node 'x' is not on the way"),
        (dead_end, "node 'output' is not on the way"),
        (back_to_the_start, "node 'output' is not on the way"),
        (lambda: with_edges([("input", "n0"), ("n0", "nowhere")]), "'nowhere', but there is no such node"),
        (lambda: with_edges([("input", "n0", "n1")]), "no usable 'edges'"),
        (lambda: graph_of(linear()), "node 'n0' is the last layer and has no neurons"),
        (lambda: graph_of(linear(), linear(3, 3)), "node 'n1' is Linear, expected LIF, CubaLIF, IF, LI, I"),
        (lambda: graph_of(lif(), lif()), "node 'n0' is LIF, expected Affine, Linear, Conv2d, SumPool2d, AvgPool2d"),
        (lambda: graph_of(linear(), nir.LI(*np.ones((2, 3)), np.zeros(3)), linear(3, 3), lif()), "node 'n1' is LI.*only the last may"),
        (lambda: graph_of(linear(), nir.Threshold(np.ones(3))), "node 'n1' is Threshold"),
        (lambda: graph_of(linear(value=np.nan), lif()), "node 'n0': weight contains NaN"),
        (lambda: graph_of(nir.Affine(np.ones((3, 4)), np.full(3, np.inf)), lif()), "node 'n0': bias contains NaN, infinity"),
        (lambda: graph_of(linear(), lif(v_threshold=np.array([1, 1, np.nan]))), "node 'n1': v_threshold contains NaN"),
        (lambda: graph_of(linear(), lif(v_threshold=np.array([1.0, 0, 1]))), "node 'n1': a threshold is 0"),
        (lambda: graph_of(linear(), lif(tau=np.array([0.01, 0.02, 0.02]))), "node 'n1': tau has 2 different values"),
        (lambda: graph_of(linear(), lif(tau=np.zeros(3))), "node 'n1': a time constant is 0"),
        (lambda: graph_of(linear(), lif(tau=np.full(3, 1e-4))), "how long a step is: name it with the argument dt="),
        (lambda: graph_of(linear(), nir.LI(np.full(3, 1e-3), np.ones(3), np.zeros(3))), "node 'n1': the readout's decay is 0"),
        (lambda: graph_of(linear(), nir.IF(np.ones(3), np.ones(3))), "node 'n1': r is 1.*name the argument dt=1"),
        (lambda: without("tau"), "node 'n1' has no usable 'tau'"),
        (lambda: without("r"), "node 'n1' has no usable 'r'"),
        (lambda: inconsistent(np.ones((3, 5))), r"the input has shape \[4\], but node 'n0' takes 5"),
        (lambda: inconsistent(np.ones((2, 4))), "node 'n1': r has 3 values for 2 neurons"),
        (lambda: inconsistent(np.ones((3, 4, 1))), r"node 'n0' has weights \[3, 4, 1\]"),
        (lambda: inconsistent(np.array([["a"]])), "node 'n0': weight contains NaN, infinity or nothing"),
        (lambda: lif(), "the graph is a LIF"),
        (lambda: "absent.nir", "absent.nir is not a file"),
    ],
)
def test_what_has_no_counterpart_is_named(make_graph, message):
    with pytest.raises(InputError, match=message) as caught:
        from_nir(make_graph())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dt", [0.0, -1e-3, float("nan"), float("inf")])
def test_a_step_has_a_length(dt):
    with pytest.raises(InputError, match="dt is"):
        from_nir(snntorch_graph(), dt=dt)


def test_widths_must_fit():
    graph = graph_of(linear(), lif(), linear(2, 3), lif(2))
    graph.nodes["n2"].weight = np.ones((2, 7))
    with pytest.raises(InputError, match="node 'n2' takes 7 inputs, but node 'n1' sends 3"):
        from_nir(graph)
