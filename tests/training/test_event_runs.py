"""Runs on events: learned, stopped, on the command line."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from polystep_snn.cli.main import main
from polystep_snn.datasets.nmnist import load_nmnist
from polystep_snn.errors import InputError
from polystep_snn.hardware.backend import open_backend
from polystep_snn.profiling import measure
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training.build import build_bptt, build_framing
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.deploy import deploy, verify
from polystep_snn.training.recipes import recipe
from polystep_snn.training.run_folder import open_run
from polystep_snn.training.trainer import Trainer
from tests.training.blinks import (
    blinks,  # noqa: F401 (fixtures)
    event_config,
)
from tests.training.small_runs import StopAt, final


def test_recordings_are_learned(blinks, tmp_path):
    summary = Trainer(event_config(epochs=12, lr=0.02, averaging=0.9, shift=0), tmp_path / "run", blinks).fit()
    assert summary["test_accuracy"] > 0.8  # 15 recordings: a third by chance, plus four standard errors
    assert summary["dataset"] == "blinks (generated)"


@pytest.mark.parametrize("neuron", ["lif", "loihi"])
@pytest.mark.parametrize("stops", [(1,), (3, 6), (20,)], ids=str)
def test_a_run_on_events_goes_on_bit_for_bit(blinks, tmp_path, stops, neuron):
    config = event_config(neuron=neuron, weight_bits=8 if neuron == "loihi" else 32)
    Trainer(config, tmp_path / "whole", blinks).fit()
    for k, stop in enumerate(stops):
        observer = StopAt(stop)
        run = observer.trainer = Trainer(config, tmp_path / "run", blinks, resume=k > 0, observer=observer)
        assert run.fit() is None
    Trainer(config, tmp_path / "run", blinks, resume=True).fit()
    assert final(tmp_path / "run") == final(tmp_path / "whole")


def test_epochs_differ_and_seeds_too(blinks, tmp_path):
    """What is augmented is seen anew in each epoch: without learning, the loss on the training batches moves."""
    still = event_config(lr=1e-12, weight_decay=0.0, batch_size=60, windows=1)
    losses = {}
    for name, config in (("plain", still.replace(shift=0, jitter=0.0, time_jitter=0.0, drop=0.0)), ("changed", still)):
        run = Trainer(config, tmp_path / name, blinks)
        run.fit()
        losses[name] = [round(m["train_loss"], 5) for m in run.position.history]
    assert len(set(losses["plain"])) == 1
    assert len(set(losses["changed"])) == 3


def test_backpropagation_takes_the_same_feed(blinks, tmp_path):
    summary = Trainer(event_config(epochs=8, lr=0.02, averaging=0.9, shift=0), tmp_path / "run", blinks, make_method=build_bptt).fit()
    assert summary["test_accuracy"] > 0.8


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of memory can be reset on Linux only")
def test_memory_of_a_step_on_events_is_flat_in_time():
    config = TrainConfig("nmnist", threads=1, compile=False, **recipe("nmnist")).to_json()
    short, long = (measure("polystep", num_steps, config, 10)["peak_mb"] for num_steps in (30, 300))
    assert long < 1.05 * short


@pytest.fixture(scope="module")
def real_run(tmp_path_factory):
    """A short run of the chip's neuron on the real subset."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "NMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder NMNIST: no recordings here")
    out = tmp_path_factory.mktemp("nmnist") / "run"
    options = "--neuron loihi --epochs 2 --hidden 24 --num-steps 12 --windows 3 --threads 1 --no-compile"
    assert main(["train", "nmnist", "--out", str(out), *options.split()]) == 0
    return out


def last_json(capsys):
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err


def test_train_eval_plot_export_verify(real_run, tmp_path, capsys):
    title = "nmnist (subset: 1000 + 100 recordings)"
    summary = json.loads((real_run / "summary.json").read_text())
    assert summary["dataset"] == title
    assert summary["test_accuracy"] > 0.3  # 100 recordings: a tenth by chance, plus six standard errors
    capsys.readouterr()
    for backend in ("torch", "simulator"):
        assert main(["eval", str(real_run), "--backend", backend, "--json"]) == 0
        result, err = last_json(capsys)
        assert result["test_accuracy"] == summary["test_accuracy"]
        assert result["dataset"] == title
        assert title in err
    assert main(["verify", str(real_run), "--limit", "20", "--json"]) == 0
    result, _ = last_json(capsys)
    assert (result["samples"], result["differences"]) == (20, 0)
    assert result["spikes_compared"] == result["membranes_compared"] == 20 * 12 * (24 + 10)
    assert main(["plot", str(real_run), "--sample", "3", "--json"]) == 0
    figures = last_json(capsys)[0]["figures"]
    assert [os.path.basename(f) for f in figures] == ["curves.png", "activity.png", "rates.png", "confusion.png"]
    assert all(np.std(imread(figure)) > 0.02 for figure in figures)
    assert main(["export", str(real_run), "--format", "nir", "--out", str(tmp_path / "events.nir"), "--json"]) == 0
    assert last_json(capsys)[0]["sizes"] == [2312, 24, 10]


def test_the_deployed_networks_input_is_a_frame(real_run):
    integers = deploy(open_run(real_run)).integers
    assert (integers.encoder, integers.input_shape, integers.num_steps) == ("events", (2, 34, 34), 12)
    assert integers.provenance["dataset"] == "nmnist (subset: 1000 + 100 recordings)"


def test_numbers_of_events_are_no_spikes(real_run, blinks):
    opened = open_run(real_run)
    counted = replace(opened, config=opened.config.replace(neuron="lif", counts=True), latent=SpikingNetwork([2312, 24, 10]))
    with pytest.raises(InputError, match="numbers of events, but the chip takes spikes: train without --counts"):
        deploy(counted)


@pytest.mark.slow
def test_no_spike_differs_on_lava(real_run, lava_python):
    opened = open_run(real_run)
    deployed = deploy(opened)
    with open_backend("lava", deployed.integers) as backend:
        found = verify(opened, deployed.network, backend, 50)
    assert (found.samples, found.differences) == (50, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train nmnist --encoder rate", "encoder is 'rate', but nmnist holds event recordings: choose 'events'"),
        ("train nmnist --counts --neuron loihi", "counts is True, but the neuron 'loihi' takes spikes"),
        ("train nmnist --window-us 10", "num_steps is 30 in a window of 10 µs"),
        ("train nmnist --crop 10 10 30 30", r"crop is \(10, 10, 30, 30\), but the sensor has 34 x 34 pixels"),
        ("train nmnist --crop 10 10", r"crop is \(10, 10\): give left, top, width and height"),
        ("train nmnist --shift 100", "shift is 100: give 0 to 64 pixels"),
        ("train mnist --stabilize", "stabilize is True, but the encoder 'direct' is for images"),
        ("train mnist --encoder events", "encoder is 'events', but mnist holds images: choose another"),
    ],
)
def test_mistakes_take_one_line(tmp_path, capsys, arguments, message):
    assert main([*arguments.split(), "--out", str(tmp_path / "run"), "--no-compile"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert not (tmp_path / "run").exists()


def test_folds_train_like_any_data_set(tmp_path):
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "NMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder NMNIST: no recordings here")
    config = TrainConfig("nmnist", **{**recipe("nmnist"), "epochs": 1, "hidden": (8,), "threads": 1, "compile": False})
    dataset = next(load_nmnist(framing=build_framing(config)).folds(5, 0))
    summary = Trainer(config, tmp_path / "run", dataset).fit()
    assert summary["dataset"] == "nmnist (subset: 1000 + 100 recordings; fold 1 of 5)"
