"""From a run to the chip, through the command line: one accuracy everywhere, every membrane compared, files that hold the network."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.cli.main import main
from polystep_snn.geometry import Convolution
from polystep_snn.hardware import network_file
from polystep_snn.hardware.backend import SimulatorBackend
from polystep_snn.hardware.chip import Chip, Limit, preflight
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.formats import netx, nir
from polystep_snn.hardware.lava.protocol import MAX_ARRAY_BYTES
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.training import deploy as training_deploy
from polystep_snn.training.deploy import deploy
from polystep_snn.training.run_folder import open_run
from tests.hardware.test_convolution import convolutional

QUICK = ["--hidden", "20", "--epochs", "2", "--lr", "0.02", "--threads", "1", "--no-compile"]
KINDS = {
    "chip": ["--neuron", "loihi"],
    "counts": ["--neuron", "loihi", "--readout", "count", "--alpha", "0.5", "--encoder", "latency"],
    "deep": ["--neuron", "loihi", "--hidden", "20", "12", "--encoder", "poisson"],
    "maps": ["--neuron", "loihi", "--hidden", "4c3", "p2", "8c2", "--probed", "16", "0"],
    "float": ["--encoder", "rate"],
    "direct": [],
}
SIZES = {"deep": [64, 20, 12, 10], "maps": [64, 4 * 6 * 6, 8 * 2 * 2, 10]}
ON_CHIP = [kind for kind, options in KINDS.items() if "loihi" in options]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs on the digits by kind, trained when they are first asked for."""
    folder = tmp_path_factory.mktemp("deploy")

    class Runs(dict):
        def __missing__(self, kind):
            assert main(["train", "digits", "--out", str(folder / kind), *QUICK, *KINDS[kind]]) == 0
            self[kind] = folder / kind
            return self[kind]

    return Runs()


@pytest.fixture
def without_lava(monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, "/nowhere/python")


def call(capsys, *arguments, code=0):
    """The JSON that a command prints, and its lines for people."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err.splitlines()


def one_line(capsys, *arguments, code=2):
    """What a command that fails says, which is one line and no result."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line.removeprefix("polystep-snn: error: ")


def content(network, path):
    """A network's bytes: equal where every number and name is."""
    network_file.save(path, network)
    return path.read_bytes()


# One accuracy everywhere


@pytest.mark.parametrize("kind", ON_CHIP)
def test_deployed_accuracy_is_trained_accuracy(runs, capsys, kind, without_lava):
    trained = json.loads((runs[kind] / "summary.json").read_text())["test_accuracy"]
    assert trained > 0.3, "three times chance"
    for backend in ("torch", "simulator", "auto"):
        result, _ = call(capsys, "eval", runs[kind], "--backend", backend)
        assert (result["test_accuracy"], result["samples"]) == (trained, 360)
        assert result["backend"] == ("torch" if backend == "torch" else "simulator")


def test_the_first_samples_alone(runs, capsys):
    """29 samples: an accuracy that comes out the same for another number of samples would be a coincidence."""
    torch, _ = call(capsys, "eval", runs["chip"], "--limit", 29)
    simulator, _ = call(capsys, "eval", runs["chip"], "--backend", "simulator", "--limit", 29)
    assert torch["samples"] == simulator["samples"] == 29
    assert torch["test_accuracy"] == simulator["test_accuracy"]
    assert (29 * torch["test_accuracy"]) == pytest.approx(round(29 * torch["test_accuracy"]))
    assert call(capsys, "eval", runs["chip"], "--backend", "simulator", "--limit", 9999)[0]["samples"] == 360


def test_decisions_need_nothing_but_the_file(runs, digits):
    """Network file, encoder and simulator, none of which knows torch, decide as the trained network does, sample by sample."""
    run = open_run(runs["chip"])
    network = network_file.load(runs["chip"] / "network.safetensors")
    images = digits.test.images.reshape(360, -1).astype(np.float32) / digits.test.full_scale
    decided = Simulator(network).run(encode(network.encoder, network.num_steps, images)).argmax(1)
    assert np.array_equal(decided, run.evaluate().predictions.numpy())
    assert network.input_shape == (8, 8)
    assert network.classes == digits.classes


