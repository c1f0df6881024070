"""The simulator equals neuron-by-neuron Python integers, and images become the spikes that training saw."""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.hardware import simulator
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.snn.encoders import make_encoder
from tests.reference.naive_chip import naive_run

KINDS = ("mixed", "positive", "negative", "zero", "saturating", "wrapping", "single")
DU, DV = (0, 1000, 4095), (0, 128, 4095)


def make_network(layers, num_steps=1, readout="membrane", encoder="events"):
    classes = tuple(f"class {n}" for n in range(layers[-1].num_neurons))
    convolution = layers[0].convolution
    shape = (layers[0].num_inputs,) if convolution is None else convolution.input_shape
    return IntegerNetwork(tuple(layers), readout, num_steps, encoder, shape, classes)


def dense(weight, vth=0, bias=0, **constants):
    """A layer with one threshold and one bias for all its neurons."""
    weight = np.asarray(weight, np.int8)
    return IntegerLayer(weight, np.full(len(weight), vth, np.int32), np.full(len(weight), bias, np.int16), **constants)


def random_network(kind, du, dv, seed):
    """1 to 4 layers in which every neuron has its own threshold and bias, with an input for them."""
    rng = np.random.default_rng([seed, KINDS.index(kind), du, dv])
    sizes = [1] * (1 + seed % 4 + 1) if kind == "single" else rng.integers(2, 9, 1 + seed % 4 + 1).tolist()
    if kind == "wrapping":
        sizes[0] = 700
    low, high = {"positive": (0, 128), "negative": (-128, 1), "zero": (0, 1), "wrapping": (100, 128)}.get(kind, (-128, 128))
    layers = []
    for m, n in pairwise(sizes):
        reach = 2**15 if kind == "saturating" else 500
        bias = rng.integers(-reach, reach, n).astype(np.int16)
        vth = rng.integers(0, 2**17 if kind in ("saturating", "wrapping") else 300, n).astype(np.int32)
        sign = rng.choice([-1, 1]) if kind == "wrapping" else 1
        weight = (sign * rng.integers(low, high, (n, m))).astype(np.int8)
        layers.append(IntegerLayer(weight, vth, bias, 7 if kind == "saturating" else int(rng.integers(8)), du, dv))
    num_steps = 8
    network = make_network(layers, num_steps, ("membrane", "count")[seed % 2])
    return network, (rng.random((num_steps, 2, sizes[0])) < (1 if kind == "wrapping" else 0.5)).astype(np.uint8)


@pytest.mark.parametrize("du", DU)
@pytest.mark.parametrize("dv", DV)
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_the_obvious_version(kind, du, dv):
    fired = extremes = 0
    for seed in range(16):
        network, spikes = random_network(kind, du, dv, seed)
        expected, values = naive_run(network, spikes)
        found = Simulator(network).record(spikes)
        for k, record in enumerate(expected):
            for name, want in zip("zuv", record, strict=True):
                got = getattr(found.layers[k], name)
                assert got.dtype == (np.bool_ if name == "z" else np.int32)
                assert np.array_equal(got, want), f"{name} of layer {k} of network {seed}"
        assert np.array_equal(found.values, values)
        assert np.array_equal(Simulator(network).run(spikes.astype(np.bool_)), values)
        fired += sum(record[0].sum() for record in expected)
        extremes += sum((np.abs(record[2]) == 2**23 - 1).sum() for record in expected)
        if kind == "wrapping" and du == 0:
            assert np.diff(expected[0][1].astype(np.int64), axis=0).min() < -(2**22), "a current of one sign came back from the other"
    if kind in ("mixed", "positive"):
        assert fired > 0
    if kind == "saturating" and dv == 0:
        assert extremes > 0


