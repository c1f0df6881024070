"""Recurrent weights and delays: what the simulator computes, and what is no such layer."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware import simulator
from polystep_snn.hardware.delay_line import DelayLine
from polystep_snn.hardware.integer_network import MAX_DELAY, IntegerLayer
from polystep_snn.hardware.simulator import Simulator, largest_input
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory, without_memory
from tests.hardware.test_simulator import dense, make_network
from tests.reference.naive_chip import naive_run

NEVER = 2**17 - 1


def assert_same_recordings(found, expected):
    for k, (one, other) in enumerate(zip(found.layers, expected.layers, strict=True)):
        for name in "zuv":
            assert np.array_equal(getattr(one, name), getattr(other, name)), f"{name} of layer {k}"
    assert np.array_equal(found.values, expected.values)


@pytest.mark.parametrize("memory", MEMORIES)
def test_it_equals_the_obvious_version(memory):
    fired = steps = changed = 0
    for seed in range(80):
        network, spikes = random_with_memory(memory, seed)
        expected, values = naive_run(network, spikes)
        found = Simulator(network).record(spikes)
        for k, record in enumerate(expected):
            for name, want in zip("zuv", record, strict=True):
                assert np.array_equal(getattr(found.layers[k], name), want), f"{name} of layer {k} of network {seed}"
        assert np.array_equal(found.values, values)
        assert np.array_equal(Simulator(network).run(spikes), values)
        fired += sum(layer.z.sum() for layer in found.layers)
        steps += sum(layer.z.size for layer in found.layers)
        plain = Simulator(without_memory(network)).record(spikes)
        changed += any((one.z != other.z).any() for one, other in zip(found.layers, plain.layers, strict=True))
    assert 0.05 < fired / steps < 0.7
    assert changed > 60, "what is tested matters to the spikes"


def test_a_recurrent_trace_by_hand():
    """Neuron 0 fires at its input; a step later 1 hears of it by 20 << 6, and a step after that 0 loses 5 << 6 to 1's spike."""
    recurrent = np.array([[0, -5], [20, 0]], np.int8)
    layer = replace(dense([[10], [0]], vth=9, dv=0), recurrent=recurrent)
    found = Simulator(make_network([layer], 4)).record(np.array([[[1]], [[0]], [[0]], [[1]]], np.uint8))
    assert found.layers[0].z[:, 0].tolist() == [[True, False], [False, True], [False, False], [False, False]]
    assert found.layers[0].u[:, 0].tolist() == [[640, 0], [0, 1280], [-320, 0], [640, 0]]
    assert found.layers[0].v[:, 0].tolist() == [[0, 0], [0, 0], [-320, 0], [320, 0]]


def test_a_delayed_trace_by_hand():
    """Spikes of input 0 arrive at once, of input 1 two steps later: 3 << 6 = 192 and 1 << 6 = 64."""
    layer = replace(dense([[3, 1]], vth=NEVER, dv=4095), delays=np.array([0, 2], np.uint8))
    spikes = np.array([[1, 1], [0, 1], [0, 0], [1, 0], [0, 1]], np.uint8)[:, None]
    found = Simulator(make_network([layer], 5)).record(spikes)
    assert found.layers[0].u.ravel().tolist() == [192, 0, 64, 192 + 64, 0]


@pytest.mark.parametrize("memory", MEMORIES)
def test_samples_know_nothing_of_each_other(memory):
    """Neither beside one another nor in a second run of the same simulator."""
    for seed in range(10):
        network, spikes = random_with_memory(memory, seed)
        machine = Simulator(network)
        together = machine.record(spikes)
        for b in range(spikes.shape[1]):
            alone = machine.record(spikes[:, b : b + 1])
            for one, other in zip(together.layers, alone.layers, strict=True):
                assert np.array_equal(one.z[:, b], other.z[:, 0])
                assert np.array_equal(one.v[:, b], other.v[:, 0])


