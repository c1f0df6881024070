"""Adapting without labels inside one Lava graph: the same decisions, and the same registers, as in the simulator."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.datasets.shifts import Shift
from polystep_snn.errors import BackendError, InputError
from polystep_snn.hardware.lava import adaptation_message
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import ImageStream, adapt
from tests.hardware.adapting import EAGER, read_digits, reader, shifting_spikes
from tests.hardware.lava.lava_worker import worker  # noqa: F401 (fixtures)
from tests.hardware.learning import small_network
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory
from tests.hardware.test_convolution import random_convolutional


def assert_same(network, stream, worker, rule=EAGER):
    """Registers in Lava are read at the end, and held against what follows from its sums: that is in ``LavaBackend.adapt``."""
    expected, found = Adaptation(network, rule), Adaptation(network, rule)
    adapt(expected, stream)
    LavaBackend(network, worker=worker).adapt(found, stream)
    assert found.events == expected.events
    assert np.array_equal(np.concatenate(found.decisions), np.concatenate(expected.decisions))
    assert len(found.history) == len(expected.history)
    for (one, own), (other, their) in zip(found.history, expected.history, strict=True):
        assert one == other
        registers = adaptation_message.registers(their)
        assert all(np.array_equal(values, registers[name]) for name, values in adaptation_message.registers(own).items())
    return found


@pytest.mark.parametrize("kind", [*MEMORIES, "convolution", "deep", "count", "max"])
def test_networks_of_every_kind_adapt_alike(worker, kind):
    if kind == "convolution":
        network, _ = random_convolutional(1)
    elif kind in ("deep", "count", "max"):
        network = small_network(np.random.default_rng(0), (12, 9, 8, 7, 4), bias_exp=2)
        network = replace(network, readout="membrane" if kind == "deep" else kind)
    else:
        network, _ = random_with_memory(kind, 5, num_samples=1, num_steps=9)
    network, stream = shifting_spikes(network, 130)
    found = assert_same(network, stream, worker)
    assert any(event.what == "try" for event in found.events)


def test_input_neurons_adapt_too_and_go_back(worker):
    network = reader(num_passes=2)
    train, _ = read_digits()
    grey = Shift.parse("inversion:0.4")(train.images[:100], 1)
    rule = TransportRule(window=25)
    found = assert_same(network, ImageStream(np.concatenate([grey, train.images[100:225]])), worker, rule)
    whats = [event.what for event in found.events]
    assert "adapt" in whats
    assert "restore" in whats
    assert found.own is network


def test_a_register_that_is_another_one_is_named():
    network, stream = shifting_spikes(small_network(np.random.default_rng(0)), 30)
    adaptation = Adaptation(network, EAGER)
    arrays = {}
    for who in ("own", "beside"):
        arrays |= {f"{who}_sums_{k}": np.zeros((30, n), np.int32) for k, n in enumerate(network.sizes[1:])}
        arrays[f"{who}_values"] = np.zeros((30, 4), np.int32)
        arrays |= {f"{who}_{name}": values.copy() for name, values in adaptation_message.registers(network).items()}
    arrays["own_vth_0"][3] += 1
    with pytest.raises(BackendError, match="register 3 of vth_0 of the network 'own'"):
        adaptation_message.conclude(adaptation, stream, arrays)
    assert adaptation.shown == 0, "it stays as it was"
    assert not adaptation.events


def test_lava_starts_with_a_new_adaptation(worker):
    network, stream = shifting_spikes(small_network(np.random.default_rng(0)), 30)
    adaptation = Adaptation(network, EAGER)
    adapt(adaptation, stream)
    with pytest.raises(InputError, match="30 samples already"):
        LavaBackend(network, worker=worker).adapt(adaptation, stream)
