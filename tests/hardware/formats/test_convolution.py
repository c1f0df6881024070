"""Convolutions in files of NIR and lava-dl: read back whole, computed by others to the same spikes, or refused by name."""

from dataclasses import replace
from itertools import pairwise

import h5py
import nir
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.fixed_point import CubaState, cuba_step
from polystep_snn.hardware.formats import netx
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.formats.nir import DT
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.test_formats import FORMATS, NEVER, assert_same, change
from tests.hardware.test_convolution import convolutional, random_geometry
from tests.hardware.test_simulator import dense, make_network

FIRST = Convolution((2, 9, 8), 4, (3, 3), (1, 2), (1, 0))
SECOND = Convolution(FIRST.output_shape, 3, (2, 2), (2, 1), (0, 1))


def portable(geometries=(FIRST, SECOND), seed=0, bias="channel", readout="count", spread=0, **constants):
    """What both formats carry, unless ``bias`` or ``spread`` ask for more; biases are multiples of 64, and membrane readouts never fire."""
    rng = np.random.default_rng(seed)
    network, spikes = convolutional(list(geometries), rng, num_steps=8, readout=readout, **constants)
    layers = []
    for layer in network.layers:
        n, geometry = layer.num_neurons, layer.convolution
        mantissa = rng.integers(-3, 4, n)
        if geometry is not None and bias == "channel":
            mantissa = rng.integers(-3, 4, geometry.channels).repeat(n // geometry.channels)
        vth = 150 + rng.integers(0, spread + 1, n)
        layers.append(replace(layer, bias_mant=(mantissa * (bias != "none")).astype(np.int16), bias_exp=6, vth=vth.astype(np.int32)))
    layers[-1] = replace(layers[-1], du=constants.get("du", 4095), dv=constants.get("dv", 0))
    if readout == "membrane":
        layers[-1] = replace(layers[-1], vth=np.full(layers[-1].num_neurons, NEVER, np.int32))
    return replace(network, layers=tuple(layers)), spikes


def assert_whole(found, network):
    assert_same(found, network)
    assert [layer.convolution for layer in found.layers] == [layer.convolution for layer in network.layers]


KINDS = {
    "no leak": {},
    "leak": {"dv": 205},
    "current": {"du": 1000, "dv": 205},
    "membranes": {"readout": "membrane"},
    "leaky membranes": {"readout": "membrane", "dv": 205},
    "membranes with a current": {"readout": "membrane", "du": 1000, "dv": 205},
    "no biases": {"bias": "none"},
    "one convolution": {"geometries": (FIRST,)},
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(tmp_path, suffix, kind):
    network, spikes = portable(**KINDS[kind])
    path = tmp_path / f"network.{suffix}"
    FORMATS[suffix].write(path, network)
    found = FORMATS[suffix].read(path)
    assert_whole(found, network)
    assert np.array_equal(Simulator(found).run(spikes), Simulator(network).run(spikes))


@pytest.mark.parametrize(
    ("suffix", "place", "value"),
    [
        ("nir", "node/nodes/convolution_0/weight", np.zeros((4, 2, 3, 3), np.float32)),
        ("nir", "node/nodes/convolution_0/stride", np.array([1, 1])),
        ("nir", "node/nodes/convolution_1/padding", np.array([1, 0])),
        ("nir", "node/nodes/convolution_1/groups", 2),
        ("nir", "node/nodes/flatten_2/input_type", np.array([3, 6, 4])),
        ("nir", "node/nodes/flatten_2", None),
        ("net", "layer/1/weight", np.zeros((4, 2, 3, 3), np.float32)),
        ("net", "layer/2/stride", np.array([1, 2])),
        ("net", "layer/0/shape", np.array([2, 8, 9])),
        ("net", "layer/3/type", "dense"),
        ("net", "layer/3", None),
    ],
)
def test_a_changed_file_is_not_read_as_the_old_network(tmp_path, suffix, place, value):
    path = tmp_path / f"n.{suffix}"
    FORMATS[suffix].write(path, portable()[0])
    change(path, place, value)
    with pytest.raises(InputError, match=str(path)) as caught:
        FORMATS[suffix].read(path)
    assert "\n" not in str(caught.value)


def behind_a_dense_layer():
    last = portable((FIRST,))[0].layers[0]
    return make_network([dense(np.ones((144, 5)), vth=9), last])


def numbered_anew():
    """12 channels of 9 rows in front of 4 channels of 27."""
    first, second = portable((FIRST,))[0].layers[0], portable((Convolution((3, 9, 4), 2, (3, 3)),))[0].layers[0]
    return make_network([first, second])


SQUARE = "the kernel is 3 x 2, and nir checks square ones alone"


@pytest.mark.parametrize(
    ("suffix", "network", "message"),
    [
        ("nir", lambda: portable((FIRST._replace(kernel=(3, 2)),))[0], f"layer 0: {SQUARE}"),
        ("nir", lambda: portable(bias="neuron")[0], "layer 0: biases differ within a channel, but NIR's convolutions have one a channel"),
        ("nir", behind_a_dense_layer, r"layer 1 sees \[2, 9, 8\], but what comes before it has shape \[144\]: NIR cannot reshape"),
        ("nir", numbered_anew, r"layer 1 sees \[3, 9, 4\], but what comes before it has shape \[4, 9, 3\]"),
        ("net", lambda: portable(spread=5)[0], "layer 0: thresholds differ, 150 to 155"),
        ("net", behind_a_dense_layer, r"layer 1 sees \[2, 9, 8\], but what comes before it has shape \[144\]: lava-dl cannot reshape"),
        ("net", numbered_anew, r"layer 1 sees \[3, 9, 4\]"),
        (
            "net",
            lambda: portable((Convolution((1, 2, 260), 2, (1, 2), (1, 128)),))[0],
            r"layer 0: stride is \[1, 128\], but Lava holds at most",
        ),
        ("net", lambda: portable((Convolution((1, 2, 260), 2, (1, 128)),))[0], r"layer 0: kernel is \[1, 128\]"),
    ],
)
def test_what_cannot_be_said_is_refused(tmp_path, suffix, network, message):
    with pytest.raises(InputError, match=message) as caught:
        FORMATS[suffix].write(tmp_path / "n", network())
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# NIR -------------------------------------------------------------------------------------------------------------------------------


def test_nir_carries_thresholds_and_with_a_current_biases_of_every_neuron(tmp_path):
    for network, _ in (portable(spread=50), portable(bias="neuron", du=1000, dv=100, spread=50)):
        nir_format.write(tmp_path / "n.nir", network)
        assert_whole(nir_format.read(tmp_path / "n.nir"), network)


def test_the_graph_is_one_that_others_expect(tmp_path):
    network, _ = portable()
    nir_format.write(tmp_path / "n.nir", network)
    graph = nir.read(tmp_path / "n.nir")
    names = ["input", "convolution_0", "neurons_0", "convolution_1", "neurons_1", "flatten_2", "dense_2", "neurons_2", "output"]
    assert graph.edges == list(pairwise(names))
    shapes = {name: node.output_type["output"].tolist() for name, node in graph.nodes.items() if name != "dense_2"}
    assert (shapes["input"], shapes["neurons_0"], shapes["convolution_1"]) == ([2, 9, 8], [4, 9, 3], [3, 4, 4])
    assert (shapes["flatten_2"], shapes["output"]) == ([48], [3])
    node = graph.nodes["convolution_0"]
    assert (list(node.stride), list(node.padding), list(node.dilation), node.groups) == ([1, 2], [1, 0], [1, 1], 1)
    assert np.array_equal(node.metadata["weight"], network.layers[0].weight)
    # A scale of 0.01 is next to 2^-7; biases in the same unit, a channel's first neuron for all.
    assert np.array_equal(node.weight * 2**7, network.layers[0].weight)
    assert np.array_equal(node.bias * 2**7, network.layers[0].bias_mant[::27])


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("no leak", ["IF", "IF", "IF"]),
        ("leak", ["LIF", "LIF", "LIF"]),
        ("current", ["CubaLIF", "CubaLIF", "CubaLIF"]),
        ("membranes", ["IF", "IF", "I"]),
        ("leaky membranes", ["LIF", "LIF", "LI"]),
        ("membranes with a current", ["CubaLIF", "CubaLIF", "CubaLI"]),
    ],
)
def test_neurons_behind_convolutions(tmp_path, kind, types):
    nir_format.write(tmp_path / "n.nir", portable(**KINDS[kind])[0])
    nodes = nir.read(tmp_path / "n.nir").nodes
    assert [type(nodes[f"neurons_{k}"]).__name__ for k in range(3)] == types


