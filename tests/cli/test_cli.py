"""The command line as a user meets it: results, figures, and one line for every mistake."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from polystep_snn.cli.main import main
from polystep_snn.hardware import network_file

QUICK = ["--hidden", "24", "--num-steps", "6", "--epochs", "2", "--batch-size", "96", "--threads", "1", "--no-compile"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run on the digits."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "digits", "--out", str(folder), *QUICK]) == 0
    return folder


def last_json(capsys):
    """Standard output, which must be one line of JSON and nothing else."""
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


@pytest.mark.parametrize("options", [[], ["--space", "weight", "--rank", "4", "--encoder", "rate"]], ids=["node", "weight"])
def test_train_eval_plot_export(tmp_path, capsys, options):
    folder = tmp_path / "run"
    assert main(["train", "digits", "--out", str(folder), *QUICK, *options, "--json"]) == 0
    summary = last_json(capsys)
    assert summary == json.loads((folder / "summary.json").read_text())
    assert main(["eval", str(folder), "--json"]) == 0
    assert last_json(capsys)["test_accuracy"] == summary["test_accuracy"]
    assert main(["eval", str(folder), "--limit", "7", "--json"]) == 0
    assert last_json(capsys)["samples"] == 7
    assert main(["plot", str(folder), "--json"]) == 0
    figures = last_json(capsys)["figures"]
    assert [os.path.basename(f) for f in figures] == ["curves.png", "activity.png", "rates.png", "confusion.png"]
    for figure in figures:
        assert np.std(imread(figure)) > 0.02, "an empty picture"
    if options:
        assert main(["export", str(folder), "--format", "network", "--out", str(tmp_path / "chip.safetensors")]) == 0
        assert network_file.load(tmp_path / "chip.safetensors").sizes == [64, 24, 10]


def test_resuming_a_finished_run_gives_its_summary(run_folder, capsys):
    before = (run_folder / "checkpoint.safetensors").read_bytes()
    assert main(["train", "digits", "--out", str(run_folder), "--resume", "--json"]) == 0
    assert last_json(capsys) == json.loads((run_folder / "summary.json").read_text())
    assert (run_folder / "checkpoint.safetensors").read_bytes() == before


def test_a_recipe_can_be_overridden(tmp_path):
    main(["train", "digits", "--out", str(tmp_path / "run"), *QUICK, "--encoder", "rate", "--seed", "7"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["batch_size"], config["encoder"], config["seed"], config["hidden"], config["compile"]) == (96, "rate", 7, [24], False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train digits --out {run} --hidden 24", "already holds a run: go on with --resume"),
        ("train digits --out {run} --resume --hidden 25", r"hidden is \(25,\), but the run in .* has \(24,\)"),
        ("train mnist --out {run} --resume", "the run in .* is on digits, not mnist"),
        ("train digits --out {tmp}/new --resume", "holds no run to resume"),
        ("train digits --out {tmp}/new --hidden 0", "hidden is .0."),
        ("train digits --out {tmp}/new --hidden 8c3x", "hidden layer '8c3x': give a width, 128r for recurrent neurons"),
        ("train digits --out {tmp}/new --hidden 8c9", "a kernel of 9 x 9 does not fit into 8 x 8"),
        ("train digits --out {tmp}/new --hidden 8c3 p4", "squares of 4 do not tile 6 x 6"),
        ("train digits --out {tmp}/new --hidden 20 8c3", "follows a flat layer"),
        ("train digits --out {tmp}/new --hidden 8c3 --encoder population", "choose another one for convolutions"),
        ("train digits --out {tmp}/new --hidden 8c3 p2 8 --probed 4 4 4", "one number for all 2 hidden layers"),
        ("train digits --out {tmp}/new --rate-weight 1 --readout-decay 0.9", "choose a readout without a leak"),
        ("train digits --out {tmp}/new --beta 2", "beta is 2"),
        ("train digits --out {tmp}/new --batch-size 5000", "choose a smaller batch"),
        ("train digits --out {tmp}/new --device cuda:7 --no-compile", "finds no CUDA device"),
        ("train digits --out /proc/nothing/here", "cannot be created"),
        ("train digits --out {file}/run", "cannot be created"),
        ("train mnist --out {tmp}/new --data-dir {tmp}/nowhere", "does not exist"),
        ("train digits --out {tmp}/new --space weight --windows 3", "windows is 3, but the space 'weight' has no such option"),
        ("train cifar --out {tmp}/new", "there is no data set 'cifar', and no file or folder of this name"),
        ("train digits --out {tmp}/new --on-chip --credit chained", "credit has no meaning with --on-chip: leave it out"),
        ("train digits --out {tmp}/new --on-chip --keep last", "keep has no meaning with --on-chip: leave it out"),
        ("train digits --out {tmp}/new --on-chip --hidden 32r", "networks of one dense hidden layer without recurrent weights or delays"),
        ("train digits --out {tmp}/new --on-chip --hidden 32d4", "networks of one dense hidden layer without recurrent weights or delays"),
        ("train digits --out {tmp}/new --on-chip --space weight", "the neuron 'loihi' is probed in the space 'node' only"),
        ("eval {tmp}/new", "holds no run"),
        ("eval {run} --limit 0", "--limit is 0"),
        ("plot {run} --sample 360", "test samples 0..359"),
        ("plot {tmp}/new", "holds no run"),
    ],
)
def test_mistakes_take_one_line(run_folder, tmp_path, capsys, arguments, message):
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert main(arguments.format(run=run_folder, tmp=tmp_path, file=file).split()) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 1
    assert lines[-1].startswith("polystep-snn: error: ")
    assert "Traceback" not in err
    assert re.search(message, lines[-1])
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    "arguments",
    ["", "fly", "train", "train digits", "train digits --out x --speed 9", "train digits --out x --epochs many"],
)
def test_wrong_arguments_take_one_line(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--help)" in err


@pytest.mark.parametrize("command", ["train", "eval", "plot", "report"])
def test_help_holds_examples(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"polystep-snn {command} " in capsys.readouterr().out.split("examples:")[1]


def test_the_installed_command():
    done = subprocess.run([sys.executable, "-m", "polystep_snn.cli.main", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("polystep-snn 0.")
