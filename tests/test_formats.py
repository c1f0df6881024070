"""NIR and lava-dl files: what is written is read back, others compute the same spikes from it, and no file does harm."""

import os
import stat
import struct
import subprocess
import sys
import time
from dataclasses import fields, replace
from itertools import pairwise

import h5py
import nir
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.fixed_point import CubaState, cuba_step
from polystep_snn.hardware.formats import hdf5, netx
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.simulator import Simulator

FORMATS = {"nir": nir_format, "net": netx}
NEVER = 2**17 - 1


def make(readout="count", sizes=(20, 15, 12, 5), du=4095, dv=0, bias=0, vth=200, scale=0.011, seed=0, spread=0):
    """Random signed weights; biases are multiples of 64, so that both formats carry them."""
    rng = np.random.default_rng(seed)
    layers = []
    for k, (m, n) in enumerate(pairwise(sizes)):
        never = readout == "membrane" and k == len(sizes) - 2
        layers.append(
            IntegerLayer(
                weight=rng.integers(-128, 128, (n, m)).astype(np.int8),
                vth=np.full(n, NEVER, np.int32) if never else (vth + rng.integers(0, spread + 1, n)).astype(np.int32),
                bias_mant=rng.integers(-bias, bias + 1, n).astype(np.int16),
                bias_exp=6,
                du=du,
                dv=dv,
                scale=scale,
            )
        )
    names = tuple(f"class {c}" for c in range(sizes[-1]))
    return IntegerNetwork(tuple(layers), readout, 12, "rate", (sizes[0] // 2, 2), names, {"seed": seed, "accuracy": 97.25, "by": "me"})


def spikes_for(network, samples=32, seed=1):
    rng = np.random.default_rng(seed)
    return (rng.random((network.num_steps, samples, network.sizes[0])) < 0.4).astype(np.uint8)


def assert_same(a, b):
    for one, other in zip(a.layers, b.layers, strict=True):
        for name in ("weight", "vth", "bias_mant"):
            x, y = getattr(one, name), getattr(other, name)
            assert x.dtype == y.dtype
            assert np.array_equal(x, y)
        assert (one.bias_exp, one.du, one.dv, one.scale) == (other.bias_exp, other.du, other.dv, other.scale)
    for field in fields(IntegerNetwork):
        if field.name != "layers":
            assert getattr(a, field.name) == getattr(b, field.name)


KINDS = {
    "no leak": {},
    "leak": {"dv": 205, "bias": 20},
    "current": {"du": 1000, "dv": 205, "bias": 20, "vth": 900},
    "current, no leak": {"du": 2047, "vth": 900},
    "membranes": {"readout": "membrane", "bias": 3},
    "leaky membranes": {"readout": "membrane", "dv": 100, "scale": 1.0},
    "membranes with a current": {"readout": "membrane", "du": 3000, "dv": 100, "scale": 1e-9},
    "one layer": {"sizes": (8, 3), "readout": "membrane"},
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(tmp_path, suffix, kind):
    network, path = make(**KINDS[kind]), tmp_path / f"network.{suffix}"
    FORMATS[suffix].write(path, network)
    found = FORMATS[suffix].read(path)
    assert_same(found, network)
    x = spikes_for(network)
    assert np.array_equal(Simulator(found).run(x), Simulator(network).run(x))
    # The same network again is the same file, and only that one stands in the folder.
    assert os.listdir(tmp_path) == [path.name]


def test_nir_carries_what_lava_dl_cannot(tmp_path):
    network = make(spread=100, bias=7, dv=99)
    odd = replace(network.layers[0], bias_exp=1, weight=np.zeros_like(network.layers[0].weight))
    network = replace(network, layers=(odd, *network.layers[1:]))
    nir_format.write(tmp_path / "n.nir", network)
    assert_same(nir_format.read(tmp_path / "n.nir"), network)


def test_a_large_layer_of_zeros_is_read(tmp_path):
    """gzip at its best: what declares a thousand times its size is still honest."""
    layer = IntegerLayer(np.zeros((2000, 1000), np.int8), np.zeros(2000, np.int32), np.zeros(2000, np.int16))
    network = IntegerNetwork((layer,), "count", 1, "events", (1000,), tuple(f"class {c}" for c in range(2000)))
    nir_format.write(tmp_path / "n.nir", network)
    assert (tmp_path / "n.nir").stat().st_size < 2**18
    assert_same(nir_format.read(tmp_path / "n.nir"), network)


# NIR: others compute from the float graph ------------------------------------------------------------------------------------------


def norse_layers(graph, dt):
    """Norse modules for the nodes of a graph, from input to output, each as ``(linear, cell)``."""
    import norse.torch as norse
    import torch
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.leaky_integrator_box import LIBoxParameters
    from norse.torch.functional.lif_box import LIFBoxParameters

    def tensor(x):
        return torch.from_numpy(np.asarray(x))

    after, name, modules = dict(graph.edges), "input", []
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Affine | nir.Linear):
            linear = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(tensor(node.weight))
                linear.bias.copy_(tensor(getattr(node, "bias", np.zeros(len(node.weight), np.float32))))
        elif isinstance(node, nir.IF | nir.I):
            # Norse adds the input as it is; NIR scales it by dt * r.
            assert np.all(np.float32(dt) * node.r == 1)
            threshold = tensor(getattr(node, "v_threshold", np.full(node.r.shape, np.inf, np.float32)))
            modules.append((linear, norse.IAFCell(IAFParameters(v_th=threshold, method="heaviside"), dt=dt)))
        elif isinstance(node, nir.LIF):
            assert np.all(node.r == 1)
            p = LIFBoxParameters(1 / tensor(node.tau), tensor(node.v_leak), tensor(node.v_threshold), tensor(node.v_reset), "heaviside")
            modules.append((linear, norse.LIFBoxCell(p, dt=dt)))
        else:
            assert isinstance(node, nir.LI)
            modules.append((linear, norse.LIBoxCell(LIBoxParameters(1 / tensor(node.tau), tensor(node.v_leak)), dt=dt)))
    return modules


def run_in_norse(path, x, dt=1e-4):
    """Every layer's outputs ``[T, B, N]``, and the last membranes."""
    import torch

    modules = norse_layers(nir.read(path), dt)
    states = [None] * len(modules)
    trains = [[] for _ in modules]
    with torch.inference_mode():
        for frame in torch.from_numpy(x).float():
            for k, (linear, cell) in enumerate(modules):
                frame, states[k] = cell(linear(frame), states[k])
                trains[k].append(frame.numpy())
    return [np.stack(t) for t in trains], states[-1].v.numpy()


@pytest.mark.parametrize("scale", [1.0, 0.011])
@pytest.mark.parametrize("readout", ["count", "membrane"])
def test_norse_fires_the_same_spikes(tmp_path, readout, scale):
    """Without leak all is exact in float32: thresholds that are just reached, and biases, included."""
    network = make(readout, sizes=(60, 50, 40, 10), bias=30, scale=scale, spread=50)
    nir_format.write(tmp_path / "n.nir", network)
    x = spikes_for(network, samples=200)
    expected = Simulator(network).record(x)
    trains, membranes = run_in_norse(tmp_path / "n.nir", x)
    for k, layer in enumerate(expected.layers):
        if readout == "count" or k < 2:
            assert 0.05 < layer.z.mean() < 0.6
            assert np.array_equal(trains[k] > 0, layer.z), k
    if readout == "membrane":
        unit = 2.0 ** round(np.log2(scale))
        assert np.array_equal(membranes * 64 / unit, expected.values)


@pytest.mark.parametrize("dv", [2048, 205])
def test_with_a_leak_norse_differs_by_rounding_alone(tmp_path, dv):
    """What floats cannot say, in figures: the chip rounds every decay toward zero. A changed spike changes those behind it."""
    network = replace(make(sizes=(60, 50, 40, 10), dv=dv, vth=200), num_steps=20)
    nir_format.write(tmp_path / "n.nir", network)
    x = spikes_for(network, samples=500)
    trains, _ = run_in_norse(tmp_path / "n.nir", x)
    rates = [np.mean((t > 0) != layer.z) for t, layer in zip(trains, Simulator(network).record(x).layers, strict=True)]
    assert rates[0] < 5e-4, rates
    assert max(rates) < 1e-2, rates


@pytest.mark.parametrize(
    ("changes", "tolerance"), [({"bias": 20, "vth": 120}, 0.0), ({"dv": 205, "bias": 20}, 0.01), ({"du": 2047, "vth": 300}, 0.01)]
)
def test_norse_imports_a_file_by_itself(tmp_path, changes, tolerance):
    import norse.torch as norse
    import torch

    network = make(**changes)
    nir_format.write(tmp_path / "n.nir", network)
    model, state = norse.from_nir(nir.read(tmp_path / "n.nir"), dt=1e-4, ignore_warnings=True), None
    x, counts = spikes_for(network, samples=200), 0
    with torch.no_grad():
        for frame in torch.from_numpy(x).float():
            z, state = model(frame, state)
            counts = counts + z
    expected = Simulator(network).run(x)
    assert expected.max() > 1
    assert np.mean(counts.numpy() != expected) <= tolerance


def euler(graph, x, dt):
    """The last layer's spikes by NIR's own equations, in float64, node by node."""
    after, name, signal = dict(graph.edges), "input", x.astype(np.float64)
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Linear | nir.Affine):
            signal = signal @ node.weight.T.astype(np.float64) + getattr(node, "bias", 0)
            continue
        p = {k: np.asarray(v, np.float64) for k, v in vars(node).items() if isinstance(v, np.ndarray)}
        i, v, out = np.zeros(signal.shape[1:]), np.zeros(signal.shape[1:]), []
        for current in signal:
            i += dt / p["tau_syn"] * (p["w_in"] * current - i)
            v += dt / p["tau_mem"] * (p["v_leak"] - v + p["r"] * i)
            z = v > p["v_threshold"]
            v[z] = np.broadcast_to(p["v_reset"], v.shape)[z]
            out.append(z)
        signal = np.array(out, np.float64)
    return signal


def test_currents_and_their_biases_follow_nirs_equations(tmp_path):
    network = make(du=2047, dv=205, bias=400, vth=900)
    nir_format.write(tmp_path / "n.nir", network, dt=2e-3)
    x = spikes_for(network, samples=200)
    found, expected = euler(nir.read(tmp_path / "n.nir"), x, 2e-3), Simulator(network).record(x).layers[-1].z
    assert expected.mean() > 0.02
    assert np.mean(found != expected) < 1e-3


def test_the_graph_is_one_that_others_expect(tmp_path):
    network = make("membrane", dv=205, bias=5)
    nir_format.write(tmp_path / "n.nir", network)
    graph = nir.read(tmp_path / "n.nir")
    assert graph.edges == list(pairwise(["input", *(f"{n}_{k}" for k in range(3) for n in ("dense", "neurons")), "output"]))
    assert [type(graph.nodes[f"neurons_{k}"]).__name__ for k in range(3)] == ["LIF", "LIF", "LI"]
    node, layer = graph.nodes["dense_1"], network.layers[1]
    assert np.array_equal(node.metadata["weight"], layer.weight)
    assert node.metadata["scale"] == layer.scale
    # Weights in the unit of training, but for the factor that makes r = 1: scale 0.011 is next to 2^-7 = 0.0078.
    assert np.allclose(node.weight * 205 / 4096, layer.weight / 2.0**7)
    assert np.array_equal(graph.nodes["neurons_1"].metadata["bias_mant"], layer.bias_mant)


def change(path, place, value):
    with h5py.File(path, "r+") as file:
        del file[place]
        if value is not None:
            file[place] = value


@pytest.mark.parametrize(
    ("suffix", "place", "value"),
    [
        ("nir", "node/nodes/dense_0/weight", np.zeros((15, 20), np.float32)),
        ("nir", "node/nodes/dense_0/metadata/weight", np.zeros((15, 20), np.int8)),
        ("nir", "node/nodes/neurons_2/v_threshold", np.full(5, np.nan, np.float32)),
        ("nir", "node/nodes/neurons_2", None),
        ("nir", "node/edges", np.array([[b"input", b"output"]])),
        ("nir", "node/metadata/dt", 1e-3),
        ("nir", "node/metadata/dt", np.nan),
        ("nir", "node/metadata/dt", np.ones(3)),
        ("nir", "node/metadata/polystep_snn", np.zeros(50, np.uint8)),
        ("nir", "node/metadata/polystep_snn", np.zeros(50)),
        ("nir", "node/metadata/polystep_snn", "{}"),
        ("nir", "node/metadata", None),
        ("nir", "node", None),
        ("nir", "node/type", "LIF"),
        ("net", "layer/1/weight", np.zeros((12, 15), np.float32)),
        ("net", "layer/1/neuron/vThMant", 3),
        ("net", "layer/2", None),
        ("net", "layer", None),
        ("net", "polystep_snn", np.zeros(0, np.uint8)),
        ("net", "polystep_snn", None),
    ],
)
def test_a_changed_file_is_not_read_as_the_old_network(tmp_path, suffix, place, value):
    path = tmp_path / f"n.{suffix}"
    FORMATS[suffix].write(path, make())
    change(path, place, value)
    with pytest.raises(InputError, match=str(path)) as caught:
        FORMATS[suffix].read(path)
    assert "\n" not in str(caught.value)


# lava-dl ---------------------------------------------------------------------------------------------------------------------------


def lava_dl_weights(w):
    """What a dense layer multiplies spikes with in lava-dl, ``(weights, exponent)``: its loader's scaling, then Lava's synapse."""
    w = w.astype(int)
    high, low = w.max(), w.min()
    mixed = not (high < 0 or low >= 0)
    with np.errstate(divide="ignore"):
        if mixed:
            scale = min(np.float64(127) / high, np.float64(-128) / low)
        else:
            scale = np.float64(-256) / low if high < 0 else np.float64(255) / high
    shift = int(np.floor(np.log2(scale))) + mixed  # raises for a layer of zeros, as there
    factors = [n for n in range(9) if not (w % 2**n).any()]
    bits = 8 - shift - (max(factors) - mixed)
    w = w << shift
    # Lava finds out the sign by itself, and takes 0 for positive and for negative.
    sign = 1 if w.min() >= 0 else -1 if w.max() <= 0 else 0
    w = np.clip(w * (sign or 1), 0 if sign else -256, 255)
    cut = 8 - bits + (sign == 0)
    return ((w >> cut) << cut) * (sign or 1), shift


def run_as_lava_dl(path, x):
    """Spikes [T, B, N] of every layer, and the last membranes, of the layers in a file."""
    trains = []
    with h5py.File(path) as file:
        for k in range(len(file["layer"])):
            group, neuron = file[f"layer/{k}"], file[f"layer/{k}/neuron"]
            assert group["type"][0].decode("ascii") == "dense"
            assert neuron["type"][()].decode("ascii") == "CUBA"
            weight, shift = lava_dl_weights(group["weight"][()])
            bias = group["bias"][()].astype(int).astype(np.int16).astype(np.int32) << 6 if "bias" in group else 0
            du, dv, vth = (int(neuron[name][()]) for name in ("iDecay", "vDecay", "vThMant"))
            state, out = CubaState(*np.zeros((2, x.shape[1], len(weight)), np.int32)), []
            for frame in x:
                a = (frame.astype(np.int32) @ weight.T.astype(np.int32)) >> shift
                z, state = cuba_step(a, state, du - 1, dv, vth, bias)
                out.append(z)
            x = np.array(out)
            trains.append(x)
    return trains, state.v


@pytest.mark.parametrize("kind", KINDS)
def test_lava_dl_computes_the_same(tmp_path, kind):
    network = make(**KINDS[kind])
    netx.write(tmp_path / "n.net", network)
    x = spikes_for(network)
    expected = Simulator(network).record(x)
    trains, membranes = run_as_lava_dl(tmp_path / "n.net", x)
    for train, layer in zip(trains, expected.layers, strict=True):
        assert np.array_equal(train, layer.z)
    assert np.array_equal(membranes, expected.layers[-1].v[-1])


def test_a_layer_is_refused_where_lava_dl_would_lose_weights_and_only_there():
    rng = np.random.default_rng(0)
    network, refused = make(sizes=(4, 3)), 0
    edges = [(a, b) for a in (-128, -127, -65, -64, -3, -2, -1, 0, 1, 2, 64, 127) for b in (-128, -64, -5, -1, 0, 1, 64, 127) if a <= b]
    for low, high in edges * 20:
        # An end may stand there or not, and all weights may share a factor.
        weight = rng.integers(low, high + 1, (3, 4)) * rng.choice([1, 1, 2, 4])
        weight = np.clip(weight, -128, 127).astype(np.int8)
        layer = replace(network.layers[0], weight=weight)
        try:
            found, shift = lava_dl_weights(weight)
            lossless = np.array_equal(found, weight.astype(int) << shift)
        except OverflowError:
            lossless = False
        try:
            netx.describe(replace(network, layers=(layer,)))
            taken = True
        except InputError:
            taken, refused = False, refused + 1
        assert taken == lossless, weight
    assert refused > 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias_mant": np.array([1, 64, 0], np.int16), "bias_exp": 0}, "layer 1: a bias is 1, but lava-dl's are multiples of 64"),
        ({"bias_mant": np.array([0, 20000, 0], np.int16), "bias_exp": 7}, "layer 1: a bias is 2560000, beyond 16 bits"),
        ({"vth": np.array([1, 2, 2], np.int32)}, "layer 1: thresholds differ, 1 to 2"),
        ({"weight": np.zeros((3, 4), np.int8)}, "layer 1: all weights are 0"),
        ({"weight": np.full((3, 4), -128, np.int8)}, "layer 1: no weight is positive and the lowest is -128.*make it -127"),
        ({"weight": np.full((3, 4), -2, np.int8)}, "make it -3"),
    ],
)
def test_what_lava_dl_cannot_carry_is_refused(tmp_path, changes, message):
    network = make(sizes=(6, 4, 3))
    network = replace(network, layers=(network.layers[0], replace(network.layers[1], **changes)))
    with pytest.raises(InputError, match=message):
        netx.write(tmp_path / "n.net", network)
    assert not os.listdir(tmp_path)