def run_in_norse(path, spikes, shape):
    """What its own import of the file puts out, ``[T, B, N]``; sample by sample, as NIR counts dimensions without a batch."""
    import norse.torch as norse
    import torch

    model, samples = norse.from_nir(nir.read(path), dt=1e-4, ignore_warnings=True), []
    with torch.no_grad():
        for sample in torch.from_numpy(spikes).float().unbind(1):
            state, steps = None, []
            for frame in sample:
                out, state = model(frame.reshape(shape), state)
                steps.append(out.reshape(-1).numpy())
            samples.append(np.stack(steps))
    return np.stack(samples, 1)


def square_geometries(rng, shape):
    """Two that NIR carries."""
    geometries = []
    while len(geometries) < 2:
        geometry = random_geometry(rng, shape)
        if geometry.kernel[0] == geometry.kernel[1]:
            geometries.append(geometry)
            shape = geometry.output_shape
    return geometries


@pytest.mark.parametrize("seed", range(6))
def test_norse_fires_the_same_spikes(tmp_path, seed):
    """Every layer in turn is the last one."""
    rng = np.random.default_rng(seed)
    network, spikes = portable(square_geometries(rng, (2, 7, 6)), seed)
    expected, fired = Simulator(network).record(spikes), 0
    for last in (1, 2, 3):
        part = replace(network, layers=network.layers[:last], classes=tuple(map(str, range(network.sizes[last]))))
        nir_format.write(tmp_path / "n.nir", part)
        found = run_in_norse(tmp_path / "n.nir", spikes, (2, 7, 6))
        assert np.array_equal(found > 0, expected.layers[last - 1].z), last
        fired += int(found.sum())
    assert fired > 10


