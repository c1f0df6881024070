"""Maps between Gaussians as registers: the same as in exact fractions, and neurons that fire as they did."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.current_statistics import Moments
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.input_neurons import SILENT, UNIT, InputNeurons, received
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.transport import chance, distance, mapped_inputs, mapped_layer
from tests.hardware.learning import small_network
from tests.reference.naive_transport import naive_input, naive_layer


def moments(mean, std, count=100):
    return Moments(np.array(mean, np.int32), np.array(std, np.int32), count)


def random_moments(rng, size, spread):
    std = rng.integers(0, spread, size)
    std[::5] = 0
    return moments(rng.integers(-3 * spread, 3 * spread, size), std)


@pytest.mark.parametrize("seed", range(10))
def test_registers_are_those_of_exact_fractions(seed):
    rng = np.random.default_rng(seed)
    layer = small_network(rng, (12, 30, 4), vth=int(rng.integers(10, 2000)), bias_exp=int(rng.integers(0, 8))).layers[0]
    kept, now = random_moments(rng, 30, 400), random_moments(rng, 30, 900)
    found = mapped_layer(layer, kept, now, num_steps=8)
    naive = naive_layer(layer.vth.tolist(), layer.bias.tolist(), [kept.mean.tolist(), kept.std.tolist()], [now.mean, now.std.tolist()], 8)
    assert found.vth.tolist() == [vth for vth, _ in naive]
    for bias, (_, exact) in zip(found.bias.tolist(), naive, strict=True):
        assert abs(bias - exact) <= 2**found.bias_exp / 2, "no register is nearer"
    assert found.bias_exp == layer.bias_exp or max(abs(exact) for _, exact in naive) >= (2**15 - 1) * 2 ** (found.bias_exp - 1)
    assert np.array_equal(found.weight, layer.weight)


@pytest.mark.parametrize("seed", range(10))
def test_input_registers_are_those_of_exact_fractions(seed):
    rng = np.random.default_rng(seed)
    kept, now = (moments(rng.integers(0, 4097, 40), np.append(rng.integers(0, 2000, 38), [0, 1])) for _ in range(2))
    found = mapped_inputs(kept, now)
    naive = naive_input((kept.mean.tolist(), kept.std.tolist()), (now.mean.tolist(), now.std.tolist()))
    pairs = list(zip(found.vth.tolist(), found.bias.tolist(), strict=True))
    assert pairs == [(UNIT, SILENT) if pair is None else pair for pair in naive]
    assert (UNIT, SILENT) in pairs


def test_what_is_not_moved_keeps_its_registers():
    rng = np.random.default_rng(0)
    layer, same = small_network(rng).layers[0], random_moments(rng, 9, 300)
    found = mapped_layer(layer, same, same, 8)
    assert np.array_equal(found.vth, layer.vth)
    assert np.array_equal(found.bias, layer.bias)


@pytest.mark.parametrize("factor", [2, 3])
def test_neurons_that_receive_a_multiple_fire_as_before(factor):
    """Weights three times as large, and thresholds and biases that were mapped to them: every spike is the same."""
    rng = np.random.default_rng(1)
    network = small_network(rng, vth=200, dv=0, bias_exp=6)
    spikes = (rng.random((network.num_steps, 50, 12)) < 0.4).astype(np.uint8)
    simulator = Simulator(network)
    (sums, *_), _ = simulator.observe(spikes)
    louder = replace(network.layers[0], weight=(network.layers[0].weight * factor).astype(np.int8))
    std = np.maximum(1, sums.std(0).round())
    mapped = mapped_layer(louder, moments(np.zeros(9), std), moments(np.zeros(9), factor * std), network.num_steps)
    found = Simulator(replace(network, layers=(mapped, *network.layers[1:]))).record(spikes)
    expected = simulator.record(spikes)
    assert expected.layers[0].z.any()
    assert np.array_equal(found.layers[0].z, expected.layers[0].z)
    assert np.array_equal(found.values, expected.values)


def test_a_constant_neuron_keeps_its_threshold_and_moves_by_the_means():
    layer = small_network(np.random.default_rng(0), bias=0).layers[0]
    kept, now = moments([160] * 9, [0] * 5 + [40] * 4), moments([0] * 9, [20] * 5 + [0] * 4)
    found = mapped_layer(layer, kept, now, num_steps=8)
    assert np.array_equal(found.vth, layer.vth)
    assert found.bias.tolist() == [64 * 160 // 8] * 9


def test_gains_that_no_register_holds_are_refused():
    layer = small_network(np.random.default_rng(0), vth=20_000).layers[0]
    with pytest.raises(InputError, match=r"needs a gain of 0.0312, so a threshold of .*17 bits hold 131071"):
        mapped_layer(layer, moments([0] * 9, [1] * 9), moments([0] * 9, [1000] * 9), 8)
    with pytest.raises(InputError, match=r"needs a bias of .*16 bits"):
        mapped_layer(layer, moments([2**30] * 9, [100] * 9), moments([0] * 9, [100] * 9), 8)


@pytest.mark.parametrize("code", ["rate", "latency"])
def test_input_neurons_undo_a_gain_and_an_offset(code):
    """Intensities x that arrive as x / 4 + 1/2 leave as x: the spikes are those of x."""
    images = np.random.default_rng(0).integers(0, 17, (20, 5)).astype(np.float32) / 16
    neurons = InputNeurons(np.full(5, UNIT // 4, np.int32), np.full(5, -UNIT // 2, np.int32))
    assert np.array_equal(encode(code, 16, images / 4 + np.float32(0.5), neurons), encode(code, 16, images))
    assert np.array_equal(encode(code, 16, images, InputNeurons.of_code(5)), encode(code, 16, images))
    silent = InputNeurons(np.full(5, UNIT, np.int32), np.full(5, SILENT, np.int32))
    assert not encode(code, 16, images, silent).any()


@pytest.mark.parametrize(
    ("vth", "bias", "message"), [(0, 0, "vth of an input neuron is 0"), (1, 2**17 + 1, "bias of an input neuron is 131073")]
)
def test_registers_that_no_input_neuron_has(vth, bias, message):
    with pytest.raises(InputError, match=message):
        InputNeurons(np.array([vth], np.int32), np.array([bias], np.int32))


def test_intensities_are_received_in_4096ths():
    assert received(np.array([[0, 0.5, 1]], np.float32)).tolist() == [[0, 2048, 4096]]
    with pytest.raises(InputError, match="NaN"):
        received(np.array([[np.nan]], np.float32))


def test_distance_between_gaussians():
    one, other = moments([0, 0], [3, 4]), moments([3, 0], [3, 0])
    assert distance(one, other) == (9 + 16) / 25
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 1000, (50, 400)).round() for _ in range(2)]
    apart = [moments(x.mean(0).round(), x.std(0).round(), 50) for x in parts]
    assert 0.9 < distance(*apart) / chance(*apart) < 1.1
