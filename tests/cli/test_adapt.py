"""``polystep-snn adapt``: what it reports is what its network does, without judges too, and mistakes take one line."""

import json

import numpy as np
import pytest

from polystep_snn.cli.main import main
from polystep_snn.datasets.shifts import Shift
from polystep_snn.hardware import network_file
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