def lava_dl_file(path, layers, **changes):
    """As slayer's ``export_hdf5`` writes it: constants as float32 or int arrays, an input block first."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layer/0")
        group.create_dataset("type", (1,), "S10", [b"input"])
        group["shape"] = np.array([layers[0].num_inputs])
        for k, layer in enumerate(layers, 1):
            group = file.create_group(f"layer/{k}")
            group.create_dataset("type", (1,), "S10", [b"dense"])
            group["shape"], group["weight"] = np.array([layer.num_neurons]), layer.weight.astype(np.float32)
            group["inFeatures"], group["outFeatures"] = layer.num_inputs, layer.num_neurons
            if layer.bias.any():
                group["bias"] = (layer.bias >> 6).astype(np.float32)
            constants = {"type": "CUBA", "iDecay": np.array([layer.du + 1.0]), "vDecay": np.array([layer.dv]), "vThMant": layer.vth[0]}
            for name, value in {**constants, "refDelay": 1, "gradedSpike": False}.items():
                group[f"neuron/{name}"] = value
    for place, value in changes.items():
        with h5py.File(path, "r+") as file:
            if place in file:
                del file[place]
            if value is not None:
                file[place] = value


@pytest.mark.parametrize("changes", [{}, {"layer/2/weight": "flat"}])
def test_a_file_of_lava_dl_is_read(tmp_path, changes):
    layers = make(du=1000, dv=100, bias=9, vth=700).layers
    changes = {k: layers[1].weight.ravel().astype(np.float32) for k in changes}
    lava_dl_file(tmp_path / "n.net", layers, **changes)
    network = netx.read(tmp_path / "n.net", num_steps=9)
    for one, other in zip(network.layers, layers, strict=True):
        assert np.array_equal(one.weight, other.weight)
        assert np.array_equal(one.bias, other.bias)
        assert np.array_equal(one.vth, other.vth)
        assert (one.du, one.dv) == (1000, 100)
    assert (network.num_steps, network.readout, network.encoder, network.input_shape) == (9, "count", "events", (20,))
    assert network.classes == ("0", "1", "2", "3", "4")
    with pytest.raises(InputError, match="give num_steps"):
        netx.read(tmp_path / "n.net")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("layer/2/weight", np.full((12, 15), 200.0), "layer 2: weight has 200, which is not a whole number from -128 to 127"),
        ("layer/2/weight", np.full((12, 15), 0.5), "weight has 0.5"),
        ("layer/2/weight", np.full((12, 15), np.nan), "weight has nan"),
        ("layer/2/weight", np.zeros((12, 15)), "all weights are 0"),
        ("layer/2/weight", np.ones(7), "7 weights for 12 neurons"),
        ("layer/2/weight", np.ones((12, 15, 1)), r"weight is \[12, 15, 1\]"),
        ("layer/2/weight", None, "layer 2: it has no 'weight'"),
        ("layer/2/weight", "one", "has an unusable 'weight'"),
        ("layer/2/bias", np.full(12, 1e6), "bias has 1e"),
        ("layer/2/bias", np.ones(3), "bias_mant has 3 entries"),
        ("layer/2/delay", np.ones(15), "it has 'delay'"),
        ("layer/2/neuron", None, "no 'neuron'"),
        ("layer/2/neuron/type", "SDNN", "its neurons are 'SDNN'"),
        ("layer/2/neuron/vThMant", 2**18 - 1, "a threshold is 262143"),
        ("layer/2/neuron/vThMant", 2**40, "vThMant is 1099511627776"),
        ("layer/2/neuron/iDecay", 0, "du is -1"),
        ("layer/2/neuron/vDecay", 4096, "dv is 4096"),
        ("layer/2/neuron/vDecay", np.array([1, 2]), "vDecay has 2 different values"),
        ("layer/2/neuron/messageBits", 8, "messageBits is 8"),
        ("layer/2/type", "pool", "layer 2: it is 'pool': only 'dense' layers are read, and 'conv'"),
        ("layer/2/type", "conv", r"layer 2: the shape of its input is \[15\]"),
        ("layer/2/type", "flatten", "layer 2: it is 'flatten'"),
        ("layer/2", None, "layer 2 is missing"),
        ("layer", None, "no lava-dl network"),
    ],
)
def test_what_has_no_counterpart_in_a_file_of_lava_dl_is_named(tmp_path, place, value, message):
    lava_dl_file(tmp_path / "n.net", make().layers, **{place: value})
    with pytest.raises(InputError, match=message):
        netx.read(tmp_path / "n.net", num_steps=9)


# Files that mean harm --------------------------------------------------------------------------------------------------------------


def hard_loop(file):
    file["node/back"] = file["node"]


def soft_link(file):
    file["node/soft"] = h5py.SoftLink("/node")


def external_link(file):
    file["node/passwords"] = h5py.ExternalLink("/etc/passwd", "/")


def external_data(file):
    file.create_dataset("node/outside", (10,), "i1", external=[("/etc/passwd", 0, 10)])


def virtual_data(file):
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "data", (10,))
    file.create_virtual_dataset("node/virtual", layout)


def terabytes(file):
    file.create_dataset("node/huge", (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")


def overflowing(file):
    file.create_dataset("node/huge", (2**32, 2**29), "f8", chunks=(1024, 1024))


def many_small(file):
    for k in range(40):
        file.create_dataset(f"node/part_{k}", (2**25,), "i1", chunks=(2**20,), compression="gzip")


def huge_chunk(file):
    file.create_dataset("node/chunk", (4,), "f8", chunks=(2**28,), maxshape=(None,))


def many_strings(file):
    file.create_dataset("node/texts", (2**20,), h5py.string_dtype(), chunks=True)


def deep(file):
    file["/".join(["node"] + ["deeper"] * 20)] = 1


def crowded(file):
    for k in range(hdf5.MAX_OBJECTS + 1):
        file.create_group(f"node/{k}")


def python_objects(file):
    """A pickle as bytes of any kind, which nothing here may load."""
    file["node/pickle"] = np.void(b"cos\nsystem\n(S'touch /tmp/harm'\ntR.")


def references(file):
    file["node/reference"] = file["node"].ref


def ragged(file):
    file.create_dataset("node/ragged", (3,), h5py.vlen_dtype(np.int32))


def compound(file):
    file["node/pairs"] = np.zeros(3, [("a", "i4"), ("b", "f8")])


def complex_numbers(file):
    file["node/complex"] = np.zeros(3, complex)


def named_type(file):
    file["node/type_alone"] = np.dtype("f8")


def nothing(file):
    file["node/null"] = h5py.Empty("f4")


def not_text(file):
    file["node/text"] = np.bytes_(b"\xff\xfe")


HOSTILE = [
    hard_loop, soft_link, external_link, external_data, virtual_data, terabytes, overflowing, many_small, huge_chunk, many_strings,
    deep, crowded, python_objects, references, ragged, compound, complex_numbers, named_type, nothing, not_text,
]  # fmt: skip


@pytest.mark.parametrize("harm", HOSTILE, ids=lambda f: f.__name__)
def test_a_hostile_file_is_refused_at_once(tmp_path, harm):
    path = tmp_path / "n.nir"
    nir_format.write(path, make())
    with h5py.File(path, "r+") as file:
        harm(file)
    assert path.stat().st_size < 2**25
    start = time.monotonic()
    for module in (nir_format, netx):
        with pytest.raises(InputError, match=str(path)) as caught:
            module.read(path)
        # What is wrong is said: it is not taken for one of another program.
        assert any(word in str(caught.value) for word in ("has ", "says that", "damaged"))
    assert time.monotonic() - start < 15


def test_a_text_that_many_places_share_is_not_multiplied(tmp_path):
    """A megabyte in the file, nine gigabytes when read."""
    path, count, size = tmp_path / "n.nir", 9_000, 2**20
    with h5py.File(path, "w") as file:
        file.create_dataset("texts", (count,), h5py.string_dtype())[0] = "x" * size
    data = bytearray(path.read_bytes())
    # Each text is its length, the heap where it lies, and its number there: all get those of the first.
    pointer = struct.pack("<IQI", size, data.index(b"GCOL"), 1)
    at = data.index(pointer)
    data[at : at + 16 * count] = pointer * count
    path.write_bytes(data)
    with h5py.File(path) as file:
        assert len(file["texts"][count - 1]) == size
    start = time.monotonic()
    with pytest.raises(InputError, match="has text up to 'texts' that is longer than"):
        nir_format.read(path)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("suffix", FORMATS)
def test_not_a_file_of_this_kind(tmp_path, suffix):
    read = FORMATS[suffix].read
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path / "absent")
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path)
    with pytest.raises(InputError, match="is not a file"):
        read("/dev/zero")
    for content in (b"", b"PK\x03\x04", b"\x80\x04cos\nsystem\n", hdf5.SIGNATURE, hdf5.SIGNATURE + bytes(500)):
        (tmp_path / "n").write_bytes(content)
        with pytest.raises(InputError, match=r"not an HDF5 file|is damaged"):
            read(tmp_path / "n")
    with (tmp_path / "n").open("wb") as file:
        file.write(hdf5.SIGNATURE)
        file.truncate(hdf5.MAX_BYTES + 1)
    with pytest.raises(InputError, match="at most 1073741824 are read"):
        read(tmp_path / "n")


def mutated(data, seed):
    """One bit, many bytes, or a run of equal bytes changed; or the end cut off."""
    rng = np.random.default_rng(seed)
    data = bytearray(data)
    at = int(rng.integers(len(data)))
    if seed % 4 < 2:
        data[at] ^= 1 << int(rng.integers(8))
    elif seed % 4 == 2:
        for k in rng.integers(len(data), size=int(rng.integers(2, 30))):
            data[k] = int(rng.integers(256))
    elif seed % 8 == 3:
        data[at : at + 8] = bytes([int(rng.choice([0, 127, 128, 255]))]) * 8
    else:
        del data[at:]
    return bytes(data)


def fuzz(folder, suffix, seeds):
    """How many damaged files were refused; the others must be read as what was written."""
    network, path = make(sizes=(20, 8, 3)), folder / f"n.{suffix}"
    FORMATS[suffix].write(path, network)
    data = path.read_bytes()
    refused = 0
    for seed in seeds:
        path.write_bytes(mutated(data, seed))
        try:
            found = FORMATS[suffix].read(path)
        except InputError:
            refused += 1
        else:
            assert_same(found, network)
    return refused


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_files_are_refused_or_harmless(tmp_path, suffix):
    assert fuzz(tmp_path, suffix, range(20)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_many_damaged_files_are_refused_or_harmless(tmp_path, suffix):
    assert fuzz(tmp_path, suffix, range(20, 170)) >= 20


def test_a_read_that_does_not_end_is_ended(tmp_path):
    nir_format.write(tmp_path / "n.nir", make())
    with pytest.raises(InputError, match=r"n.nir is damaged \(HDF5 was not through with it after 0.001 s\)"):
        hdf5.read_tree(tmp_path / "n.nir", deadline_s=0.001)


def test_a_crash_of_hdf5_is_an_input_error(tmp_path, monkeypatch):
    nir_format.write(tmp_path / "n.nir", make())
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=r"is damaged \(HDF5 ended with code -11"):
        nir_format.read(tmp_path / "n.nir")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    nir_format.write(tmp_path / "n.nir", make())
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(InputError, match=r"pip install (nir|h5py)"):
        nir_format.write(tmp_path / "n.nir", make())
    monkeypatch.setitem(sys.modules, "h5py", None)
    for attempt in (lambda: nir_format.read(tmp_path / "n.nir"), lambda: netx.write(tmp_path / "n.net", make())):
        with pytest.raises(InputError, match=r"pip install (nir|h5py)"):
            attempt()


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_has_a_length(tmp_path, dt):
    with pytest.raises(InputError, match="dt is"):
        nir_format.write(tmp_path / "n.nir", make(), dt=dt)


def test_an_import_loads_neither_torch_nor_the_libraries():
    code = "import sys, polystep_snn.hardware.formats.nir, polystep_snn.hardware.formats.netx; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout.split()
    assert not {"torch", "h5py", "nir"} & set(loaded)


def test_reading_works_in_any_folder(tmp_path, monkeypatch):
    """The child imports nothing from the working folder."""
    nir_format.write(tmp_path / "n.nir", make())
    for name in ("h5py", "json", "numpy", "safetensors"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.chdir(tmp_path)
    assert_same(nir_format.read("n.nir"), make())
