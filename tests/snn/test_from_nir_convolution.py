"""Convolutions and pools of NIR graphs become networks with their spikes."""

from itertools import pairwise

import nir
import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, linear, unfold

from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, SumPool
from polystep_snn.snn.from_nir import from_nir
from tests.snn.maps import SHAPE, assert_same_spikes, frames


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