def test_with_a_leak_norse_differs_by_rounding_alone(tmp_path):
    """The chip rounds every decay toward zero; a changed spike changes those behind it."""
    network, _ = portable(square_geometries(np.random.default_rng(7), (2, 7, 6)), 7, dv=205)
    spikes = (np.random.default_rng(0).random((8, 40, network.sizes[0])) < 0.4).astype(np.uint8)
    expected = Simulator(network).record(spikes).layers
    for last in (1, 2, 3):
        part = replace(network, layers=network.layers[:last], classes=tuple(map(str, range(network.sizes[last]))))
        nir_format.write(tmp_path / "n.nir", part)
        z = expected[last - 1].z
        assert z.mean() > 0.04
        assert np.mean((run_in_norse(tmp_path / "n.nir", spikes, (2, 7, 6)) > 0) != z) < 0.01


def by_equations(path, spikes, shape):
    """The last node's membranes ``[T, B, N]`` by NIR's equations in float64, node by node. Norse leaves integrators out."""
    import torch

    graph = nir.read(path)
    after, name, signal = dict(graph.edges), "input", torch.from_numpy(spikes.astype(float)).flatten(0, 1).reshape(-1, *shape)
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        p = {k: torch.from_numpy(np.asarray(v, float)) for k, v in vars(node).items() if isinstance(v, np.ndarray)}
        if isinstance(node, nir.Conv2d):
            stride, padding = (list(map(int, pair)) for pair in (node.stride, node.padding))
            signal = torch.nn.functional.conv2d(signal, p["weight"], p["bias"], stride, padding)
        elif isinstance(node, nir.Flatten):
            signal = signal.flatten(1)
        elif isinstance(node, nir.Linear | nir.Affine):
            signal = signal @ p["weight"].T + p.get("bias", 0)
        else:
            currents, out = signal.reshape(*spikes.shape[:2], *signal.shape[1:]), []
            i = v = torch.zeros_like(currents[0])
            for current in currents:
                i = i + DT / p["tau_syn"] * (p["w_in"] * current - i) if "tau_syn" in p else current
                leak = p.get("v_leak", 0) - v if "v_leak" in p else 0
                v = v + DT / p.get("tau_mem", p.get("tau", 1.0)) * (leak + p["r"] * i)
                z = v > p.get("v_threshold", torch.inf)
                v = torch.where(z, p.get("v_reset", 0.0), v)
                out.append(z.double() if "v_threshold" in p else v)
            signal = torch.stack(out).flatten(0, 1)
    return signal.reshape(*spikes.shape[:2], -1).numpy()


