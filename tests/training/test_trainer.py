"""Runs: repeated, stopped, killed, resumed; what is written and when the test set is looked at."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from polystep_snn.datasets import Dataset, Samples
from polystep_snn.datasets.own.record import DataRecord, record_of
from polystep_snn.errors import InputError
from polystep_snn.training import metrics, trainer
from polystep_snn.training.build import build_bptt, resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.observer import Observer
from polystep_snn.training.recipes import RECIPES
from polystep_snn.training.run_folder import open_run
from polystep_snn.training.trainer import Trainer
from tests.training.small_runs import WEIGHT_SPACE, StopAt, final, small_config

# A recurrent layer, and one whose spikes leave late.
MEMORY = {"hidden": ("12r", "10d3"), "blank_steps": 3, "windows": 3}

# Images that are moved and mirrored, and a first layer that learns as behind standardized ones.
CHANGED_IMAGES = {"shift": 1, "flip_lr": 0.5, "standardize": True, "label_smoothing": 0.1, "weight_bits": 8}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run from beginning to end."""
    from polystep_snn.datasets import load

    folder = tmp_path_factory.mktemp("straight")
    torch.set_num_threads(1)
    Trainer(small_config(), folder / "run", load("digits")).fit()
    return final(folder / "run")


def test_the_same_seed_gives_the_same_bytes(straight, digits, tmp_path):
    Trainer(small_config(), tmp_path / "run", digits).fit()
    assert final(tmp_path / "run") == straight


def test_another_seed_does_not(straight, digits, tmp_path):
    Trainer(small_config(seed=1), tmp_path / "run", digits).fit()
    tensors, _ = final(tmp_path / "run")
    assert tensors["model.linears.0.weight"] != straight[0]["model.linears.0.weight"]


@pytest.mark.parametrize(
    "changes", [{}, {"readout": "count"}, CHANGED_IMAGES, MEMORY, WEIGHT_SPACE, {**WEIGHT_SPACE, "readout": "count"}], ids=str
)
@pytest.mark.parametrize("stops", [(1,), (5, 1, 9), (13,), (25,)], ids=str)
def test_a_run_stopped_at_any_step_ends_as_if_it_had_not(digits, tmp_path, stops, changes):
    config = small_config(**changes)
    Trainer(config, tmp_path / "whole", digits).fit()
    for k, stop in enumerate(stops):
        observer = StopAt(stop)
        run = observer.trainer = Trainer(config, tmp_path / "run", digits, resume=k > 0, observer=observer)
        assert run.fit() is None
        assert not (tmp_path / "run" / "summary.json").exists()
    summary = Trainer(config, tmp_path / "run", digits, resume=True).fit()
    assert final(tmp_path / "run") == final(tmp_path / "whole")
    for name in ("test_accuracy", "val_accuracy", "epoch"):
        assert summary[name] == json.loads((tmp_path / "whole" / "summary.json").read_text())[name]


def test_backpropagation_goes_on_too(digits, tmp_path):
    config = small_config(probed=0)
    Trainer(config, tmp_path / "whole", digits, make_method=build_bptt).fit()
    observer = StopAt(9)
    run = observer.trainer = Trainer(config, tmp_path / "run", digits, observer=observer, make_method=build_bptt)
    assert run.fit() is None
    Trainer(config, tmp_path / "run", digits, resume=True, make_method=build_bptt).fit()
    assert final(tmp_path / "run") == final(tmp_path / "whole")


COMMAND = "train digits --hidden 24 --num-steps 6 --epochs 2 --batch-size 96 --encoder poisson --threads 1 --no-compile"


# How each space is chosen on the command line, and what that means.
SPACES = {"node": ("--probed 10", {}), "weight": ("--space weight --rank 4", WEIGHT_SPACE)}


SAVING_EVERY_STEP = """
import sys
from polystep_snn.cli.main import main
from polystep_snn.training import trainer
trainer._CHECKPOINT_INTERVAL_S = 0.0
sys.exit(main())
"""


