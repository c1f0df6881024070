"""Convolutions and pools of Norse and of NIR graphs become networks with their spikes."""

from itertools import pairwise

import h5py
import nir
import norse.torch as norse
import numpy as np
import pytest
import torch
from norse.torch.functional.lif_box import LIFBoxParameters
from torch import nn
from torch.nn.functional import conv2d, linear, unfold

from polystep_snn.convert import to_integer_network
from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, SumPool
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.snn.from_nir import from_nir
from polystep_snn.snn.from_norse import from_norse
from polystep_snn.snn.loihi import CubaParameters
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.readouts import MembraneReadout, SpikeCountReadout

SHAPE = (2, 8, 8)


def frames(seed=1, num_steps=40, samples=6, shape=SHAPE, rate=0.3):
    return (torch.rand(num_steps, samples, *shape, generator=torch.Generator().manual_seed(seed)) < rate).double()


def hidden_spikes(network, x):
    """``[T, B, N]`` of every hidden layer."""
    state, steps = network.initial_state(x.shape[1]), []
    for frame in x:
        z, state = network.step(frame.flatten(1), state)
        steps.append(z)
    return [torch.stack(layer) for layer in zip(*steps, strict=True)]


def assert_same_spikes(network, x, expected):
    """``expected``: spikes of every layer, the last one's too if it fires, or else its membranes."""
    *hidden, last = expected
    for found, train in zip(hidden_spikes(network, x), hidden, strict=True):
        assert 0.02 < train.double().mean() < 0.9
        assert torch.equal(found, train.flatten(2).to(found))
    output = network(x)[0]
    if isinstance(network.readout, SpikeCountReadout):
        assert 0.02 < last.double().mean() < 0.9
        assert torch.equal(output, last.sum(0).to(output))
    else:
        assert output.std() > 0.1
        assert torch.allclose(output, last[-1], atol=1e-9)


# Norse -----------------------------------------------------------------------------------------------------------------------------


def box(cell="LIFBoxCell", v_leak=0.0):
    leak = torch.tensor(v_leak).double()
    constants = {"tau_mem_inv": torch.tensor(200.0).double(), "v_leak": leak, "v_reset": leak, "method": "heaviside"}
    return norse.LIFBoxCell(LIFBoxParameters(**constants)) if cell == "LIFBoxCell" else norse.LIFCell(norse.LIFParameters(**constants))


def sequential(*modules, gain=15):
    """In float64, with weights that make neurons fire."""
    torch.manual_seed(0)
    model = norse.SequentialState(*modules).double()
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.reset_parameters()
                module.weight.mul_(gain)
    return model


@torch.no_grad()
def layers_in_norse(model, x):
    """What every neuron layer puts out, step by step, by Norse's own forward pass."""
    hooked, trains = [], []
    for module, is_stateful in zip(model, model.stateful_layers, strict=True):
        if is_stateful:
            trains.append([])
            hooked.append(module.register_forward_hook(lambda _, __, output, train=trains[-1]: train.append(output[0])))
    state = None
    for frame in x:
        _, state = model(frame, state)
    for hook in hooked:
        hook.remove()
    return [torch.stack(train) for train in trains]


POOLS = {
    "none": (nn.Identity, None, 1),
    "mean": (lambda: nn.AvgPool2d(2), SumPool(2), 1 / 4),
    "mean of 16": (lambda: nn.AvgPool2d((4, 4), 4), SumPool(4), 1 / 16),
    "another mean": (lambda: nn.AvgPool2d(2, divisor_override=3), SumPool(2), 1 / 3),
    "sum": (lambda: nn.LPPool2d(1, 2), SumPool(2), 1),
    "sum by a divisor": (lambda: nn.AvgPool2d(2, divisor_override=1), SumPool(2), 1),
}