@pytest.mark.parametrize("block_bytes", [1, 20_000])
@pytest.mark.parametrize("block_steps", [1, 3, 100])
def test_blocks_change_nothing(monkeypatch, block_bytes, block_steps):
    """Delays reach over several blocks of steps, and into other blocks than their neighbours'."""
    network, spikes = random_with_memory("both", 5, num_samples=23, num_steps=70, longest=50)
    assert max(layer.max_delay for layer in network.layers) > 30
    whole = Simulator(network).record(spikes)
    monkeypatch.setattr(simulator, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(simulator, "_BLOCK_STEPS", block_steps)
    assert_same_recordings(Simulator(network).record(spikes), whole)


def test_a_delay_line_by_hand():
    line = DelayLine(np.array([1, 0, 3]), 1, np.uint8)
    blocks = [np.array(b, np.uint8)[:, None] for b in ([[1, 1, 1]], [[1, 0, 1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0]])]
    arrived = np.concatenate([line(block) for block in blocks])[:, 0]
    assert arrived.tolist() == [[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_delays_of_nothing_and_weights_of_nothing_change_nothing():
    network, spikes = random_with_memory("both", 1)
    empty = [replace(x, recurrent=np.zeros((x.num_neurons,) * 2, np.int8), delays=np.zeros(x.num_inputs, np.uint8)) for x in network.layers]
    plain = without_memory(network)
    assert_same_recordings(Simulator(replace(network, layers=tuple(empty))).record(spikes), Simulator(plain).record(spikes))


def test_what_may_arrive_counts_recurrent_weights():
    layer = replace(dense([[100, -3]], weight_exp=1), recurrent=np.array([[27]], np.int8))
    assert largest_input(layer) == 2 * 127


def test_currents_of_recurrent_weights_wrap():
    """300 neurons that excite each other by 127: 24 bits are full in four steps."""
    layer = replace(dense(np.full((300, 1), 127), du=0, vth=5), recurrent=np.full((300, 300), 127, np.int8))
    network, spikes = make_network([layer], 6), np.ones((6, 1, 1), np.uint8)
    found = Simulator(network).record(spikes).layers[0]
    assert np.array_equal(found.u, naive_run(network, spikes)[0][0][1])
    assert np.diff(found.u[:, 0, 0].astype(np.int64)).min() < -(2**22)


RECURRENT = np.ones((2, 2), np.int8)
DELAYS = np.array([0, 1, 62], np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recurrent": RECURRENT.astype(np.int16)}, r"recurrent is int16 \[2, 2\]: give int8 with 2 dimensions"),
        ({"recurrent": RECURRENT[0]}, r"recurrent is int8 \[2\]"),
        ({"recurrent": [[1]]}, "recurrent is list"),
        ({"recurrent": np.ones((2, 3), np.int8)}, r"recurrent is \[2, 3\] for 2 neurons: give one weight from each to each"),
        ({"recurrent": np.ones((3, 3), np.int8)}, r"recurrent is \[3, 3\] for 2 neurons"),
        ({"delays": DELAYS.astype(np.int64)}, r"delays is int64 \[3\]: give uint8 with 1 dimension"),
        ({"delays": DELAYS[:2]}, "delays has 2 entries for 3 inputs: give one an input"),
        ({"delays": np.full((2, 3), 1, np.uint8)}, r"delays is uint8 \[2, 3\]"),
        ({"delays": 3}, "delays is int: give uint8"),
        ({"delays": DELAYS + np.uint8(1)}, "a delay is 63, but the chip holds a spike back for at most 62 steps: shorten it"),
    ],
)
def test_what_no_layer_with_memory_is(changes, message):
    layer = dense([[1, 2, 3], [4, 5, 6]])
    assert replace(layer, recurrent=RECURRENT, delays=DELAYS).max_delay == MAX_DELAY
    with pytest.raises(InputError, match=message) as error:
        replace(layer, **changes)
    assert "\n" not in str(error.value)


def test_a_convolution_has_no_memory():
    geometry = Convolution((1, 2, 3), 1, (2, 3))
    layer = IntegerLayer(np.ones((1, 1, 2, 3), np.int8), np.ones(1, np.int32), np.zeros(1, np.int16), convolution=geometry)
    with pytest.raises(InputError, match="a convolution has recurrent weights, but recurrent layers are dense: take a dense layer"):
        replace(layer, recurrent=np.ones((1, 1), np.int8))
    with pytest.raises(InputError, match="inputs of a convolution have delays, but those of dense layers alone can"):
        replace(layer, delays=np.ones(6, np.uint8))


def test_a_delay_as_long_as_a_sample_is_refused():
    layer = replace(dense([[1, 2]]), delays=np.array([0, 5], np.uint8))
    assert make_network([layer], 6).layers[0].max_delay == 5
    with pytest.raises(InputError, match="layer 1 has a delay of 5 in samples of 5 steps, so those spikes never arrive: shorten the delay"):
        make_network([dense([[1], [1]]), layer], 5)
