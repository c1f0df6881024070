"""Every membrane is compared, and a difference is named."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.geometry import Convolution
from polystep_snn.hardware import network_file
from polystep_snn.hardware.backend import SimulatorBackend
from polystep_snn.hardware.lava.protocol import MAX_ARRAY_BYTES
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.training import deploy as training_deploy
from polystep_snn.training.deploy import deploy
from polystep_snn.training.run_folder import open_run
from tests.hardware.test_convolution import convolutional
from tests.training.deployed_runs import ON_CHIP, SIZES, STEPS, call, one_line, runs, without_lava  # noqa: F401 (fixtures)


@pytest.mark.parametrize("kind", [*ON_CHIP, "float"])
def test_verify_compares_every_neuron_step_and_sample(runs, capsys, kind):
    result, lines = call(capsys, "verify", runs[kind])
    neurons, steps = sum(SIZES.get(kind, [64, 20, 10])[1:]), STEPS.get(kind, 16)
    assert result == {
        "samples": 360,
        "backends": ["simulator"],
        "spikes_compared": 360 * steps * neurons,
        "membranes_compared": 360 * steps * neurons,
        "differences": 0,
        "first_difference": None,
    }
    number = f"{360 * steps * neurons:,}"
    assert lines == [f"torch, simulator: 360 samples, {number} spikes and {number} membranes compared, 0 differences"]
    deployed = deploy(open_run(runs[kind]))
    spikes = (np.random.default_rng(0).random((steps, 4, 64)) < 0.4).astype(np.uint8)
    assert all(0 < layer.z.mean() < 1 for layer in Simulator(deployed.integers).record(spikes).layers[:-1]), "nothing fired"


@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("kind", [*ON_CHIP, "float"])
def test_verify_on_lava(runs, capsys, kind):
    result, _ = call(capsys, "verify", runs[kind], "--backend", "lava", "--limit", 40)
    neurons, steps = sum(SIZES.get(kind, [64, 20, 10])[1:]), STEPS.get(kind, 16)
    assert result["backends"] == ["simulator", "lava"]
    assert (result["samples"], result["spikes_compared"], result["differences"]) == (40, 2 * 40 * steps * neurons, 0)


def test_verify_on_what_is_found(runs, capsys, without_lava):
    result, lines = call(capsys, "verify", runs["chip"], "--backend", "auto", "--limit", 3)
    assert result["backends"] == ["simulator"]
    assert result["samples"] == 3
    assert lines[0].startswith(f"comparing with the simulator, since ${PYTHON_VARIABLE} is /nowhere/python")


def test_a_membrane_that_differs_is_named(runs, capsys, monkeypatch):
    record = SimulatorBackend.record

    def flipped(self, spikes):
        recording = record(self, spikes)
        recording.layers[0].v[11, 7, 13] ^= 64
        recording.layers[1].u[12, 3, 2] += 1
        return recording

    monkeypatch.setattr(SimulatorBackend, "record", flipped)
    monkeypatch.setattr("polystep_snn.training.deploy._RECORDED", 200)
    result, lines = call(capsys, "verify", runs["chip"], code=1)
    # Two in each of the two parts of 200 and 160 samples.
    assert result["differences"] == 4
    place = r"simulator: the membrane of layer 0, neuron 13, step 11, sample 7 is (-?\d+) instead of (-?\d+)"
    found, expected = map(int, re.fullmatch(place, result["first_difference"]).groups())
    assert found == expected ^ 64
    assert lines[-1] == f"first difference: {result['first_difference']}"
    assert lines[-2].endswith("membranes compared, 4 differences")


def test_a_difference_of_a_later_sample_is_counted_from_the_first(runs, capsys, monkeypatch):
    record = SimulatorBackend.record

    def flipped(self, spikes):
        recording = record(self, spikes)
        if spikes.shape[1] == 60:
            recording.layers[1].z[4, 5, 6] ^= True
        return recording

    monkeypatch.setattr(SimulatorBackend, "record", flipped)
    monkeypatch.setattr("polystep_snn.training.deploy._RECORDED", 100)
    result, _ = call(capsys, "verify", runs["chip"], code=1)
    assert result["differences"] == 1
    assert "the spike of layer 1, neuron 6, step 4, sample 305 is 1 instead of 0" in result["first_difference"]


def test_as_many_samples_at_a_time_as_a_message_holds(runs, capsys, monkeypatch):
    """Of a wide network, 20 steps of 2 * 64 * 64 inputs and 32 * 62 * 62 neurons, no more than 2 GiB; of a small one 500."""
    small = network_file.load(runs["chip"] / "network.safetensors")
    wide = convolutional([Convolution((2, 64, 64), 32, (3, 3))], np.random.default_rng(0), num_steps=20)[0]
    assert training_deploy._samples_at_a_time(small) == 500
    num_samples = training_deploy._samples_at_a_time(wide)
    assert num_samples == 2**30 // (9 * 20 * (8192 + 123008 + 3)) == 45
    assert num_samples * 9 * 20 * (123008 + 3) <= MAX_ARRAY_BYTES < 500 * 9 * 20 * (123008 + 3)
    monkeypatch.setattr(training_deploy, "_RECORDED_BYTES", 100 * 9 * 16 * (64 + 20 + 10))
    record, sizes = SimulatorBackend.record, []
    monkeypatch.setattr(SimulatorBackend, "record", lambda self, spikes: (sizes.append(spikes.shape[1]), record(self, spikes))[1])
    result, _ = call(capsys, "verify", runs["chip"])
    assert sizes == [100, 100, 100, 60]
    assert (result["samples"], result["differences"]) == (360, 0)


def tampered(run_folder: Path, folder: Path, **changes) -> Path:
    """A copy of a run whose network's first layer has other arrays."""
    copy = folder / "run"
    copy.mkdir()
    for name in ("config.json", "checkpoint.safetensors"):
        (copy / name).write_bytes((run_folder / name).read_bytes())
    network = network_file.load(run_folder / "network.safetensors")
    layer = replace(network.layers[0], **{name: change(getattr(network.layers[0], name).copy()) for name, change in changes.items()})
    network_file.save(copy / "network.safetensors", replace(network, layers=(layer, *network.layers[1:])))
    return copy


def test_the_file_is_what_runs(runs, capsys, tmp_path):
    """One threshold of a network file that is otherwise in order: only its own neuron and those behind it can differ."""

    def lowered(vth):
        vth[4] = 1
        return vth

    result, _ = call(capsys, "verify", tampered(runs["chip"], tmp_path, vth=lowered), code=1)
    assert result["differences"] > 0
    assert re.match(r"simulator: the spike of layer 0, neuron 4, step \d+, sample \d+ is 1 instead of 0$", result["first_difference"])


def test_a_file_of_another_network_is_no_comparison(runs, capsys, tmp_path):
    copy = tampered(runs["chip"], tmp_path)
    (copy / "network.safetensors").write_bytes((runs["deep"] / "network.safetensors").read_bytes())
    assert "record the same network on the same spikes" in one_line(capsys, "verify", copy)
    data = bytearray((runs["chip"] / "network.safetensors").read_bytes())
    data[-5] ^= 1
    (copy / "network.safetensors").write_bytes(data)
    assert "is damaged (its checksum is another one)" in one_line(capsys, "verify", copy)
