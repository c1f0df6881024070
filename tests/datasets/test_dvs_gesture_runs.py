"""DVS Gesture: found, cached, downloaded, trained on."""

import hashlib
import io
import json
import os
import re
import tarfile

import numpy as np
import pytest
import tonic.datasets

from polystep_snn.cli.main import main
from polystep_snn.datasets import dvs_gesture, event_set, load
from polystep_snn.datasets.dvs_gesture import download_dvs_gesture, load_dvs_gesture
from polystep_snn.errors import InputError
from polystep_snn.profiling import num_classes, sample_shape
from polystep_snn.training.build import build_framing, build_network, resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import recipe
from tests.commands import answers, assert_drawn, trained
from tests.datasets.gesture_files import (
    FIRST,
    base,  # noqa: F401 (fixtures)
    write_folder,
)
from tests.publisher import serving


def test_where_it_is_looked_for(base, tmp_path, monkeypatch, cache):
    for folder in (base, base / "DVSGesture"):
        assert len(load_dvs_gesture(folder).samples) == 44
    (base / "DVSGesture").rename(base / "dvsgesture")
    (base / "dvsgesture" / "ibmGestureTrain.tar.gz").touch()  # neither needed nor in the way
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(base))
    assert len(load_dvs_gesture().samples) == 44
    monkeypatch.delenv("POLYSTEP_SNN_DATA")
    write_folder(cache / "DVSGesture", train=2)
    assert len(load_dvs_gesture().samples) == 33
    with pytest.raises(InputError, match="does not exist"):
        load_dvs_gesture(tmp_path / "nowhere")


def test_frames_are_made_once_until_a_file_changes(base, monkeypatch):
    first = load_dvs_gesture(base).samples

    def refuse(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(dvs_gesture, "read_recording", refuse)
    again = load_dvs_gesture(base).samples
    for name in ("labels", "steps", "channels", "starts", "ends"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    os.utime(base / "DVSGesture" / FIRST, ns=(0, 12345))
    with pytest.raises(AssertionError, match="is read again"):
        load_dvs_gesture(base)


@pytest.fixture
def publisher(monkeypatch, tmp_path):
    """A server in the publishers' place, with archives of a small full set; returns what it serves, and how to pack it anew."""
    source = write_folder(tmp_path / "source", train=10, test=1)
    contents: dict[str, bytes] = {}

    def serve(part):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(source / part, part)
        contents[f"/{part}"] = packed.getvalue()
        name = part.removeprefix("ibmGesture").lower()
        monkeypatch.setattr(tonic.datasets.DVSGesture, f"{name}_url", f"{address}/{part}")
        monkeypatch.setattr(tonic.datasets.DVSGesture, f"{name}_md5", hashlib.md5(packed.getvalue()).hexdigest())

    monkeypatch.setattr(dvs_gesture, "FULL", (110, 11))
    with serving(contents) as address:
        serve("ibmGestureTrain")
        serve("ibmGestureTest")
        yield source, serve, contents


def test_the_full_set_is_downloaded_once(publisher, cache, capsys):
    assert load("dvsgesture").title == "dvsgesture"
    assert sorted(path.name for path in (cache / "DVSGesture").iterdir()) == ["ibmGestureTest", "ibmGestureTrain"]
    assert capsys.readouterr().out == ""
    download_dvs_gesture(cache / "DVSGesture")
    assert sorted(path.name for path in cache.iterdir()) == ["DVSGesture", "frames"]
    publisher[2].clear()
    assert len(load_dvs_gesture().samples) == 121


@pytest.mark.parametrize("harm", ["missing", "damaged", "incomplete"])
def test_a_download_that_fails_leaves_nothing(publisher, cache, harm):
    source, serve, contents = publisher
    if harm == "missing":
        del contents["/ibmGestureTrain"]
    elif harm == "damaged":
        contents["/ibmGestureTrain"] = contents["/ibmGestureTrain"][:-1]
    else:
        (source / FIRST).unlink()
        serve("ibmGestureTrain")
    with pytest.raises(InputError, match=r"^DVS Gesture was not found and could not be downloaded \(.+\): fetch .*figshare") as caught:
        load_dvs_gesture()
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of the recipe's maps, smaller, through the command line."""
    folder = tmp_path_factory.mktemp("gestures")
    write_folder(folder / "data" / "DVSGesture", train=8, test=3)
    options = "--epochs 4 --hidden p8 4c5s2 --num-steps 6 --windows 2 --probed 24 --averaging 0.9 --shift 2 --threads 1 --no-compile"
    with trained("dvsgesture", folder, options) as run:
        yield run


def test_train_eval_plot(run, capsys):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["dataset"] == "dvsgesture (subset: 88 + 33 recordings)"
    assert summary["test_accuracy"] > 0.35  # 33 recordings: an eleventh by chance, plus five standard errors
    answer = answers(capsys)
    assert answer("eval", run)["test_accuracy"] == summary["test_accuracy"]
    assert_drawn(answer, run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--stabilize", "stabilize is True, but dvsgesture has no saccades of N-MNIST's camera to undo: leave it out"),
        ("--crop 0 0 129 128", r"crop is \(0, 0, 129, 128\), but the sensor has 128 x 128 pixels"),
        ("--encoder rate", "but the encoder 'rate' is for images"),
    ],
)
def test_mistakes_take_one_line(base, tmp_path, capsys, arguments, message):
    assert main(["train", "dvsgesture", "--data-dir", str(base), "--out", str(tmp_path / "run"), "--no-compile", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert not (tmp_path / "run").exists()


def test_the_recipes_network():
    config = TrainConfig("dvsgesture", **recipe("dvsgesture"))
    assert (config.data.num_steps, config.data.window_us, config.data.encoder) == (30, 1_500_000, "events")
    assert build_framing(config) == event_set("dvsgesture").default
    assert sample_shape(config) == (2, 128, 128)
    assert num_classes(config) == len(event_set("dvsgesture").classes) == 11
    network = build_network(resolve(config), sample_shape(config), num_classes(config))
    # 32 x 32 sums; 14 x 14 of 16 maps; 6 x 6 of 32.
    assert list(network.sizes) == [2 * 128 * 128, 16 * 14 * 14, 32 * 6 * 6, 11]