def start(folder, *options, space="node"):
    """The same run on the command line, saving after every step."""
    command = [sys.executable, "-c", SAVING_EVERY_STEP, *COMMAND.split(), *SPACES[space][0].split(), "--out", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_killed_again_and_again(digits, tmp_path, space):
    """SIGKILL at random moments, so also while a checkpoint is written."""
    Trainer(small_config(**SPACES[space][1]), tmp_path / "straight", digits).fit()
    generator = np.random.default_rng(0)
    folder = tmp_path / "run"
    kills = 0
    for _ in range(30):
        process = start(folder, *(["--resume"] if (folder / "checkpoint.safetensors").exists() else []), space=space)
        while process.poll() is None and not (folder / "checkpoint.safetensors").exists():
            time.sleep(0.002)
        stamp = (folder / "checkpoint.safetensors").stat().st_mtime_ns
        while process.poll() is None and (folder / "checkpoint.safetensors").stat().st_mtime_ns == stamp:
            time.sleep(0.0005)
        time.sleep(generator.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        process.communicate()
        kills += 1
        if kills == 4:
            _, err = start(folder, "--resume", space=space).communicate(timeout=120)
            assert "test accuracy" in err, err
            break
    assert kills >= 3
    assert final(folder) == final(tmp_path / "straight")


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(straight, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    while not (folder / "checkpoint.safetensors").exists():
        time.sleep(0.005)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"polystep-snn train digits --out {folder} --resume" in err
    assert "Traceback" not in err
    out, err = start(folder, "--resume", "--json").communicate(timeout=120)
    assert json.loads(out)["test_accuracy"] == json.loads((folder / "summary.json").read_text())["test_accuracy"]
    assert final(folder) == straight


def test_what_a_run_leaves(digits, tmp_path):
    config = small_config(epochs=3)
    summary = Trainer(config, tmp_path / "run", digits).fit()
    folder = tmp_path / "run"
    names = ["checkpoint.safetensors", "config.json", "data.json", "metrics.jsonl", "summary.json"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert DataRecord.from_json(json.loads((folder / "data.json").read_text())) == record_of(digits)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"seconds", "train_loss", "train_accuracy", "val_accuracy", "forward_passes", "peak_rss_mb"} <= set(lines[0])
    assert [line["forward_passes"] for line in lines] == [13, 26, 39]
    assert TrainConfig.from_json(json.loads((folder / "config.json").read_text())) == resolve(config)
    best = max(lines, key=lambda line: (line["val_accuracy"], -line["val_loss"]))
    assert (summary["epoch"], summary["val_accuracy"]) == (best["epoch"], best["val_accuracy"])
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["parameters"] == 64 * 24 + 24 + 24 * 10 + 10
    opened = open_run(folder)
    assert opened.evaluate().accuracy == summary["test_accuracy"]
    assert len(opened.evaluate(50).predictions) == 50


def test_the_test_set_is_looked_at_once_with_the_chosen_weights(digits, tmp_path, monkeypatch):
    looks = []
    evaluate = trainer.evaluate

    def watched(network, feed, cost):
        looks.append((len(feed), network.linears[0].weight.clone()))
        return evaluate(network, feed, cost)

    monkeypatch.setattr(trainer, "evaluate", watched)
    run = Trainer(small_config(epochs=3), tmp_path / "run", digits)
    run.fit()
    assert [n for n, _ in looks] == [180, 180, 180, 360]
    assert torch.equal(looks[-1][1], looks[run.position.best["epoch"] - 1][1])


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 3)])
def test_whose_weights_are_kept(digits, tmp_path, monkeypatch, keep, epoch):
    weights = []
    evaluate = trainer.evaluate

    def worse_and_worse(network, feed, cost):
        weights.append(network.linears[0].weight.clone())
        return evaluate(network, feed, cost)._replace(accuracy=1 / len(weights))

    monkeypatch.setattr(trainer, "evaluate", worse_and_worse)
    summary = Trainer(small_config(epochs=3, keep=keep), tmp_path / "run", digits).fit()
    assert (summary["epoch"], summary["val_accuracy"]) == (epoch, 1 / epoch)
    assert torch.equal(weights[-1], weights[epoch - 1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(open_run(tmp_path / "run").network.linears[0].weight, weights[epoch - 1])


def test_labels_that_say_nothing_teach_nothing(digits, tmp_path):
    order = np.random.default_rng(0).permutation(len(digits.train))
    permuted = replace(digits, train=replace(digits.train, labels=digits.train.labels[order]))
    summary = Trainer(small_config(encoder="direct", epochs=5, batch_size=32), tmp_path / "run", permuted).fit()
    assert summary["test_accuracy"] < 0.2  # 360 samples: 0.1 plus six standard errors


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["membrane", "count"])
def test_digits_are_learned(digits, tmp_path, readout):
    config = TrainConfig(dataset="digits", readout=readout, compile=False, threads=1, **{**RECIPES["digits"], "epochs": 10})
    assert Trainer(config, tmp_path / "run", digits).fit()["test_accuracy"] > 0.93


def test_a_dead_layer_is_named(digits, tmp_path):
    class Listening(Observer):
        def __init__(self):
            self.said = []

        def warn(self, message):
            self.said.append(message)

    observer = Listening()
    Trainer(small_config(v_th=1e6, epochs=1), tmp_path / "run", digits, observer=observer).fit()
    assert observer.said == ["24 of 24 neurons of hidden layer 1 never fired in this epoch: raise its input, or lower the learning rate"]
    health = [metrics.LayerHealth(0.1, 0, 0, 8), metrics.LayerHealth(0.99, 0, 9, 10)]
    assert metrics.health_warnings(health, 1) == [
        "9 of 10 neurons of the readout fired in nearly every step: lower its input, or the learning rate"
    ]


def test_a_run_that_becomes_nan_stops_with_its_last_checkpoint(digits, tmp_path):
    run = Trainer(small_config(), tmp_path / "run", digits)
    with torch.no_grad():
        run.network.linears[1].weight[0, 0] = float("nan")
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"linears\.1\.weight contains NaN"):
        run.fit()
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


