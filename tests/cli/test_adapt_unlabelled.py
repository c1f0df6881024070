"""``polystep-snn adapt --labels``: what it reports is what its network does, and mistakes take one line."""

import json
from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.cli.main import main
from polystep_snn.datasets.shifts import Shift
from polystep_snn.hardware import network_file
from polystep_snn.hardware.adaptation import Images, Pool
from polystep_snn.hardware.simulator import Simulator


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A run on the digits, in the chip's integers."""
    folder = tmp_path_factory.mktemp("unlabelled") / "run"
    options = ["--neuron", "loihi", "--hidden", "40", "--epochs", "6", "--lr", "0.02", "--threads", "1", "--no-compile"]
    assert main(["train", "digits", "--out", str(folder), *options]) == 0
    return folder


def adapt(deployed, out, capsys, *options):
    assert main(["adapt", str(deployed), "--out", str(out), "--every", "80", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def accuracy(folder, images, labels):
    network = network_file.load(folder / "network.safetensors")
    pool = Pool(network, Images(images, labels))
    return (Simulator(network).run(pool.spikes(np.arange(len(labels)))).argmax(1) == labels).mean()


def test_it_acts_and_says_why(deployed, digits, tmp_path, capsys):
    result = adapt(deployed, tmp_path / "new", capsys, "--shift", "inversion:0.4", "--labels", "none")
    images = digits.test.images.astype(np.float32) / digits.test.full_scale
    grey = Shift("inversion", 0.4)(images, 3)
    for when, folder in (("before", deployed), ("after", tmp_path / "new")):
        assert result[f"clean_accuracy_{when}"] == accuracy(folder, images, digits.test.labels)
        assert result[f"shifted_accuracy_{when}"] == accuracy(folder, grey, digits.test.labels)
    assert result["acted"] is True
    assert result["labels"] == 0
    assert result["writes"] >= 1
    assert result["reason"].startswith("the maps bring back")
    assert result["shifted_accuracy_after"] > result["shifted_accuracy_before"] + 0.2
    assert (tmp_path / "new" / "figures" / "adaptation.png").stat().st_size > 1000
    assert json.loads((tmp_path / "new" / "summary.json").read_text()) == result


def test_it_does_not_act_where_nothing_would_come_of_it(deployed, tmp_path, capsys):
    result = adapt(deployed, tmp_path / "new", capsys, "--shift", "rotation:40", "--labels", "none")
    assert result["acted"] is False
    assert result["reason"].endswith("of the margin that was lost, less than 40%")
    for name in ("clean", "shifted"):
        assert result[f"{name}_accuracy_after"] == result[f"{name}_accuracy_before"]


def test_a_few_labels_come_after_it(deployed, tmp_path, capsys):
    options = ("--labels", "0.1", "--writable", "readout", "hidden")
    result = adapt(deployed, tmp_path / "new", capsys, "--shift", "rotation:40", *options)
    assert result["labels"] == round(0.1 * result["samples"])
    assert result["shifted_accuracy_without_labels"] == result["shifted_accuracy_before"]
    assert result["shifted_accuracy_after"] > result["shifted_accuracy_before"] + 0.1
    assert result["self_labels"].keys() == {"walked", "right", "right_walked", "accuracy"}
    assert result["self_labels"]["accuracy"] > result["shifted_accuracy_before"] + 0.1
    alone = adapt(deployed, tmp_path / "alone", capsys, "--shift", "rotation:40", *options, "--no-self-labels")
    assert alone["self_labels"] == {}
    assert alone["shifted_accuracy_after"] > alone["shifted_accuracy_before"] + 0.1
    weights = [network_file.load(tmp_path / name / "network.safetensors").layers[0].weight for name in ("new", "alone")]
    assert not np.array_equal(*weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "none", "--no-self-labels"], "--no-self-labels has no meaning without labels"),
        (["--labels", "0"], "--labels is '0': choose none, or a fraction above 0, 1 at most"),
        (["--labels", "1.5"], "--labels is '1.5'"),
        (["--labels", "nan"], "--labels is 'nan'"),
        (["--labels", "some"], "--labels is 'some'"),
        (["--labels", "none", "--every", "5"], "window is 5"),
        (["--labels", "none", "--replay", "1"], "--replay has no meaning with --labels"),
        (["--labels", "none", "--samples", "50"], "the stream has 50 samples, statistics need a window of 150"),
        (["--labels", "none", "--samples", "0"], "--samples is 0"),
        (["--labels", "0.001"], "less than a batch of 16"),
    ],
)
def test_mistakes_take_one_line(deployed, tmp_path, capsys, options, message):
    assert main(["adapt", str(deployed), "--shift", "noise:0.1", "--out", str(tmp_path / "new"), *options]) != 0
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_network_without_statistics_says_how_to_get_them(deployed, tmp_path, capsys):
    kept = (deployed / "network.safetensors").read_bytes()
    try:
        network = network_file.load(deployed / "network.safetensors")
        network_file.save(deployed / "network.safetensors", replace(network, statistics=None))
        assert main(["adapt", str(deployed), "--shift", "noise:0.1", "--out", str(tmp_path / "new"), "--labels", "none"]) != 0
        assert "polystep-snn export RUN --format network --out RUN/network.safetensors" in capsys.readouterr().err
        assert main(["export", str(deployed), "--out", str(deployed / "network.safetensors")]) == 0
        assert (deployed / "network.safetensors").read_bytes() == kept
    finally:
        (deployed / "network.safetensors").write_bytes(kept)
