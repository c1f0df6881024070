"""Lava computes what the simulator computes."""

import time
from itertools import pairwise

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.lava.process_group import members
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.lava.lava_worker import (
    SOON_S,
    identify,
    large_stream,
    nothing_left,
    small,
    worker,  # noqa: F401 (fixtures)
)
from tests.hardware.test_simulator import DU, DV, KINDS, dense, make_network, random_network


def assert_equal(found, expected):
    for k, (one, other) in enumerate(zip(found.layers, expected.layers, strict=True)):
        for name in "zuv":
            a, b = getattr(one, name), getattr(other, name)
            assert a.dtype == b.dtype
            assert np.array_equal(a, b), f"{name} of layer {k}"
    assert found.values.dtype == expected.values.dtype
    assert np.array_equal(found.values, expected.values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_spike_current_and_membrane_of_random_networks(worker, kind):
    """18 of a kind, 126 in all: 1 to 4 layers, every du with every dv, per-neuron thresholds and biases, five samples each."""
    rng = np.random.default_rng(KINDS.index(kind))
    fired = 0
    for du in DU:
        for dv in DV:
            for seed in range(2):
                network, spikes = random_network(kind, du, dv, seed)
                more = rng.random((len(spikes), 3, network.sizes[0])) < rng.random((1, 3, 1))
                spikes = np.concatenate([spikes, more.astype(np.uint8)], axis=1)
                expected = Simulator(network).record(spikes)
                assert_equal(LavaBackend(network, worker=worker).record(spikes), expected)
                fired += sum(int(layer.z.sum()) for layer in expected.layers)
    assert fired > 0


def test_a_trace_by_hand(worker):
    """As the simulator's: du = 2047 halves the current, dv = 1024 takes a quarter of the membrane; 10 << 6 = 640."""
    network = make_network([dense([[10, 5]], vth=12, bias=3, du=2047, dv=1024), dense([[2]], vth=2**17 - 1)], 3)
    spikes = np.array([[[1, 0], [0, 0]], [[0, 0], [1, 1]], [[1, 1], [0, 0]]], np.uint8)
    found = LavaBackend(network, worker=worker).record(spikes)
    assert found.layers[0].u[:, 0, 0].tolist() == [640, 320, 160 + 960]
    assert found.layers[0].v[:, 0, 0].tolist() == [643, 0, 0]
    assert found.layers[0].z[:, 0, 0].tolist() == [False, True, True]
    assert found.layers[1].v[:, 0, 0].tolist() == [0, 128, 256]
    # The second sample starts from nothing: 3; 2 + 960 + 3 = 965 > 768; 0 + 480 + 3 = 483.
    assert found.layers[0].v[:, 1, 0].tolist() == [3, 0, 483]
    assert found.values.tolist() == [[256], [128]]


@pytest.mark.parametrize("readout", ["membrane", "count"])
@pytest.mark.parametrize(("num_steps", "num_samples"), [(1, 1), (1, 7), (2, 5), (16, 1), (16, 6)])
def test_values_of_whole_streams(worker, readout, num_steps, num_samples):
    rng = np.random.default_rng(num_steps)
    sizes = [13, 9, 8, 4]
    layers = [dense(rng.integers(-128, 128, (n, m)), vth=60, bias=40, dv=300) for m, n in pairwise(sizes)]
    network = make_network(layers, num_steps, readout)
    spikes = rng.random((num_steps, num_samples, 13)) < 0.4
    found = LavaBackend(network, worker=worker).run(spikes)
    assert found.dtype == np.int32
    assert np.array_equal(found, Simulator(network).run(spikes))
    assert found.any()


def test_no_samples_and_no_spikes(worker):
    backend = LavaBackend(make_network([dense([[1, 2, 3]], bias=7)], 2), worker=worker)
    assert backend.run(np.zeros((2, 0, 3), np.uint8)).shape == (0, 1)
    assert backend.record(np.zeros((2, 0, 3), np.uint8)).layers[0].u.shape == (2, 0, 1)
    with pytest.raises(InputError, match="a spike is 2"):
        backend.run(np.full((2, 1, 3), 2, np.uint8))
    with pytest.raises(InputError, match="2 steps of 4 channels"):
        backend.record(np.zeros((2, 1, 4), np.uint8))
    assert backend.run(np.zeros((2, 1, 3), np.uint8)).tolist() == [[0]]  # 7 > 0 fires, twice


def test_currents_beyond_32_bits_are_refused(lava_python):
    with pytest.raises(InputError, match="32 bits"):
        LavaBackend(make_network([dense(np.full((1, 262_144), -128), du=4095)]))


@pytest.mark.slow
@pytest.mark.alone
def test_a_data_set_through_a_worker_of_its_own(lava_python):
    """784-128-10, 200 samples of 16 steps: equal values, and a first result within five seconds of the start."""
    network, spikes = large_stream(200)
    told = []
    started = time.perf_counter()
    with LavaBackend(network, on_progress=told.append) as backend:
        first = backend.run(spikes[:, :1])
        assert time.perf_counter() - started < SOON_S
        values = backend.run(spikes)
    assert np.array_equal(values, Simulator(network).run(spikes))
    assert np.array_equal(values[:1], first)
    assert told == sorted(told)
    assert told[-1] <= 200


@pytest.mark.alone
def test_two_workers_side_by_side(lava_python):
    network, spikes = small()
    with nothing_left() as made, LavaBackend(network) as one, LavaBackend(network) as other:
        made += [identify(one), identify(other)]
        for backend in (one, other, one):
            assert np.array_equal(backend.run(spikes), Simulator(network).run(spikes))
        one.close()
        assert members(made[0][0]) == []
        assert np.array_equal(other.run(spikes), Simulator(network).run(spikes))