@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("kind", ["chip", "counts"])
def test_lava_scores_the_same(runs, capsys, kind):
    expected, _ = call(capsys, "eval", runs[kind])
    found, lines = call(capsys, "eval", runs[kind], "--backend", "lava")
    assert found == expected | {"backend": "lava"}
    assert not any("running on" in line for line in lines)


@pytest.mark.usefixtures("lava_python")
def test_auto_takes_lava_and_says_so(runs, capsys):
    result, lines = call(capsys, "eval", runs["chip"], "--backend", "auto", "--limit", 5)
    assert result["backend"] == "lava"
    assert any(line.startswith("running on Lava, in ") for line in lines)


# Verification


@pytest.mark.parametrize("kind", [*ON_CHIP, "float"])
def test_verify_compares_every_neuron_step_and_sample(runs, capsys, kind):
    result, lines = call(capsys, "verify", runs[kind])
    neurons, steps = sum(SIZES.get(kind, [64, 20, 10])[1:]), (15 if kind == "float" else 16)
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
    neurons, steps = sum(SIZES.get(kind, [64, 20, 10])[1:]), (15 if kind == "float" else 16)
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


# Files


@pytest.mark.parametrize("kind", [*ON_CHIP, "float"])
def test_every_format_gives_the_network_back(runs, capsys, tmp_path, kind):
    expected = content(deploy(open_run(runs[kind])).integers, tmp_path / "expected")
    for form, read in (("network", network_file.load), ("nir", nir.read), ("lava-dl", netx.read)):
        result, lines = call(capsys, "export", runs[kind], "--format", form, "--out", tmp_path / "deep" / form)
        assert result["file"] == str(tmp_path / "deep" / form)
        assert result["format"] == form
        assert result["sizes"] == SIZES.get(kind, [64, 20, 10])
        assert result["cores"] == len(result["sizes"]) - 1
        assert lines[-1] == f"wrote {result['file']}"
        assert any(line.startswith("layer 0 ") and " 64 " in line for line in lines), "the table of the chip's limits"
        assert content(read(tmp_path / "deep" / form), tmp_path / "found") == expected


@pytest.mark.parametrize("kind", ON_CHIP)
def test_the_runs_own_file(runs, tmp_path, kind):
    run = open_run(runs[kind])
    network = network_file.load(runs[kind] / "network.safetensors")
    assert content(network, tmp_path / "found") == content(deploy(run).integers, tmp_path / "expected")
    assert network.provenance["val_accuracy"] == run.best["val_accuracy"]
    assert network.provenance["trained_in"] == "integers"
    assert network.readout == ("count" if kind == "counts" else "membrane")


def test_a_float_run_is_quantized_and_says_what_that_costs(runs, capsys, tmp_path, digits):
    assert not (runs["float"] / "network.safetensors").exists()
    result, lines = call(capsys, "export", runs["float"], "--out", tmp_path / "n")
    run, network = open_run(runs["float"]), network_file.load(tmp_path / "n")
    assert [layer["scale"] for layer in result["layers"]] == pytest.approx([layer.scale for layer in network.layers])
    assert all(0 <= layer["clipped"] < 0.2 and 0 < layer["error"] < 0.05 for layer in result["layers"])
    cost = result["quantization"]
    assert cost["accuracy_before"] == run.best["val_accuracy"]
    # What it costs, measured again without torch.
    images = digits.validation.images.reshape(len(digits.validation), -1).astype(np.float32) / digits.validation.full_scale
    recording = Simulator(network).record(encode("rate", 15, images))
    assert cost["accuracy_after"] == np.mean(recording.values.argmax(1) == digits.validation.labels)
    assert cost["rates_after"] == pytest.approx([recording.layers[0].z.mean()])
    assert cost["rates_before"] == pytest.approx(cost["rates_after"], rel=0.1)
    assert cost["rates_before"] != cost["rates_after"]
    assert cost["accuracy_after"] > cost["accuracy_before"] - 0.02
    assert network.provenance["trained_in"] == "floating point"
    percent = f"{cost['accuracy_before']:.2%} to {cost['accuracy_after']:.2%}"
    assert f"quantized, validation accuracy goes from {percent}" in lines
    assert "quantized afterwards" in call(capsys, "eval", runs["float"], "--backend", "simulator")[1][0]


