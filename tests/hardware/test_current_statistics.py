"""Running sums in integers: the moments of all that was added, in whatever parts it came."""

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.current_statistics import KeptStatistics, Moments, RunningMoments, margins
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.watching import ImageStream, SpikeStream, statistics
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory
from tests.hardware.test_convolution import random_convolutional
from tests.reference.naive_transport import naive_moments


@pytest.mark.parametrize("seed", range(5))
def test_moments_are_those_of_exact_fractions_in_whatever_parts(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-(10 ** (seed + 1)), 10 ** (seed + 2), (40, 6)).astype(np.int32)
    values[:, 3] = 17
    whole, parts, merged = RunningMoments(6), RunningMoments(6), RunningMoments(6)
    whole.add(values)
    for part in np.split(values, [1, 8, 8, 30]):
        parts.add(part)
    half = RunningMoments(6)
    half.add(values[20:])
    merged.add(values[:20])
    merged.merge(half)
    mean, std = naive_moments(values.tolist())
    for found in (whole, parts, merged):
        moments = found.moments()
        assert (moments.mean.tolist(), moments.std.tolist(), moments.samples) == (mean, std, 40)
    assert std[3] == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((3, 2), np.nan), "float64"),
        (np.zeros((3, 5), np.int32), r"give integers \[samples, 2\]"),
        (np.full((3, 2), 2**31, np.int64), "take fewer samples"),
    ],
)
def test_what_is_no_sum_of_currents_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        RunningMoments(2).add(values)


def test_one_sample_has_no_spread():
    moments = RunningMoments(1)
    moments.add(np.ones((1, 1), np.int32))
    with pytest.raises(InputError, match="2 at least"):
        moments.moments()


@pytest.mark.parametrize(
    ("moments", "margin", "message"),
    [
        ((Moments(np.zeros(2, np.int32), np.array([1, -1], np.int32), 5),), 0, "deviation of population 0 is -1"),
        ((Moments(np.zeros(2), np.zeros(2), 5),), 0, "no int32"),
        ((Moments(np.zeros(2, np.int32), np.zeros(2, np.int32), 1),), 0, "of 1 samples"),
        ((Moments(np.zeros(2, np.int32), np.zeros(2, np.int32), 5),), -1, "margin is -1"),
        ((), 0, "no population"),
    ],
)
def test_statistics_that_none_has(moments, margin, message):
    with pytest.raises(InputError, match=message):
        KeptStatistics(moments, margin)


def test_margins():
    assert margins(np.array([[3, 9, 5], [-4, -4, -9]], np.int32)).tolist() == [4, 0]
    assert margins(np.array([[7], [-2]], np.int32)).tolist() == [7, -2]


@pytest.mark.parametrize("seed", range(6))
def test_sums_are_what_weights_and_spikes_come_to(seed):
    """Of recurrent, delayed and convolutional layers too: each step's current, as it was recorded with no memory of its own."""
    if seed % 2:
        network, spikes = random_convolutional(seed)
    else:
        network, spikes = random_with_memory(MEMORIES[seed // 2], 3 * seed + 2, num_samples=3)
    simulator = Simulator(network)
    sums, values = simulator.observe(spikes)
    recording = simulator.record(spikes)
    assert np.array_equal(values, recording.values)
    assert len(sums) == len(network.layers)
    inputs = spikes
    for layer, found, seen in zip(network.layers, sums, recording.layers, strict=False):
        weight, delays = layer.dense_weight().astype(int), np.zeros(layer.num_inputs, int) if layer.delays is None else layer.delays
        expected = np.zeros((spikes.shape[1], layer.num_neurons), int)
        for t in range(network.num_steps):
            late = np.stack([inputs[t - d, :, m] if t >= d else 0 * inputs[0, :, m] for m, d in enumerate(delays)], 1)
            expected += late @ weight.T
            if layer.recurrent is not None and t:
                expected += seen.z[t - 1] @ layer.recurrent.T.astype(int)
        assert np.array_equal(found, expected << layer.weight_exp)
        inputs = seen.z.astype(int)


def test_streams_are_checked():
    network, spikes = random_with_memory("recurrent", 1, num_samples=3)
    with pytest.raises(InputError, match="NaN"):
        ImageStream(np.full((2, 4), np.nan, np.float32))
    with pytest.raises(InputError, match="float64"):
        ImageStream(np.zeros((2, 4)))
    with pytest.raises(InputError, match="give a stream of spikes"):
        statistics(network, ImageStream(np.zeros((3, network.sizes[0]), np.float32)))
    with pytest.raises(InputError, match="has 1 samples"):
        statistics(network, SpikeStream(lambda numbers: spikes[:, numbers], 1))