def test_a_trace_by_hand():
    """du = 2047 halves the current, dv = 1024 takes a quarter of the membrane; 10 << 6 = 640; threshold 12 << 6 = 768."""
    network = make_network([dense([[10, 5]], vth=12, bias=3, du=2047, dv=1024), dense([[2]], vth=2**17 - 1)], 3)
    found = Simulator(network).record(np.array([[[1, 0]], [[0, 0]], [[1, 1]]], np.uint8))
    assert found.layers[0].u.ravel().tolist() == [640, 320, 160 + 960]
    assert found.layers[0].v.ravel().tolist() == [643, 0, 0]  # 643; 482 + 320 + 3 = 805 > 768; 1120 + 3 > 768
    assert found.layers[0].z.ravel().tolist() == [False, True, True]
    assert found.layers[1].v.ravel().tolist() == [0, 128, 256]
    assert found.values.tolist() == [[256]]


def test_inputs_beyond_24_bits_wrap_once_a_step():
    """2,400 weights of 127 make 19,507,200 in a step, more than 2^24: one wrap leaves more than nothing, and the rest adds up."""
    network = make_network([dense(np.full((2, 2400), 127), vth=2**17 - 1, du=0), dense([[1, -1]], du=0)], 8)
    spikes = np.ones((8, 1, 2400), np.uint8)
    expected, values = naive_run(network, spikes)
    found = Simulator(network).record(spikes)
    assert np.array_equal(found.layers[0].u, expected[0][1])
    assert found.layers[0].u[-1, 0, 0] > 2**23, "beyond the register, as in Lava"
    assert np.array_equal(found.values, values)


def test_sums_that_float32_cannot_hold():
    weight = np.full((2, 140_000), -127, np.int8)
    weight[0, 0] = -126
    network = make_network([dense(weight, vth=5)])
    expected, values = naive_run(network, np.ones((1, 1, 140_000), np.uint8))
    assert -(140_000 * 127 - 1) < -(2**24)
    assert values[0, 0] - values[0, 1] == 0  # both saturate
    found = Simulator(network).record(np.ones((1, 1, 140_000), np.uint8))
    assert np.array_equal(found.layers[0].u, expected[0][1])
    assert found.layers[0].u[0, 0, 0] - found.layers[0].u[0, 0, 1] == 64


