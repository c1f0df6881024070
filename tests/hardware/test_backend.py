"""Every backend answers the same calls with the same numbers, and says why it cannot be opened."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.backend import BACKENDS, BackendError, open_backend
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE
from polystep_snn.hardware.simulator import Recording
from tests.hardware.test_simulator import dense, make_network


@pytest.fixture
def without_lava(monkeypatch, tmp_path):
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr("polystep_snn.hardware.lava.worker_process._ENVIRONMENT", tmp_path)


@pytest.mark.parametrize("name", ["simulator", "lava"])
@pytest.mark.parametrize("readout", ["membrane", "count"])
def test_the_same_calls_and_numbers(request, name, readout):
    """Two steps of 3 * 64 = 192 and 2 * 64 + 7 = 135 beside a threshold of 128; then -1 and 1 times 64."""
    if name == "lava":
        request.getfixturevalue("lava_python")
    network = make_network([dense([[3, 0], [0, 2]], vth=2, bias=7), dense([[-1, 1]], vth=1)], 2, readout)
    spikes = np.array([[[1, 0], [0, 1]], [[0, 0], [0, 1]]], bool)
    with open_backend(name, network) as backend:
        assert backend.name == name
        assert backend.reason == ""
        assert backend.network is network
        values, recorded = backend.run(spikes), backend.record(spikes)
    assert isinstance(recorded, Recording)
    assert recorded.layers[0].v[:, 0].tolist() == [[0, 7], [7, 14]]
    assert recorded.layers[0].z[:, 1].tolist() == [[False, True], [False, True]]
    assert recorded.layers[1].v[:, :, 0].tolist() == [[-64, 64], [-64, 0]]
    expected = [[-64], [0]] if readout == "membrane" else [[0], [1]]
    assert values.tolist() == expected
    assert recorded.values.tolist() == expected
    assert values.dtype == recorded.values.dtype == np.int32
    backend.close()


def test_a_backend_that_there_is_not():
    with pytest.raises(InputError, match="there is no backend 'brain': choose one of simulator, lava, loihi2, auto"):
        open_backend("brain", make_network([dense([[1]])]))


@pytest.mark.parametrize("name", [*BACKENDS, "auto"])
def test_currents_beyond_32_bits_are_refused_everywhere(name, without_lava):
    with pytest.raises(InputError, match="32 bits"):
        open_backend(name, make_network([dense(np.full((1, 262_144), -128))]))


def test_auto_takes_lava_where_it_is_installed(lava_python):
    with open_backend("auto", make_network([dense([[1]])])) as backend:
        assert backend.name == "lava"
        assert backend.reason == f"Lava, in {lava_python}"
        assert backend.run(np.ones((1, 1, 1), bool)).tolist() == [[0]]


def test_auto_takes_the_simulator_where_there_is_no_lava(without_lava):
    with open_backend("auto", make_network([dense([[1]], vth=5)])) as backend:
        assert backend.name == "simulator"
        assert backend.reason.startswith("the simulator, since there is no Python with Lava: run `make lava-env`")
        assert backend.run(np.ones((1, 1, 1), bool)).tolist() == [[64]]


@pytest.mark.parametrize("name", ["lava", "loihi2"])
def test_what_was_asked_for_is_not_replaced(name, without_lava):
    with pytest.raises(InputError, match="there is no Python with Lava"):
        open_backend(name, make_network([dense([[1]])]))


def test_loihi2_says_what_is_missing(lava_python):
    with pytest.raises(InputError, match=r"Loihi 2 needs Intel.s Lava extension for it \(lava-loihi\), which"):
        open_backend("loihi2", make_network([dense([[1]])]))


def test_what_the_chip_cannot_give_is_refused(lava_python, monkeypatch):
    """As if the extension were there; without it, Lava itself refuses to compile for the chip, and nothing takes its place."""
    counting = make_network([dense([[1]])], readout="count")
    several = make_network([dense([[1], [1]], vth=np.array([1, 2]))], readout="count")
    with LavaBackend(counting) as backend:
        worker = backend._worker()
        monkeypatch.setattr(worker, "has_loihi2", True)
        with pytest.raises(InputError, match="read by its membranes"):
            LavaBackend(make_network([dense([[1]])]), on_chip=True, worker=worker)
        with pytest.raises(InputError, match="layer 0 has several thresholds"):
            LavaBackend(several, on_chip=True, worker=worker)
        layer = counting.layers[0]
        recurrent, delayed = replace(layer, recurrent=np.ones((1, 1), np.int8)), replace(layer, delays=np.ones(1, np.uint8))
        for memory, message in ((recurrent, "layer 0 is recurrent, and how"), (delayed, "layer 0 is delayed, and how its synapses")):
            with pytest.raises(InputError, match=message):
                LavaBackend(make_network([memory], 2, readout="count"), on_chip=True, worker=worker)
        chip = LavaBackend(counting, on_chip=True, worker=worker)
        assert chip.name == "loihi2"
        with pytest.raises(InputError, match="not read from the chip"):
            chip.record(np.ones((1, 1, 1), bool))
        with pytest.raises(BackendError, match="Lava failed: "):
            chip.run(np.ones((1, 1, 1), bool))


def test_a_chip_that_computes_something_else_is_told(lava_python, monkeypatch):
    network = make_network([dense([[1], [2]])], readout="count")
    with LavaBackend(network) as backend:
        worker = backend._worker()
        monkeypatch.setattr(worker, "has_loihi2", True)
        monkeypatch.setattr(worker, "request", lambda *_: {"values": np.array([[1, 0]], np.int32)})
        chip = LavaBackend(network, on_chip=True, worker=worker)
        with pytest.raises(BackendError, match="the chip differs from the simulator: sample 0, neuron 1 gives 0 instead of 1"):
            chip.run(np.ones((1, 1, 1), bool))
