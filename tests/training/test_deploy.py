"""From a run to the chip, through the command line: one accuracy everywhere, every membrane compared, files that hold the network."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.formats import netx, nir
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.training import checkpoint
from polystep_snn.training.deploy import deploy
from polystep_snn.training.run_folder import open_run
from tests.training.deployed_runs import ON_CHIP, SIZES, call, runs, without_lava  # noqa: F401 (fixtures)


def content(network, path):
    """A network's bytes: equal where every number and name is."""
    network_file.save(path, network)
    return path.read_bytes()


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
@pytest.mark.parametrize("kind", ["chip", "counts", "recurrent"])
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
        fan_in = 64 + 20 * (kind == "recurrent")
        assert any(line.startswith("layer 0 ") and f" {fan_in} " in line for line in lines), "the table of the chip's limits"
        # What adapting without labels starts from is kept in our own format alone.
        found = replace(read(tmp_path / "deep" / form), statistics=None)
        assert content(found, tmp_path / "found") == expected


@pytest.mark.parametrize("kind", ON_CHIP)
def test_the_runs_own_file(runs, tmp_path, kind):
    run = open_run(runs[kind])
    network = network_file.load(runs[kind] / "network.safetensors")
    assert network.statistics is not None
    without = replace(network, statistics=None)
    assert content(without, tmp_path / "found") == content(deploy(run).integers, tmp_path / "expected")
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


def test_delays_of_a_run_are_its_checkpoints(runs, tmp_path):
    """Not those that a newly made network happens to draw: they are kept, and must be possible."""
    run, copy = open_run(runs["delayed"]), tmp_path / "run"
    copy.mkdir()
    for name in ("config.json", "checkpoint.safetensors"):
        (copy / name).write_bytes((runs["delayed"] / name).read_bytes())
    tensors, meta = checkpoint.load(copy / "checkpoint.safetensors")
    assert torch.equal(tensors["best.delays_1"], run.network.delays[1])
    other = tensors | {"best.delays_1": (tensors["best.delays_1"] + 1) % 5}
    checkpoint.save(copy / "checkpoint.safetensors", other, meta)
    opened = open_run(copy)
    assert torch.equal(opened.network.delays[1], other["best.delays_1"])
    assert np.array_equal(deploy(opened).integers.layers[1].delays, other["best.delays_1"].numpy())
    for wrong in (5, -1, 300):
        changed = tensors["best.delays_1"].clone()
        changed[3] = wrong
        checkpoint.save(copy / "checkpoint.safetensors", tensors | {"best.delays_1": changed}, meta)
        with pytest.raises(InputError, match=r"best.delays_1 holds others than 0 to 4"):
            open_run(copy)