@pytest.mark.parametrize(("num_inputs", "num_steps", "du"), [(262_144, 1, 4095), (140_000, 3, 0)])
def test_currents_beyond_32_bits_are_refused(num_inputs, num_steps, du):
    layers = [dense([[1]] * 1), dense([[-128]], du=du)]
    Simulator(make_network(layers, num_steps))
    layers = [dense(np.full((1, num_inputs), -128), du=du)]
    with pytest.raises(InputError, match=r"layer 0: weights of one neuron sum to \d+, .* 32 bits"):
        Simulator(make_network(layers, num_steps))
    Simulator(make_network([dense(np.full((1, num_inputs // 2), -128), du=4095)], num_steps))


@pytest.mark.parametrize("block_bytes", [1, 3000, 20_000])
@pytest.mark.parametrize("block_steps", [1, 3, 8])
def test_blocks_change_nothing(monkeypatch, block_bytes, block_steps):
    network, _ = random_network("mixed", 1000, 128, 3)
    spikes = (np.random.default_rng(0).random((8, 23, network.sizes[0])) < 0.4).astype(np.uint8)
    whole = Simulator(network).record(spikes)
    assert sum(layer.z.sum() for layer in whole.layers) > 0
    monkeypatch.setattr(simulator, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(simulator, "_BLOCK_STEPS", block_steps)
    parts = Simulator(network).record(spikes)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(a, b)
    assert np.array_equal(whole.values, parts.values)
    assert np.array_equal(whole.values, Simulator(network).run(spikes))


def test_every_sample_starts_afresh_and_stands_for_itself():
    network, _ = random_network("mixed", 0, 0, 2)
    spikes = np.random.default_rng(1).random((8, 6, network.sizes[0])) < 0.5
    machine = Simulator(network)
    values = machine.run(spikes)
    assert np.array_equal(machine.run(spikes), values)
    assert np.array_equal(machine.run(spikes[:, ::-1]), values[::-1])
    assert len(np.unique(values, axis=0)) > 1
    assert machine.run(spikes[:, :0]).shape == (0, values.shape[1])


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        ([[[1]]], "spikes are list"),
        (np.zeros((2, 1, 3), np.float32), r"spikes are float32 \[2, 1, 3\]: give bool or uint8"),
        (np.zeros((2, 3), np.uint8), r"spikes are uint8 \[2, 3\]"),
        (np.zeros((2, 1, 4), np.uint8), "2 steps of 4 channels, the network takes 2 of 3"),
        (np.zeros((3, 1, 3), np.uint8), "3 steps of 3 channels, the network takes 2 of 3"),
        (np.full((2, 1, 3), 2, np.uint8), "a spike is 2: give zeros and ones"),
    ],
)
def test_what_are_no_spikes(spikes, message):
    machine = Simulator(make_network([dense([[1, 2, 3]])], 2))
    for method in (machine.run, machine.record):
        with pytest.raises(InputError, match=message):
            method(spikes)


LEVELS = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(4, 64)


@pytest.mark.parametrize("name", ["rate", "latency"])
def test_codes_are_those_of_training_bit_for_bit(name):
    awkward = np.random.default_rng(0).random((200, 64), np.float32)
    x = np.concatenate([LEVELS, awkward, np.full((1, 64), 1 / 3, np.float32)])
    for num_steps in range(1, 65):
        found = encode(name, num_steps, x)
        expected = torch.stack(list(make_encoder(name, num_steps)(torch.from_numpy(x)))).numpy()
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected)
    assert 0 < found.mean() < 1


def test_codes_by_hand():
    x = np.array([[0.0, 1 / 3, 0.5, 1.0]], np.float32)
    assert encode("rate", 4, x)[:, 0].T.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]]
    assert encode("latency", 3, x)[:, 0].T.tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("name", "num_steps", "images", "message"),
    [
        ("poisson", 4, LEVELS, "give the spikes, encoded as in training"),
        ("population", 4, LEVELS, "give the spikes"),
        ("events", 4, LEVELS, "give the spikes"),
        ("morse", 4, LEVELS, "choose one of rate, latency"),
        ("rate", 0, LEVELS, "num_steps is 0"),
        ("rate", 2.0, LEVELS, r"num_steps is 2\.0"),
        ("rate", 4, LEVELS.astype(np.float64), r"images are float64 \[4, 64\]: give float32"),
        ("rate", 4, LEVELS.reshape(-1), r"images are float32 \[256\]"),
        ("rate", 4, LEVELS.tolist(), "images are list"),
        ("rate", 4, LEVELS * 255, "outside"),
        ("latency", 4, LEVELS * np.float32("nan"), "NaN"),
    ],
)
def test_what_is_not_encoded(name, num_steps, images, message):
    with pytest.raises(InputError, match=message):
        encode(name, num_steps, images)


@pytest.mark.slow
def test_ten_thousand_images_in_seconds():
    """The size of the MNIST test set, at its rate of spikes; about a second on one core, ten are allowed on two."""
    rng = np.random.default_rng(0)
    images = np.where(rng.random((10_000, 784)) < 0.2, rng.random((10_000, 784)), 0).astype(np.float32)
    sizes = [784, 128, 10]
    layers = [dense(rng.integers(-60, 60, (n, m)), vth=500, dv=128, du=1000) for m, n in pairwise(sizes)]
    network = make_network(layers, 16)
    started = time.perf_counter()
    spikes = encode("rate", 16, images)
    values = Simulator(network).run(spikes)
    assert time.perf_counter() - started < 10
    assert 0.05 < spikes.mean() < 0.2
    some = rng.choice(10_000, 3, replace=False)
    assert np.array_equal(naive_run(network, spikes[:, some])[1], values[some])