@pytest.mark.parametrize(("constants", "tolerance"), [({}, 0), ({"dv": 205}, 5), ({"du": 1000, "dv": 205}, 15)])
def test_membranes_behind_convolutions_follow_nirs_equations(tmp_path, constants, tolerance):
    """Without a leak exactly, in every step; with one to within its rounding, in most samples."""
    network, _ = portable(square_geometries(np.random.default_rng(7), (2, 7, 6)), 7, readout="membrane", **constants)
    spikes = (np.random.default_rng(0).random((8, 60, network.sizes[0])) < 0.4).astype(np.uint8)
    nir_format.write(tmp_path / "n.nir", network)
    expected = Simulator(network).record(spikes).layers[-1].v
    error = np.abs(by_equations(tmp_path / "n.nir", spikes, (2, 7, 6)) * 64 - expected)
    assert np.abs(expected[-1]).mean() > 1000
    assert np.mean(error <= tolerance) >= (0.9 if constants else 1)


# lava-dl ---------------------------------------------------------------------------------------------------------------------------


def lava_conv(x, weight, stride, padding):
    """``lava.proc.conv``: x [B, X, Y, I], weights [O, kx, ky, I], a convolution in the strict sense."""
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))
    places = [(size - k) // step + 1 for size, k, step in zip(x.shape[1:3], weight.shape[1:3], stride, strict=True)]
    out = np.zeros((len(x), *places, len(weight)), np.int64)
    for dx in range(weight.shape[1]):
        for dy in range(weight.shape[2]):
            seen = x[:, dx : dx + (places[0] - 1) * stride[0] + 1 : stride[0], dy : dy + (places[1] - 1) * stride[1] + 1 : stride[1]]
            out += seen @ weight[:, weight.shape[1] - 1 - dx, weight.shape[2] - 1 - dy].T
    return out


def run_as_lava_dl(path, x):
    """Spikes [T, B, ...] of every layer as lava-dl's loader numbers them, and the last membranes. Dense weights are taken as they are."""
    trains = []
    with h5py.File(path) as file:
        for k in range(len(file["layer"])):
            group = file[f"layer/{k}"]
            kind = group["type"][0].decode("ascii")
            if kind == "input":
                x = x.reshape(*x.shape[:2], *group["shape"][()]).transpose(0, 1, 4, 3, 2)
                continue
            if kind == "flatten":
                x = x.transpose(0, 1, 4, 3, 2).reshape(*x.shape[:2], -1)
                continue
            weight, neuron = group["weight"][()].astype(int), group["neuron"]
            du, dv, vth = (int(neuron[name][()]) for name in ("iDecay", "vDecay", "vThMant"))
            if kind == "conv":
                shape = tuple(group["shape"][()][::-1])
                weight = weight[:, :, ::-1, ::-1].transpose((0, 3, 2, 1))
                assert (group["groups"][()], group["dilation"][()].tolist()) == (1, [1, 1])
                stride, padding = group["stride"][()][::-1], group["padding"][()][::-1]
            else:
                shape = tuple(group["shape"][()])
            bias = np.zeros(shape, int)
            if "bias" in group:
                given = group["bias"][()].astype(int)
                bias = given if given.shape == shape else np.broadcast_to(given, shape)
                assert given.shape in (shape, shape[-1:])
            state, out = CubaState(*np.zeros((2, x.shape[1], *shape), np.int32)), []
            for frame in x.astype(np.int64):
                a = lava_conv(frame, weight, stride, padding) if kind == "conv" else frame @ weight.T
                z, state = cuba_step(a.astype(np.int32), state, du - 1, dv, vth, bias.astype(np.int32) << 6)
                out.append(z)
            x = np.array(out)
            trains.append(x)
    return trains, state.v


@pytest.mark.parametrize("bias", ["channel", "neuron", "none"])
@pytest.mark.parametrize("seed", range(8))
def test_lava_dl_computes_the_same(tmp_path, seed, bias):
    rng = np.random.default_rng(seed)
    first = random_geometry(rng, (2, 7, 6))
    network, spikes = portable((first, random_geometry(rng, first.output_shape)), seed, bias, du=1000, dv=128)
    netx.write(tmp_path / "n.net", network)
    trains, membranes = run_as_lava_dl(tmp_path / "n.net", spikes)
    expected = Simulator(network).record(spikes)
    for train, layer in zip(trains, expected.layers, strict=True):
        turned = train.transpose(0, 1, 4, 3, 2) if train.ndim == 5 else train
        assert np.array_equal(turned.reshape(layer.z.shape), layer.z)
    assert np.array_equal(membranes, expected.layers[-1].v[-1])
    foreign = without_ours(tmp_path / "n.net")
    assert np.array_equal(Simulator(foreign).run(spikes), expected.layers[-1].z.sum(0))
    assert [layer.convolution for layer in foreign.layers] == [layer.convolution for layer in network.layers]
    assert foreign.input_shape == (2, 7, 6)


def without_ours(path, **changes):
    """What is read of a file once only lava-dl's part is in it, with some of that changed."""
    with h5py.File(path, "r+") as file:
        if "polystep_snn" in file:
            del file["polystep_snn"]
    for place, value in changes.items():
        change(path, place, value)
    return netx.read(path, num_steps=8)


def test_what_lava_dl_writes_otherwise(tmp_path):
    """Kernels with a dimension of time, one number for both directions, no biases."""
    geometry = Convolution((2, 6, 6), 3, (3, 3), (2, 2), (1, 1))
    network, spikes = portable((geometry,), bias="none", du=1000, dv=128)
    netx.write(tmp_path / "n.net", network)
    changes = {
        "layer/1/weight": network.layers[0].weight.astype(np.float32)[..., None],
        "layer/1/stride": 2,
        "layer/1/padding": np.array([1]),
    }
    found = without_ours(tmp_path / "n.net", **changes)
    assert found.layers[0].convolution == geometry
    assert np.array_equal(found.layers[0].weight, network.layers[0].weight)
    assert np.array_equal(Simulator(found).run(spikes), Simulator(network).run(spikes))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("layer/0/shape", None, "layer 1: the shape of its input is unknown"),
        ("layer/0/shape", np.array([144]), r"layer 1: the shape of its input is \[144\]"),
        ("layer/0/shape", np.array([2, 9, 2**40]), r"layer 0: shape is \[2, 9, 1099511627776\]"),
        ("layer/0/shape", np.array([2, 9, 9]), r"layer 1: weights \[4, 2, 3, 3\] on \[2, 9, 9\] make"),
        ("layer/1/weight", np.ones((4, 2, 3)), r"layer 1: weight is \[4, 2, 3\]"),
        ("layer/1/weight", np.full((4, 2, 3, 3), 128.0), "layer 1: weight has 128"),
        ("layer/1/weight", np.ones((4, 1, 3, 3)), "but its shapes are others"),
        ("layer/1/weight", np.ones((4, 2, 30, 3)), "does not fit into 9 x 8"),
        ("layer/1/stride", np.array([0, 2]), "is no convolution"),
        ("layer/1/stride", np.array([1, 2, 3]), r"stride is \[1, 2, 3\]: give 2 whole numbers"),
        ("layer/1/stride", np.array([1, -2]), r"stride is \[1, -2\]"),
        ("layer/1/stride", None, "it has no 'stride'"),
        ("layer/1/padding", np.array([3, 0]), "padding is"),
        ("layer/1/dilation", np.array([2, 2]), "dilation is 2: only 1 has a counterpart"),
        ("layer/1/groups", 2, "groups is 2"),
        ("layer/1/bias", np.ones((4, 9, 3)), r"bias is \[4, 9, 3\]: give one a channel, 4, or \[3, 9, 4\]"),
        ("layer/1/bias", np.full(4, 0.5), "bias has 0.5"),
        ("layer/1/bias", "none", "layer 1: it has an unusable 'bias', expected numbers"),
        ("layer/1/delay", np.ones(4), "it has 'delay'"),
        ("layer/1/neuron/vThMant", -1, "a threshold is -1"),
        ("layer/3/type", "conv", r"layer 3: it has no 'weight'"),
        ("layer/2/type", "flatten", "layer 1 takes 48 inputs, but layer 0 has 108 neurons"),
        ("layer/2/type", "dense", "layer 2: it is 'dense': only 'dense' layers are read, and 'conv' with a 'flatten' between"),
    ],
)
def test_what_has_no_counterpart_in_a_file_of_lava_dl_is_named(tmp_path, place, value, message):
    netx.write(tmp_path / "n.net", portable()[0])
    with pytest.raises(InputError, match=message) as caught:
        without_ours(tmp_path / "n.net", **{place: value})
    assert "\n" not in str(caught.value)


def test_more_neurons_than_a_file_need_hold_are_refused(tmp_path):
    """One weight over 2^60 inputs has as many neurons: nothing is allocated for them."""
    netx.write(tmp_path / "n.net", portable((Convolution((1, 3, 3), 1, (1, 1)),))[0])
    huge = np.array([1, 2**30, 2**30])
    with pytest.raises(InputError, match="layer 1: it has 1152921504606846976 neurons: at most 16777216 are read"):
        without_ours(tmp_path / "n.net", **{"layer/0/shape": huge, "layer/1/shape": huge})
