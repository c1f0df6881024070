"""Statistics and input neurons in a network's file; older files open as they did."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from polystep_snn.hardware import network_file
from polystep_snn.hardware.current_statistics import KeptStatistics, Moments
from polystep_snn.hardware.input_neurons import InputNeurons
from tests.hardware.learning import small_network
from tests.hardware.network_files import assert_refused, parts


def statistics_of(network):
    received = tuple(Moments(np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32) + 1, 50 + n) for n in network.population_sizes)
    return KeptStatistics(received, 12345)


def complete(encoder="rate"):
    network = replace(small_network(np.random.default_rng(0)), encoder=encoder)
    neurons = InputNeurons(np.arange(1, 13, dtype=np.int32), np.arange(12, dtype=np.int32) - 5) if encoder == "rate" else None
    return replace(network, statistics=statistics_of(network), input_neurons=neurons)


@pytest.mark.parametrize("encoder", ["rate", "events"])
def test_what_is_written_is_read(tmp_path, encoder):
    network = complete(encoder)
    network_file.save(tmp_path / "a", network)
    found = network_file.load(tmp_path / "a")
    assert found.statistics.margin == 12345
    assert len(found.statistics.received) == (3 if encoder == "rate" else 2)
    for one, other in zip(found.statistics.received, network.statistics.received, strict=True):
        assert np.array_equal(one.mean, other.mean)
        assert np.array_equal(one.std, other.std)
        assert one.samples == other.samples
    if encoder == "rate":
        assert np.array_equal(found.input_neurons.vth, network.input_neurons.vth)
        assert np.array_equal(found.input_neurons.bias, network.input_neurons.bias)
    network_file.save(tmp_path / "b", found)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_network_without_is_written_as_before(tmp_path):
    network_file.save(tmp_path / "a", small_network(np.random.default_rng(0)))
    with safe_open(tmp_path / "a", framework="np") as file:
        assert json.loads(file.metadata()["polystep_snn"])["schema"] == 1
    found = network_file.load(tmp_path / "a")
    assert found.statistics is None
    assert found.input_neurons is None


def spoiled():
    """The tensors and the metadata of a complete file."""
    network = complete()
    tensors, meta = parts(network)
    kept = network.statistics
    meta |= {"schema": 5, "statistics": {"margin": kept.margin, "counts": [moments.samples for moments in kept.received]}}
    tensors |= {"input.vth": network.input_neurons.vth, "input.bias": network.input_neurons.bias}
    for k, moments in enumerate(kept.received):
        tensors |= {f"statistics.{k}.mean": moments.mean, f"statistics.{k}.std": moments.std}
    return tensors, meta


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("statistics.0.std", None, "not those of its metadata"),
        ("input.bias", None, "not those of its metadata"),
        ("statistics.1.mean", np.zeros(9, np.float32), "not those of its metadata"),
        ("statistics.3.mean", np.zeros(9, np.int32), "not those of its layers"),
        ("statistics.1.std", np.full(9, -1, np.int32), "deviation of population 1 is -1"),
        ("statistics.1.mean", np.zeros(8, np.int32), "population 1"),
        ("input.vth", np.zeros(12, np.int32), "vth of an input neuron is 0"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, name, tensor, message):
    tensors, meta = spoiled()
    tensors[name] = tensor
    assert_refused(tmp_path / "a", {key: value for key, value in tensors.items() if value is not None}, meta, message)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"margin": 1}, "lacks a field"),
        ({"margin": 1.5, "counts": [9, 9, 9]}, "lacks a field"),
        ({"margin": 1, "counts": [9, 9, 1]}, "lacks a field"),
        ({"margin": 1, "counts": [9]}, "not those of its layers"),
        ({"margin": -1, "counts": [9, 9, 9]}, "margin is -1"),
        ([], "lacks a field"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path, field, message):
    tensors, meta = spoiled()
    assert_refused(tmp_path / "a", tensors, meta | {"statistics": field}, message)


def test_older_schemas_have_none_of_it(tmp_path):
    tensors, meta = spoiled()
    assert_refused(tmp_path / "a", tensors, meta | {"schema": 4}, "lacks a field")