def test_a_network_trained_in_integers_is_not_quantized(runs, capsys, tmp_path):
    result, lines = call(capsys, "export", runs["chip"], "--out", tmp_path / "n")
    assert result["layers"] == []
    assert result["quantization"] is None
    assert not any("quantized" in line for line in lines)


# One line for every mistake


@pytest.mark.parametrize("command", ["export {run} --out {tmp}/n", "verify {run}", "eval {run} --backend simulator"])
def test_currents_are_not_spikes(runs, capsys, tmp_path, command):
    line = one_line(capsys, *command.format(run=runs["direct"], tmp=tmp_path).split())
    assert line == "the run's encoder is 'direct', but the chip takes spikes: train with --neuron loihi, or with another --encoder"
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("command", ["eval {run} --backend lava", "eval {run} --backend loihi2", "verify {run} --backend lava"])
def test_lava_that_is_not_there_is_not_replaced(runs, capsys, command, without_lava):
    line = one_line(capsys, *command.format(run=runs["chip"]).split())
    assert line.startswith(f"${PYTHON_VARIABLE} is /nowhere/python, which is no program: run `make lava-env`, or set ")


def test_auto_says_why_it_is_the_simulator(runs, capsys, without_lava):
    result, lines = call(capsys, "eval", runs["chip"], "--backend", "auto")
    assert result["backend"] == "simulator"
    assert lines[0].startswith(f"running on the simulator, since ${PYTHON_VARIABLE} is /nowhere/python")
    assert lines[-1].endswith("on simulator")


@pytest.mark.usefixtures("lava_python")
def test_a_chip_that_is_not_there(runs, capsys):
    assert "needs Intel's Lava extension" in one_line(capsys, "eval", runs["chip"], "--backend", "loihi2")


def test_a_backend_that_fails(runs, capsys, monkeypatch, tmp_path):
    """A Python that dies where Lava should start."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)
    monkeypatch.setenv(PYTHON_VARIABLE, str(program))
    for command in ("eval", "verify"):
        assert one_line(capsys, command, runs["chip"], "--backend", "lava", code=3) == "the Lava worker was killed by SIGKILL"
        # A Lava that is there and fails is not taken for one that is not.
        assert one_line(capsys, command, runs["chip"], "--backend", "auto", code=3) == "the Lava worker was killed by SIGKILL"


@pytest.mark.parametrize("command", ["eval", "verify"])
@pytest.mark.parametrize("limit", ["0", "-3"])
def test_wrong_limits(runs, capsys, command, limit):
    assert one_line(capsys, command, runs["chip"], "--backend", "simulator", "--limit", limit) == f"--limit is {limit}: choose at least 1"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("export {run} --out {tmp}", "{tmp} is a folder: name a file"),
        ("export {run} --out /proc/nothing/n", "cannot be created"),
        ("export {tmp}/none --out {tmp}/n", "holds no run"),
        ("verify {tmp}/none", "holds no run"),
    ],
)
def test_mistakes_take_one_line(runs, capsys, tmp_path, command, message):
    line = one_line(capsys, *command.format(run=runs["chip"], tmp=tmp_path).split())
    assert message.format(tmp=tmp_path) in line


@pytest.mark.parametrize(
    "command", ["export x", "export x --out y --format onnx", "verify x --backend torch", "eval x --backend gpu", "verify x --limit many"]
)
def test_wrong_arguments_take_one_line(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["export", "verify", "eval"])
def test_help_holds_examples(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"polystep-snn {command} " in capsys.readouterr().out.split("examples:")[1]


def test_what_does_not_fit_the_chip_is_not_written(runs, capsys, tmp_path, monkeypatch):
    """A chip whose cores take fewer inputs: the table is there, and the layer is named."""
    small = Chip(fan_in=Limit(63, "Davies"))
    monkeypatch.setattr("polystep_snn.hardware.chip.preflight", partial(preflight, chip=small))
    capsys.readouterr()
    assert main(["export", str(runs["chip"]), "--out", str(tmp_path / "n")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "polystep-snn: error: layer 0 has 64 inputs, a core takes 63: use fewer inputs"
    assert any(line.startswith("Does not fit: layer 0 has 64 inputs") for line in lines)
    assert not (tmp_path / "n").exists()