@pytest.mark.parametrize("cell", ["LIFBoxCell", "LIFCell"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_norse_network_keeps_its_spikes(pool, cell):
    """Maps of 8 x 8, pooled, then of about the same size: every step and neuron."""
    make_pool, item, factor = POOLS[pool]
    size = 8 // (item.size if item else 1)
    modules = [nn.Conv2d(2, 4, 3, padding=1), box(cell, 0.25), make_pool(), nn.Conv2d(4, 5, 2, 1, 1, bias=False), box(cell), nn.Flatten()]
    modules += [nn.Linear(5 * (size + 1) ** 2, 20), box(cell, 0.25), nn.Linear(20, 6, bias=False), box(cell)]
    model = sequential(*(m for m in modules if not isinstance(m, nn.Identity)), gain=15 if factor == 1 else 40)
    network = from_norse(model, SHAPE)
    assert network.architecture == [SHAPE, Conv(4, 3, 1, 1), *([item] if item else []), Conv(5, 2, 1, 1), 20, 6]
    second = [m for m in model if isinstance(m, nn.Conv2d)][1]
    assert torch.allclose(network.weights[1], second.weight * 0.2 * factor, rtol=1e-15, atol=0)
    x = frames()
    assert_same_spikes(network, x, layers_in_norse(model, x))


def test_pools_stand_before_any_weights_and_flatten_anywhere_behind_maps():
    """A pooled input; neurons behind a Flatten; a dense layer on pooled maps. The last one integrates."""
    modules = [nn.AvgPool2d(2), nn.Conv2d(2, 6, 3, 2, 1), nn.Flatten(), box(), nn.Linear(24, 4), norse.LIBoxCell()]
    model = sequential(*modules, gain=40)
    network = from_norse(model, SHAPE)
    assert network.architecture == [SHAPE, SumPool(2), Conv(6, 3, 2, 1), 4]
    assert network.readout == MembraneReadout(decay=0.9)
    x = frames()
    assert_same_spikes(network, x, layers_in_norse(model, x))

    model = sequential(nn.Conv2d(2, 4, 1), box(), nn.LPPool2d(1, 2), nn.Flatten(1, 3), nn.Linear(64, 4), box())
    network = from_norse(model, SHAPE)
    assert network.architecture == [SHAPE, Conv(4, 1), SumPool(2), 4]
    assert_same_spikes(network, x, layers_in_norse(model, x))


def test_a_norse_network_of_dense_layers_may_flatten_its_input():
    model = sequential(nn.Flatten(), nn.Linear(128, 20), box(), nn.Linear(20, 5), box())
    x = frames()
    for shape, first in ((None, 128), (SHAPE, SHAPE)):
        network = from_norse(model, shape)
        assert network.architecture == [first, 20, 5]
        assert_same_spikes(network, x, layers_in_norse(model, x))


def test_the_dtype_is_that_of_the_norse_model():
    model = sequential(nn.Conv2d(2, 4, 3), box(), nn.Flatten(), nn.Linear(144, 3), box()).float()
    network = from_norse(model, SHAPE)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    x = frames().float()
    assert_same_spikes(network, x, layers_in_norse(model, x))


CONV, TAIL = nn.Conv2d(2, 4, 3), [nn.Flatten(), nn.Linear(144, 3), box()]


@pytest.mark.parametrize(
    ("modules", "shape", "message"),
    [
        ([CONV, box(), *TAIL], None, r"module 0 is Conv2d, so the input's shape is needed: give input_shape=\(channels, height, width\)"),
        ([nn.AvgPool2d(2), CONV, box(), *TAIL], None, "module 0 is AvgPool2d, so the input's shape is needed"),
        ([CONV, box(), *TAIL], 128, "the input's shape is 128: give channels, height and width"),
        ([CONV, box(), *TAIL], (2, 8), r"the input's shape is \(2, 8\)"),
        ([CONV, box(), *TAIL], (2, 8, 0), r"the input's shape is \(2, 8, 0\)"),
        ([CONV, box(), *TAIL], (3, 8, 8), r"module 0 \(Conv2d\) takes 2 channels, but the input sends 3"),
        ([CONV, box(), *TAIL], (2, 9, 8), r"module 3 \(Linear\) takes 144 inputs, but module 1 \(LIFBoxCell\) sends 168"),
        ([CONV, box(), *TAIL], (2, 2, 2), r"module 0 \(Conv2d\): a kernel of 3 x 3 does not fit into 2 x 2"),
        ([nn.Conv2d(2, 4, (3, 2)), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): kernel_size is \[3, 2\]: give one whole number"),
        ([nn.Conv2d(2, 4, 3, stride=(1, 2)), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): stride is \[1, 2\]"),
        ([nn.Conv2d(2, 4, 3, padding=(1, 0)), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): padding is \[1, 0\]"),
        ([nn.Conv2d(2, 4, 3, padding="same"), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): padding is 'same': give one whole number"),
        ([nn.Conv2d(2, 4, 3, padding=3), box(), *TAIL], SHAPE, r"padding is \[3, 3\] for a kernel of \[3, 3\]: choose less padding"),
        ([nn.Conv2d(2, 4, 3, dilation=2), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): dilation is 2, but only 1 is read"),
        ([nn.Conv2d(2, 4, 3, groups=2), box(), *TAIL], SHAPE, r"module 0 \(Conv2d\): groups is 2, but only 1 is read"),
        ([nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), box(), *TAIL], SHAPE, "padding_mode is 'reflect'"),
        ([nn.ConvTranspose2d(2, 4, 3), box(), *TAIL], SHAPE, "module 0 is ConvTranspose2d, expected nn.Linear, nn.Conv2d"),
        ([norse.Lift(CONV), box(), *TAIL], SHAPE, "module 0 is Lift, expected nn.Linear, nn.Conv2d"),
        ([CONV, box(), nn.MaxPool2d(2), *TAIL], SHAPE, "module 2 is MaxPool2d, expected nn.Linear, nn.Conv2d, nn.AvgPool2d"),
        ([CONV, box(), nn.LPPool2d(2, 2), *TAIL], SHAPE, r"module 2 \(LPPool2d\): norm_type is 2, but only 1 is a sum"),
        ([CONV, box(), nn.AvgPool2d(3, 2), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): size 3, stride 2 and padding 0, but squares tile"),
        ([CONV, box(), nn.AvgPool2d(2, padding=1), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): size 2, stride 2 and padding 1"),
        ([CONV, box(), nn.AvgPool2d((2, 3)), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): kernel_size is \[2, 3\]"),
        ([CONV, box(), nn.AvgPool2d(4), *TAIL], SHAPE, r"module 2 \(AvgPool2d\): squares of 4 do not tile 6 x 6"),
        ([CONV, box(), nn.AvgPool2d(2), nn.AvgPool2d(3), *TAIL], SHAPE, r"module 3 \(AvgPool2d\): .* follows another one: choose one pool"),
        ([CONV, nn.AvgPool2d(2), box(), *TAIL], SHAPE, "module 1 is AvgPool2d: choose one of LIFBoxCell, LIFCell"),
        ([CONV, box(), nn.Linear(6, 3), box()], SHAPE, r"module 2 \(Linear\) would take rows of 4 x 6 x 6 by themselves: put a Flatten"),
        ([nn.Linear(128, 3), box()], SHAPE, r"module 0 \(Linear\) would take rows of 2 x 8 x 8 by themselves"),
        ([nn.Flatten(), CONV, box(), *TAIL], SHAPE, r"module 1 \(Conv2d\) needs channels, rows and columns, but what arrives is flat"),
        ([nn.Linear(8, 3), box(), CONV, box()], None, r"module 2 \(Conv2d\) needs channels, rows and columns"),
        ([nn.Linear(8, 3), box(), nn.AvgPool2d(2), nn.Linear(3, 3), box()], None, r"module 2 \(AvgPool2d\) needs channels"),
        ([CONV, box(), nn.Flatten(2), nn.Linear(36, 3), box()], SHAPE, r"module 2 \(Flatten\) joins dimensions 2 to -1"),
        ([CONV, box()], SHAPE, r"module 1 \(LIFBoxCell\) ends the network behind a convolution, but a readout is dense here"),
        ([CONV, box(), nn.Flatten()], SHAPE, r"module 1 \(LIFBoxCell\) ends the network behind a convolution"),
        ([CONV, box(), nn.Flatten(), nn.Linear(144, 3)], SHAPE, r"module 3 \(Linear\) is the last layer and has no neurons"),
        (
            [nn.Linear(8, 3), box(), nn.Linear(4, 3), box()],
            None,
            r"module 2 \(Linear\) takes 4 inputs, but module 1 \(LIFBoxCell\) sends 3",
        ),
        ([], None, "the model has 0 modules"),
    ],
)
def test_what_norse_has_and_we_do_not(modules, shape, message):
    with pytest.raises(InputError, match=message) as caught:
        from_norse(norse.SequentialState(*modules), shape)
    assert "\n" not in str(caught.value)


# NIR -------------------------------------------------------------------------------------------------------------------------------


def pair(n):
    return np.array([n, n])


def convolution(rng, shape, channels, kernel, stride=1, padding=0, gain=0.5):
    weight, bias = rng.normal(0, gain, (channels, shape[0], kernel, kernel)), rng.normal(0, 0.1, channels)
    return nir.Conv2d(tuple(shape[1:]), weight, stride, padding, 1, 1, bias)


def neurons(kind, shape, rng, dt):
    """Constants of any value, different for every channel, or neuron of a dense layer, where that is allowed."""

    def some(low, high):
        return np.broadcast_to(rng.uniform(low, high, (shape[0], *[1] * (len(shape) - 1))), shape).copy()

    def full(value):
        return np.full(shape, float(value))

    fields = {
        "IF": lambda: {"r": some(0.5, 2) / dt},
        "LIF": lambda: {"tau": full(12 * dt), "r": some(5, 20), "v_leak": full(0)},
        "CubaLIF": lambda: {
            "tau_mem": full(12 * dt),
            "tau_syn": full(3 * dt),
            "r": some(5, 20),
            "w_in": some(1, 3),
            "v_leak": full(0),
        },
        "LI": lambda: {"tau": full(12 * dt), "r": some(5, 20), "v_leak": full(0)},
    }[kind]()
    return getattr(nir, kind)(**fields, **({"v_threshold": some(0.5, 1.5), "v_reset": full(0)} if kind.endswith("F") else {}))


def graph_of(*nodes, shape=SHAPE):
    named = {"input": nir.Input({"input": np.array(shape)}), **{f"n{k}": node for k, node in enumerate(nodes)}}
    named["output"] = nir.Output({"output": np.array(nodes[-1].output_type["output"])})
    return nir.NIRGraph(named, list(pairwise(named)), type_check=False)


def euler(graph, x, dt):
    """NIR's equations, node by node: what every neuron layer puts out."""
    after, name, signal, out = dict(graph.edges), "input", x, []
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Flatten):
            signal = signal.flatten(2)
        elif isinstance(node, nir.Affine | nir.Linear):
            signal = linear(signal, torch.from_numpy(node.weight)) + torch.as_tensor(getattr(node, "bias", 0.0))
        elif isinstance(node, nir.Conv2d):
            arguments = torch.from_numpy(node.weight), torch.from_numpy(node.bias), tuple(node.stride), tuple(node.padding)
            signal = torch.stack([conv2d(frame, *arguments) for frame in signal])
        elif isinstance(node, nir.SumPool2d | nir.AvgPool2d):
            size, (*_, channels, height, width) = int(node.kernel_size[0]), signal.shape
            squares = unfold(signal.reshape(-1, 1, height, width), size, stride=size)
            values = squares.sum(1) if isinstance(node, nir.SumPool2d) else squares.mean(1)
            signal = values.reshape(*signal.shape[:2], channels, height // size, width // size)
        else:
            p = {k: torch.from_numpy(np.asarray(v)) for k, v in vars(node).items() if isinstance(v, np.ndarray)}
            v = i = torch.zeros_like(signal[0])
            steps = []
            for current in signal:
                if isinstance(node, nir.CubaLIF):
                    i = i + dt / p["tau_syn"] * (p["w_in"] * current - i)
                    v = v + dt / p["tau_mem"] * (p["r"] * i - v)
                elif isinstance(node, nir.IF):
                    v = v + dt * p["r"] * current
                else:
                    v = v + dt / p["tau"] * (p["r"] * current - v)
                if "v_threshold" in p:
                    z = v > p["v_threshold"]
                    v = torch.where(z, 0.0, v)
                    steps.append(z.double())
                else:
                    steps.append(v)
            signal = torch.stack(steps)
            out.append(signal)
    return out


def deep(kind="LIF", pool=nir.SumPool2d, last="LIF", dt=5e-4):
    """Eight nodes and more: two convolutions with a pool between and a pool behind, a dense layer."""
    rng = np.random.default_rng(3)
    nodes = [convolution(rng, SHAPE, 4, 3, 1, 1), neurons(kind, (4, 8, 8), rng, dt), pool(pair(2), pair(2), pair(0))]
    nodes += [convolution(rng, (4, 4, 4), 5, 3, 1, 1), neurons(kind, (5, 4, 4), rng, dt), pool(pair(4), pair(4), pair(0))]
    nodes += [nir.Flatten({"input": np.array([5, 1, 1])}, 0, -1), nir.Affine(rng.normal(0, 0.5, (3, 5)), rng.normal(0.1, 0.1, 3))]
    return graph_of(*nodes, neurons(last, (3,), rng, dt))


@pytest.mark.parametrize("from_file", [False, True], ids=["graph", "file"])
@pytest.mark.parametrize("pool", [nir.SumPool2d, nir.AvgPool2d])
@pytest.mark.parametrize("kind", ["LIF", "CubaLIF", "IF"])
def test_it_follows_nirs_equations(tmp_path, kind, pool, from_file):
    graph = deep(kind, pool, "LI" if kind == "CubaLIF" else "LIF")
    if from_file:
        nir.write(tmp_path / "n.nir", graph)
    network = from_nir(tmp_path / "n.nir" if from_file else graph, dt=5e-4)
    assert network.architecture == [SHAPE, Conv(4, 3, 1, 1), SumPool(2), Conv(5, 3, 1, 1), SumPool(4), 3]
    assert network.weights[0].dtype == torch.float64
    x = frames()
    assert_same_spikes(network, x, euler(graph, x, 5e-4))


def test_what_others_leave_out_or_say_otherwise():
    """A shape that the first convolution alone tells; a Flatten that counts the batch; constants that are one number; "valid"."""
    graph = deep()
    x, expected = frames(), euler(deep(), frames(), 5e-4)
    graph.nodes["input"].input_type = {"input": np.array([1, *SHAPE])}
    graph.nodes["n3"].input_shape = None
    graph.nodes["n6"].start_dim = 1
    graph.nodes["n1"].tau = np.array(6e-3)
    assert_same_spikes(from_nir(graph, dt=5e-4), x, expected)
    graph = deep()
    graph.nodes["n0"].padding = (0, 0)
    expected = euler(graph_of(*[graph.nodes[f"n{k}"] for k in range(9)]), torch.nn.functional.pad(x, (1, 1, 1, 1)), 5e-4)
    graph.nodes["n0"].padding, graph.nodes["n0"].input_shape = "valid", (10, 10)
    graph.nodes["input"].input_type = {"input": np.array([2, 10, 10])}
    assert_same_spikes(from_nir(graph, dt=5e-4), torch.nn.functional.pad(x, (1, 1, 1, 1)), expected)


def without(name):
    graph = deep()
    del graph.nodes[name]
    before, after = (next(e for e in graph.edges if e[1 - k] == name)[k] for k in (0, 1))
    graph.edges = [e for e in graph.edges if name not in e] + [(before, after)]
    return graph


def changed(name, field, value):
    graph = deep()
    setattr(graph.nodes[name], field, value)
    return graph


def one_differs(field):
    values = getattr(deep().nodes["n1"], field).copy()
    values[1, 2, 3] *= 2
    return changed("n1", field, values)


@pytest.mark.parametrize(
    ("make_graph", "message"),
    [
        (lambda: without("n6"), "node 'n7' would take rows of 5 x 1 x 1 by themselves: put a Flatten before it"),
        (lambda: without("n5"), "node 'n7' takes 5 inputs, but node 'n4' sends 80"),
        (lambda: without("n2"), "node 'n3' takes 4 x 4 a channel, but node 'n1' sends 8 x 8"),
        (lambda: without("n1"), "node 'n2' is SumPool2d, expected LIF, CubaLIF, IF; only the last may integrate"),
        (lambda: without("n0"), "node 'n1' is LIF, expected Affine, Linear, Conv2d, SumPool2d, AvgPool2d"),
        (lambda: without("n8"), "node 'n7' is the last layer and has no neurons"),
        (lambda: changed("n0", "stride", (1, 2)), r"node 'n0': stride is \[1.0, 2.0\]: give one whole number for both directions"),
        (lambda: changed("n0", "padding", (1, 0)), r"node 'n0': padding is \[1.0, 0.0\]"),
        (lambda: changed("n0", "padding", "same"), "node 'n0': padding is 'same'"),
        (lambda: changed("n0", "padding", (3, 3)), r"node 'n0': padding is \[3, 3\] for a kernel"),
        (lambda: changed("n0", "dilation", (2, 2)), "node 'n0': dilation is 2, but only 1 is read"),
        (lambda: changed("n0", "groups", 2), "node 'n0': groups is 2, but only 1 is read"),
        (lambda: changed("n0", "groups", None), "node 'n0' has no usable 'groups'"),
        (lambda: changed("n0", "stride", pair(np.nan)), "node 'n0': stride contains NaN"),
        (lambda: changed("n0", "weight", np.ones((4, 3, 3, 3))), "node 'n0' takes 3 channels, but the input sends 2"),
        (lambda: changed("n0", "weight", np.ones((4, 2, 3, 2))), r"node 'n0': kernel_size is \[3, 2\]"),
        (
            lambda: changed("n0", "weight", np.ones((4, 2, 3))),
            r"node 'n0' has weights \[4, 2, 3\] and biases \[4\]: give \[C, C_in, K, K\]",
        ),
        (lambda: changed("n0", "weight", np.ones((4, 2, 11, 11))), "node 'n0': a kernel of 11 x 11 does not fit into 8 x 8"),
        (lambda: changed("n0", "bias", np.ones(3)), r"node 'n0' has weights \[4, 2, 3, 3\] and biases \[3\]"),
        (lambda: changed("n0", "input_shape", (9, 8)), "node 'n0' takes 9 x 8 a channel, but the input sends 8 x 8"),
        (lambda: changed("n0", "input_shape", (8, 8, 8)), r"node 'n0': input_shape is \[8.0, 8.0, 8.0\]: give height and width"),
        (lambda: changed("n2", "kernel_size", pair(3)), "node 'n2': size 3, stride 2 and padding 0, but squares tile here"),
        (lambda: changed("n2", "padding", pair(1)), "node 'n2': size 2, stride 2 and padding 1"),
        (lambda: changed("n2", "stride", np.array([2, 1])), r"node 'n2': stride is \[2.0, 1.0\]"),
        (lambda: one_differs("v_threshold"), "node 'n1': v_threshold differs within a channel, whose neurons share their weights"),
        (lambda: one_differs("r"), "node 'n1': r differs within a channel"),
        (lambda: changed("n1", "r", np.ones(4)), "node 'n1': r has 4 values for 256 neurons"),
        (lambda: graph_of(*(deep().nodes[f"n{k}"] for k in (0, 1))), "node 'n1' ends the network behind a convolution"),
        (
            lambda: graph_of(*(deep().nodes[f"n{k}"] for k in (2, 3, 4)), shape=[128]),
            r"the input has shape \[128\], but node 'n0' is SumPool",
        ),
        (lambda: graph_of(*(deep().nodes[f"n{k}"] for k in (6, 0, 1))), "node 'n1' needs channels, rows and columns"),
    ],
)
def test_what_nir_has_and_we_do_not(make_graph, message):
    with pytest.raises(InputError, match=message) as caught:
        from_nir(make_graph(), dt=5e-4)
    assert "\n" not in str(caught.value)


def test_the_input_tells_no_shape():
    graph = deep()
    graph.nodes["input"].input_type = {"input": np.array([128])}
    graph.nodes["n0"].input_shape = None
    with pytest.raises(InputError, match=r"the input has shape \[128\], but node 'n0' is Conv2d: give it channels, height and width"):
        from_nir(graph)


# What we write ---------------------------------------------------------------------------------------------------------------------

ARCHITECTURES = {
    "maps": [SHAPE, Conv(4, 3, 1, 1), Conv(5, 3, 2), 20, 4],
    "pools": [SHAPE, Conv(4, 3, 1, 1), SumPool(2), Conv(5, 3, 1, 1), SumPool(2), 4],
    "pooled input": [SHAPE, SumPool(2), Conv(6, 2), 4],
}


@torch.no_grad()
@pytest.mark.parametrize("readout", ["count", "membrane"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_we_export_comes_back_with_its_spikes(tmp_path, architecture, readout):
    """Our own payload is taken out: the graph is all that is read. Without leak all is exact, in the chip's integers and in float32."""
    items, neuron = ARCHITECTURES[architecture], CubaParameters.from_beta(1.0)
    last = MembraneReadout() if readout == "membrane" else SpikeCountReadout(neuron)
    generator = torch.Generator().manual_seed(5)
    network = SpikingNetwork(items, neuron, last, generator, weight_bits=8)
    for weight, bias in zip(network.weights, network.biases, strict=True):
        weight.mul_(4)
        bias.uniform_(-0.2, 0.2, generator=generator)
    x = frames(num_steps=12, samples=20)
    integers = to_integer_network(network, len(x), "rate", SHAPE, list("abcd"))
    path = tmp_path / "n.nir"
    nir_format.write(path, integers)
    with h5py.File(path, "r+") as file:
        del file["node/metadata"]
        for node in file["node/nodes"].values():
            if "metadata" in node:
                del node["metadata"]
    found = from_nir(path, dt=nir_format.DT)
    recorded = Simulator(integers).record(x.flatten(2).numpy().astype(np.uint8))
    for z, layer in zip(hidden_spikes(found, x.float()), recorded.layers, strict=False):
        assert 0.02 < layer.z.mean() < 0.9
        assert np.array_equal(z.numpy() > 0, layer.z)
    output = found(x.float())[0].double().numpy()
    unit = 64 / 2.0 ** round(np.log2(integers.layers[-1].scale)) if readout == "membrane" else 1
    assert recorded.values.std() > 0
    assert np.array_equal(output * unit, recorded.values)
