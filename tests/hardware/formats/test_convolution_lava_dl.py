"""Convolutions in lava-dl's files: its arithmetic, and what it writes otherwise."""

import h5py
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.fixed_point import CubaState, cuba_step
from polystep_snn.hardware.formats import netx
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written import change
from tests.hardware.formats.written_convolutions import portable
from tests.hardware.test_convolution import random_geometry


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
        ("layer/1/delay", np.ones(4), "it is a convolution with delays"),
        ("layer/1/neuron/vThMant", -1, "a threshold is -1"),
        ("layer/3/type", "conv", r"layer 3: it has no 'weight'"),
        ("layer/2/type", "flatten", "layer 1 takes 48 inputs, but layer 0 has 108 neurons"),
        ("layer/2/type", "dense", "layer 2: it is 'dense': only 'dense' and 'dense_rec' layers are read, and 'conv' with a 'flatten'"),
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
