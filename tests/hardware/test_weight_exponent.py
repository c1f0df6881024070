"""Weights with an exponent: in the simulator, in files, in Lava, and what has no place for one."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.formats import netx, nir
from polystep_snn.hardware.formats.netx import split_weights
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.learning_rule import Learner, LearningRule
from polystep_snn.hardware.simulator import Simulator, largest_input
from tests.reference.naive_chip import naive_run


def network(exponents=(1, 3), du=4095):
    # Of its own: tests run in any order.
    generator = np.random.default_rng(0)

    def layer(outputs, inputs, exponent, vth):
        weight = generator.integers(-100, 101, (outputs, inputs)).astype(np.int8)
        return IntegerLayer(weight, np.full(outputs, vth, np.int32), np.zeros(outputs, np.int16), 6, du, 410, weight_exp=exponent)

    layers = layer(9, 12, exponents[0], 250), layer(4, 9, exponents[1], 900)
    return IntegerNetwork(layers, "count", 20, "events", (12,), tuple("abcd"))


SPIKES = (np.random.default_rng(1).random((20, 6, 12)) < 0.3).astype(np.uint8)


def test_what_arrives_is_multiplied():
    given = network()
    recording = Simulator(given).record(SPIKES)
    expected, _ = naive_run(given, SPIKES)
    for (z, u, v), found in zip(expected, recording.layers, strict=True):
        assert np.array_equal(found.u, u)
        assert np.array_equal(found.v, v)
        assert np.array_equal(found.z, z)
    assert recording.layers[-1].z.sum() > 20
    assert largest_input(given.layers[1]) == 8 * largest_input(replace(given.layers[1], weight_exp=0))


@pytest.mark.parametrize("exponents", [(0, 0), (1, 0), (2, 7)])
def test_files_keep_it(tmp_path, exponents):
    given = network(exponents)
    expected = Simulator(given).run(SPIKES)
    network_file.save(tmp_path / "n.safetensors", given)
    netx.write(tmp_path / "n.net", given)
    nir.write(tmp_path / "n.nir", given)
    for read, name in ((network_file.load, "n.safetensors"), (netx.read, "n.net"), (nir.read, "n.nir")):
        found = read(tmp_path / name)
        assert [layer.weight_exp for layer in found.layers] == list(exponents)
        assert np.array_equal(Simulator(found).run(SPIKES), expected)


def test_lava_computes_the_same(lava_python):
    given = network(du=2000)
    expected = Simulator(given).record(SPIKES)
    with open_backend("lava", given) as backend:
        found = backend.record(SPIKES)
    for ours, theirs in zip(expected.layers, found.layers, strict=True):
        for name in ("z", "u", "v"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize(
    ("weight", "expected"),
    [([[127, -128]], 0), ([[254, -256]], 1), ([[252, 0]], 1), ([[508, -4]], 2), ([[128, 1]], None), ([[258, 0]], None), ([[0, 0]], 0)],
)
def test_how_whole_numbers_are_split(weight, expected):
    weight = np.array(weight, np.int16)
    if expected is None:
        with pytest.raises(InputError, match="which 8 bits and an exponent do not hold"):
            split_weights(weight)
    else:
        low, exponent = split_weights(weight)
        assert exponent == expected
        assert np.array_equal(low.astype(int) * 2**exponent, weight)


def test_what_has_no_place_for_it():
    given = network()
    readout = replace(given.layers[1], vth=np.full(4, 2**17 - 1, np.int32), dv=0)
    with pytest.raises(InputError, match="layer 0 has a weight exponent of 1, but layers that learn have 0"):
        Learner(replace(given, layers=(given.layers[0], readout), readout="membrane"), LearningRule(), 10)
    with pytest.raises(InputError, match="weight_exp is 8"):
        replace(given.layers[0], weight_exp=8)
