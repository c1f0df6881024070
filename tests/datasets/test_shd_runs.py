"""Spiking Heidelberg Digits: found, cached, downloaded, trained on."""

import hashlib
import io
import json
import os
import re
import zipfile

import numpy as np
import pytest
import tonic.datasets

from polystep_snn.cli.main import main
from polystep_snn.datasets import Framing, event_set, load
from polystep_snn.datasets.shd import SOURCE, download_shd, load_shd
from polystep_snn.errors import InputError
from polystep_snn.profiling import _random_samples, num_classes, sample_shape
from polystep_snn.training.build import build_framing
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import recipe
from tests.commands import answers, assert_drawn, trained
from tests.datasets.shd_files import (
    base,  # noqa: F401 (fixtures)
    write_folder,
)
from tests.publisher import serving


def test_where_it_is_looked_for(base, tmp_path, monkeypatch, cache):
    for folder in (base, base / "SHD"):
        assert len(load_shd(folder).samples) == 80
    (base / "SHD").rename(base / "shd")
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(base))
    assert len(load_shd().samples) == 80
    monkeypatch.delenv("POLYSTEP_SNN_DATA")
    write_folder(cache / "SHD", train=2)
    assert len(load_shd().samples) == 60
    with pytest.raises(InputError, match="does not exist"):
        load_shd(tmp_path / "nowhere")


def test_frames_are_made_once_until_a_file_changes(base, monkeypatch):
    first = load_shd(base)

    def refuse(path):
        raise AssertionError(f"{path} is read again")

    with monkeypatch.context() as patch:
        patch.setattr("polystep_snn.datasets.shd.read_spikes", refuse)
        again = load_shd(base)
        for name in ("labels", "steps", "channels", "starts", "ends"):
            np.testing.assert_array_equal(getattr(first.samples, name), getattr(again.samples, name))
        assert (again.num_train, again.subset) == (60, True)
        with pytest.raises(AssertionError, match="is read again"):
            load_shd(base, Framing(num_steps=99, window_us=10**6))
        os.utime(base / "SHD" / "shd_test.h5", ns=(0, 12345))
        with pytest.raises(AssertionError, match="is read again"):
            load_shd(base)


@pytest.fixture
def publisher(monkeypatch, tmp_path):
    """A server in the publishers' place, with archives of a small full set; returns what it serves, changeable."""
    source = write_folder(tmp_path / "source")
    contents: dict[str, bytes] = {}
    for part, name in zip(SOURCE.parts, ("train", "test"), strict=True):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(source / part, part)
        contents[f"/{part}.zip"] = packed.getvalue()
        monkeypatch.setattr(tonic.datasets.SHD, f"{name}_md5", hashlib.md5(packed.getvalue()).hexdigest())
    monkeypatch.setattr("polystep_snn.datasets.shd.FULL", (60, 20))
    with serving(contents) as address:
        monkeypatch.setattr(tonic.datasets.SHD, "base_url", f"{address}/")
        yield contents


def test_the_full_set_is_downloaded_once(publisher, cache, capsys):
    assert load("shd").title == "shd"
    assert sorted(path.name for path in (cache / "SHD").iterdir()) == ["shd_test.h5", "shd_train.h5"]
    assert capsys.readouterr().out == ""
    contents = dict(publisher)
    publisher.clear()
    assert len(load_shd().samples) == 80
    # A process that comes second keeps what is there.
    publisher.update(contents)
    download_shd(cache / "SHD")
    assert [path.name for path in cache.iterdir() if path.name != "frames"] == ["SHD"]


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_a_download_that_fails_leaves_nothing(publisher, cache, harm):
    name = "/shd_test.h5.zip"
    publisher[name] = publisher[name][:-1]
    if harm == "missing":
        del publisher[name]
    with pytest.raises(
        InputError, match=r"^SHD was not found and could not be downloaded \(.+\): fetch .*zenkelab.*shd_train.h5"
    ) as caught:
        load_shd()
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of the chip's neuron through the command line."""
    folder = tmp_path_factory.mktemp("shd")
    write_folder(folder / "data" / "SHD", train=12, test=3)
    options = "--neuron loihi --epochs 6 --hidden 32 --num-steps 20 --windows 2 --shift 2 --averaging 0.9 --threads 1 --no-compile"
    with trained("shd", folder, options) as run:
        yield run


def test_train_eval_verify_plot_export(run, tmp_path, capsys):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["dataset"] == "shd (subset: 240 + 60 recordings)"
    assert summary["test_accuracy"] > 0.25  # 60 recordings: a twentieth by chance, plus seven standard errors
    assert json.loads((run / "config.json").read_text())["window_us"] == 1_000_000
    answer = answers(capsys)
    for backend in ("torch", "simulator"):
        assert answer("eval", run, "--backend", backend)["test_accuracy"] == summary["test_accuracy"]
    found = answer("verify", run, "--limit", 20)
    assert (found["spikes_compared"], found["differences"]) == (20 * 20 * (32 + 20), 0)
    assert_drawn(answer, run)
    assert answer("export", run, "--format", "nir", "--out", tmp_path / "spoken.nir")["sizes"] == [700, 32, 20]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--stabilize", "stabilize is True, but shd has no saccades of N-MNIST's camera to undo: leave it out"),
        ("--crop 0 0 34 34", r"crop is \(0, 0, 34, 34\), but the sensor has 700 x 1 pixels"),
        ("--encoder rate", "but the encoder 'rate' is for images"),
        ("--hidden 8c5", "."),
    ],
)
def test_mistakes_take_one_line(base, tmp_path, capsys, arguments, message):
    assert main(["train", "shd", "--data-dir", str(base), "--out", str(tmp_path / "run"), "--no-compile", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)


def test_the_recipe_and_what_is_profiled():
    config = TrainConfig("shd", **recipe("shd"))
    assert (config.data.num_steps, config.data.window_us, config.data.encoder) == (100, 1_000_000, "events")
    assert build_framing(config) == event_set("shd").default
    assert sample_shape(config) == (1, 1, 700)
    assert num_classes(config) == len(event_set("shd").classes) == 20
    assert num_classes(TrainConfig("mnist")) == 10
    with pytest.raises(InputError, match="there is no set of recordings 'mnist': choose one of nmnist, shd, dvsgesture"):
        event_set("mnist")


def test_random_recordings_are_profiled():
    config = TrainConfig("shd", **{**recipe("shd"), "batch_size": 4})
    samples = _random_samples(config, num_classes(config))
    assert samples.frames(np.arange(4)).shape == (100, 4, 700)
    assert (samples.ends - samples.starts).tolist() == [8000] * 4
