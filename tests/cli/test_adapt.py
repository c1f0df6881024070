"""``polystep-snn adapt``: what it reports is what its network does, without judges too, and mistakes take one line."""

import json

import numpy as np
import pytest

from polystep_snn.cli.main import main
from polystep_snn.datasets.shifts import Shift
from polystep_snn.hardware import network_file
from polystep_snn.hardware.adaptation import Stream
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.simulator import Simulator


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A run on the digits, in the chip's integers."""
    folder = tmp_path_factory.mktemp("adapt") / "run"
    options = ["--neuron", "loihi", "--hidden", "20", "--epochs", "2", "--lr", "0.02", "--threads", "1", "--no-compile"]
    assert main(["train", "digits", "--out", str(folder), *options]) == 0
    return folder


@pytest.mark.parametrize("held_out", [0, 60])
def test_what_is_reported_is_what_the_network_does(deployed, digits, tmp_path, capsys, held_out):
    options = ["--shift", "inversion:0.3", "--samples", "200", "--held-out", str(held_out), "--round-size", "100"]
    assert main(["adapt", str(deployed), "--out", str(tmp_path / "new"), *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    images = digits.test.images.astype(np.float32) / digits.test.full_scale
    for when, folder in (("before", deployed), ("after", tmp_path / "new")):
        network = network_file.load(folder / "network.safetensors")
        for name, seen in (("clean", images), ("shifted", Shift("inversion", 0.3)(images, 3))):
            spikes = encode(network.encoder, network.num_steps, seen.reshape(len(seen), -1))
            right = Simulator(network).run(spikes).argmax(1) == digits.test.labels
            assert result[f"{name}_accuracy_{when}"] == right.mean()
    assert result["writes"] == 200 // 16
    assert result["forward_passes"] == 200 + 3 * held_out
    assert result["offchip_readout_accuracy"] > 0.3, "three times chance"


def test_all_that_is_seen_comes_from_one_sensor(deployed, digits, tmp_path, capsys):
    assert main(["adapt", str(deployed), "--out", str(tmp_path / "new"), "--shift", "dead:0.4", "--replay", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    network = network_file.load(deployed / "network.safetensors")
    images = digits.test.images.astype(np.float32) / digits.test.full_scale
    accuracies = {}
    for sensor in range(4):
        seen = Shift("dead", 0.4)(images, 3, sensor=sensor)
        spikes = encode(network.encoder, network.num_steps, seen.reshape(len(seen), -1))
        accuracies[sensor] = (Simulator(network).run(spikes).argmax(1) == digits.test.labels).mean()
    assert result["shifted_accuracy_before"] == accuracies[1], "the test samples are seen by the stream's sensor"
    assert len(set(accuracies.values())) > 1, "sensors differ here"
    assert result["shifted_accuracy_after"] > result["shifted_accuracy_before"]


def test_the_defaults_take_what_there_is(deployed, digits, tmp_path, capsys):
    assert main(["adapt", str(deployed), "--out", str(tmp_path / "new"), "--shift", "rotation:30", "--json"]) == 0
    out, err = capsys.readouterr()
    stream = json.loads(out)["stream"]
    train, validation = len(digits.train), len(digits.validation)
    assert (stream["samples"], stream["held_out"], stream["round_size"]) == (train, validation, train // 5)
    assert f"{train} new samples in rounds of {train // 5}, {validation} judge" in err


@pytest.mark.parametrize(
    ("num_train", "num_judges", "replay"), [(60_000, 5000, 0.0), (100, 7, 1.0), (100, 90, 0.5), (1, 1, 10.0), (3, 0, 1.0)]
)
def test_a_fitting_stream_needs_no_more_than_there_is(num_train, num_judges, replay):
    stream = Stream.fitting(num_train, num_judges, replay)
    assert stream.samples == min(5000, num_train)
    clean = round(stream.held_out * replay / (1 + replay))
    assert stream.held_out + clean <= num_judges
    assert stream.held_out == 500 or stream.held_out + 1 + round((stream.held_out + 1) * replay / (1 + replay)) > num_judges - 1
    assert Stream.fitting(num_train, num_judges, replay, samples=2, held_out=0).held_out == 0


def test_a_stream_of_one_class_teaches_a_readout_that_class(deployed, digits, tmp_path, capsys):
    options = ["--shift", "noise:0.1", "--samples", "1", "--batch-size", "1", "--held-out", "0", "--json"]
    assert main(["adapt", str(deployed), "--out", str(tmp_path / "new"), *options]) == 0
    seen = digits.train.labels[np.random.default_rng(0).permutation(len(digits.train))[0]]
    assert json.loads(capsys.readouterr().out)["offchip_readout_accuracy"] == (digits.test.labels == seen).mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "0"], "--limit is 0: choose at least 1"),
        (["--limit", "-5"], "--limit is -5: choose at least 1"),
        (["--held-out", "150", "--replay", "10", "--samples", "200"], "of which a replay of 10 makes 136 clean ones, but only"),
        (["--held-out", "100000"], "held_out is 100000, but only"),
    ],
)
def test_mistakes_take_one_line(deployed, tmp_path, capsys, options, message):
    capsys.readouterr()
    assert main(["adapt", str(deployed), "--shift", "noise:0.3", "--out", str(tmp_path / "new"), "--samples", "100", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert message in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("hidden", "message"), [("8r", "layer 0 is recurrent, but"), ("8d3", "layer 1 has delays, but")])
def test_networks_with_memory_do_not_learn_here(tmp_path, capsys, monkeypatch, hidden, message):
    options = ["--neuron", "loihi", "--hidden", hidden, "--epochs", "1", "--threads", "1", "--no-compile"]
    assert main(["train", "digits", "--out", str(tmp_path / "run"), *options]) == 0
    capsys.readouterr()
    monkeypatch.setattr(Shift, "__call__", lambda *_, **__: pytest.fail("a stream was made"))
    assert main(["adapt", str(tmp_path / "run"), "--shift", "noise:0.3", "--out", str(tmp_path / "new")]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert message in line
    assert out == ""
    assert not (tmp_path / "new").exists()