def test_a_data_set_of_ones_own(tmp_path):
    """Any ``Dataset`` trains: here 3 classes of 4 x 5 images."""
    generator = np.random.default_rng(0)

    def part(n):
        labels = generator.integers(0, 3, n, dtype=np.uint8)
        images = generator.integers(0, 60, (n, 4, 5), dtype=np.uint8)
        images[np.arange(n), labels] = 255
        return Samples(images, labels)

    dataset = Dataset("stripes", part(300), part(60), part(60), 3, ("top", "middle", "bottom"))
    config = small_config(dataset="stripes", encoder="rate", epochs=10, batch_size=20)
    assert Trainer(config, tmp_path / "run", dataset).fit()["test_accuracy"] > 0.95
    assert os.listdir(tmp_path / "run")


def test_the_same_trainer_goes_on_where_it_stopped(straight, digits, tmp_path):
    observer = StopAt(5)
    run = observer.trainer = Trainer(small_config(), tmp_path / "run", digits, observer=observer)
    assert run.fit() is None
    run.stop_requested = False
    run.fit()
    assert final(tmp_path / "run") == straight


def test_metrics_survive_a_kill_after_the_last_checkpoint(digits, tmp_path):
    Trainer(small_config(), tmp_path / "run", digits).fit()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    (tmp_path / "run" / "metrics.jsonl").write_text(lines.splitlines(keepends=True)[0])
    (tmp_path / "run" / ".checkpoint.safetensors.abc").write_text("left by a process that was killed while writing")
    Trainer(small_config(), tmp_path / "run", digits, resume=True).fit()
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == lines
    assert not list((tmp_path / "run").glob(".*"))
