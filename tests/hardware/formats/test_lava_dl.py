"""lava-dl files: the loader computes the same spikes from what is written, and files of lava-dl's own are read."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.fixed_point import CubaState, cuba_step
from polystep_snn.hardware.formats import netx
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written import KINDS, change, make, spikes_for


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
        change(path, place, value)


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
        ("layer/2/weight", np.full((12, 15), 201.0), "layer 2: weights reach from 201 to 201 in steps of 1, which 8 bits and an exponent"),
        ("layer/2/weight", np.full((12, 15), 0.5), "weight has 0.5"),
        ("layer/2/weight", np.full((12, 15), np.nan), "weight has nan"),
        ("layer/2/weight", np.zeros((12, 15)), "all weights are 0"),
        ("layer/2/weight", np.ones(7), "7 weights for 12 neurons"),
        ("layer/2/weight", np.ones((12, 15, 1)), r"weight is \[12, 15, 1\]"),
        ("layer/2/weight", None, "layer 2: it has no 'weight'"),
        ("layer/2/weight", "one", "has an unusable 'weight'"),
        ("layer/2/bias", np.full(12, 1e6), "bias has 1e"),
        ("layer/2/bias", np.ones(3), "bias_mant has 3 entries"),
        ("layer/2/bias", "none", "layer 2: it has an unusable 'bias', expected numbers"),
        ("layer/2/delay", np.ones(7), r"delay is \[7\] for 12 neurons of 15 inputs"),
        ("layer/2/neuron", None, "no 'neuron'"),
        ("layer/2/neuron/type", "SDNN", "its neurons are 'SDNN'"),
        ("layer/2/neuron/type", "SDNN" * 9000, "its neurons are 'SDNN"),
        ("layer/2/neuron/type", np.ones(2), "layer 2: its 'neuron' has an unusable 'type', expected a string"),
        ("layer/2/neuron/vThMant", 2**18 - 1, "a threshold is 262143"),
        ("layer/2/neuron/vThMant", 2**40, "vThMant is 1099511627776"),
        ("layer/2/neuron/iDecay", 0, "du is -1"),
        ("layer/2/neuron/vDecay", 4096, "dv is 4096"),
        ("layer/2/neuron/vDecay", np.array([1, 2]), "vDecay has 2 different values"),
        ("layer/2/neuron/messageBits", 8, "messageBits is 8"),
        ("layer/2/type", "pool", "layer 2: it is 'pool': only 'dense' and 'dense_rec' layers are read, and 'conv'"),
        ("layer/2/type", "pool" * 9000, "layer 2: it is 'pool"),
        ("layer/2/type", np.ones(2), "layer 2: it has an unusable 'type', expected a string"),
        ("layer/2/type", np.array([b"dense", b"conv"]), "layer 2: it has an unusable 'type', expected a string"),
        ("layer/2/type", None, "layer 2: it has no 'type', expected a string"),
        ("layer/2/type", "conv", r"layer 2: the shape of its input is \[15\]"),
        ("layer/2/type", "flatten", "layer 2: it is 'flatten'"),
        ("layer/2", None, "layer 2 is missing"),
        ("layer", None, "no lava-dl network"),
    ],
)
def test_what_has_no_counterpart_in_a_file_of_lava_dl_is_named(tmp_path, place, value, message):
    lava_dl_file(tmp_path / "n.net", make().layers, **{place: value})
    with pytest.raises(InputError, match=message) as caught:
        netx.read(tmp_path / "n.net", num_steps=9)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200
