"""Spiking Heidelberg Digits: small files in the publishers' layout, read as a user's are; files that are broken in every way."""

import hashlib
import io
import json
import os
import re
import stat
import sys
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tonic.datasets

from polystep_snn.cli.main import main
from polystep_snn.datasets import Framing, event_set, load, shd_file
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.shd import CLASSES, SOURCE, download_shd, load_shd
from polystep_snn.datasets.shd_file import read_spikes
from polystep_snn.errors import InputError
from polystep_snn.hdf5_child import Limits
from polystep_snn.profiling import _random_samples, num_classes, sample_shape
from polystep_snn.training.build import build_framing
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import recipe
from tests.commands import answers, assert_drawn, trained
from tests.hardware.formats.test_formats import mutated
from tests.publisher import serving

KEYS = np.array([name.replace("ü", "ue") for name in CLASSES], "S")


def write_file(path, recordings):
    """A file of the publishers' layout; a recording is (label, times in s, units)."""
    with h5py.File(path, "w") as file:
        for place, dtype, column in (("spikes/times", np.float16, 1), ("spikes/units", np.uint16, 2)):
            item = file.create_dataset(place, (len(recordings),), h5py.vlen_dtype(dtype))
            for k, recording in enumerate(recordings):
                item[k] = np.asarray(recording[column], dtype)
        file["labels"] = np.array([label for label, *_ in recordings], np.uint16)
        file["extra/keys"] = KEYS
        file["extra/speaker"] = np.arange(len(recordings), dtype=np.uint16) % 12


def spoken(label, generator, spikes=60):
    """A recording of a class, from 0 s on: two spikes of three lie among 35 channels of its own."""
    units = np.where(np.arange(spikes) % 3 < 2, 35 * label + generator.integers(0, 35, spikes), generator.integers(0, 700, spikes))
    return label, [0.0, *np.sort(generator.uniform(0, 0.99, spikes - 1))], units


def write_folder(path, train=3, test=1, seed=0):
    """Random recordings of all classes; returns the folder."""
    path.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for part, count in zip(SOURCE.parts, (train, test), strict=True):
        write_file(path / part, [spoken(label, generator) for _ in range(count) for label in range(20)])
    return path


@pytest.fixture
def base(tmp_path, cache):
    write_folder(tmp_path / "data" / "SHD")
    return tmp_path / "data"


def with_first(base, times, units, label=0):
    """The folder, with another first training recording."""
    generator = np.random.default_rng(1)
    rest = [spoken(label, generator) for _ in range(3) for label in range(20)][1:]
    write_file(base / "SHD" / "shd_train.h5", [(label, times, units), *rest])


# Recordings


def test_recordings_are_tonics(base):
    """Every spike of every recording, as tonic's own reader gives it."""
    for k, part in enumerate(SOURCE.parts):
        (base / "SHD" / f"{part}.zip").touch()  # tonic asks for the archive
        theirs = tonic.datasets.SHD(str(base), train=k == 0)
        framed = load_shd(base, Framing(num_steps=50_000, window_us=1_000_000, counts=True))
        ours = framed.samples.take(np.arange(len(theirs)) + 60 * k)
        for number in range(len(theirs)):
            events, label = theirs[number]
            span = slice(ours.starts[number], ours.ends[number])
            np.testing.assert_array_equal(ours.channels[span], events["x"])
            np.testing.assert_array_equal(ours.steps[span], events["t"] // 20)
            assert ours.labels[number] == label


def test_frames_can_be_written_down(base):
    with_first(base, [0.0, 0.25, 0.25, 0.5, 0.75, 1.0, 1.25], [0, 699, 5, 5, 6, 7, 8])
    data = load_shd(base, Framing(num_steps=4, window_us=1_000_000))
    frames = data.samples.frames(np.array([0]))
    assert frames.shape == (4, 1, 700)
    assert np.argwhere(frames[:, 0]).tolist() == [[0, 0], [1, 5], [1, 699], [2, 5], [3, 6]]
    assert data.late.tolist() == [2] + [0] * 79


def test_what_is_loaded_by_default(base):
    dataset = load("shd", base)
    assert dataset.title == "shd (subset: 60 + 20 recordings)"
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [40, 20, 20]
    assert np.bincount(dataset.train.labels).tolist() == [2] * 20
    assert np.bincount(dataset.validation.labels).tolist() == np.bincount(dataset.test.labels).tolist() == [1] * 20
    assert (dataset.num_classes, dataset.classes[1], dataset.classes[15]) == (20, "one", "fünf")
    assert (dataset.train.shape, dataset.train.num_steps) == ((1, 1, 700), 100)
    assert sorted([*dataset.train.numbers, *dataset.validation.numbers, *dataset.test.numbers]) == list(range(80))
    # Most spikes of a recording lie among the channels of its class.
    for part in (dataset.train, dataset.validation, dataset.test):
        counts = part.frames(np.arange(len(part))).sum((0), dtype=int).reshape(len(part), 20, 35).sum(2)
        np.testing.assert_array_equal(counts.argmax(1), part.labels)


def test_a_cochlea_has_no_polarity(base):
    both, one = (load_shd(base, Framing(num_steps=10, window_us=10**6, polarity=polarity)) for polarity in (True, False))
    assert both.samples.shape == one.samples.shape == (1, 1, 700)
    np.testing.assert_array_equal(both.samples.channels, one.samples.channels)


def test_denoising_looks_at_neighbouring_channels(base):
    with_first(base, [0.0, 0.25, 0.251, 0.5], [300, 100, 101, 200])
    samples = load_shd(base, Framing(num_steps=100, window_us=10**6, denoise_us=10_000)).samples
    # tonic keeps what comes in the first 10 ms; then only 101, just after its neighbour.
    assert samples.channels[samples.starts[0] : samples.ends[0]].tolist() == [300, 101]


# Moves


def test_shifts_and_jitter_move_channels_only(base):
    with_first(base, [0.0, 0.25, 0.5], [0, 350, 699])
    samples = load_shd(base, Framing(num_steps=4, window_us=10**6)).samples
    seen = set()
    for epoch in range(400):
        frames = samples.frames(np.array([0]), Augmentation(shift=3), epoch)
        (middle,) = np.flatnonzero(frames[1, 0])
        move = int(middle) - 350
        seen.add(move)
        expected = [[0, move]] * (move >= 0) + [[1, 350 + move]] + [[2, 699 + move]] * (move <= 0)
        assert np.argwhere(frames[:, 0]).tolist() == expected
    assert seen == set(range(-3, 4))
    many = replace(samples, steps=np.zeros(20_000, np.uint16), channels=np.full(20_000, 350, np.uint16))
    many = replace(many.take(np.array([0])), starts=np.array([0]), ends=np.array([20_000]))
    moved = many._events(np.array([0]), Augmentation(jitter=1.2), 0).channels - 350
    assert len(moved) == 20_000
    expected = np.round(np.random.default_rng(0).normal(0, 1.2, 20_000))
    for move in range(-3, 4):
        assert (moved == move).mean() == pytest.approx((expected == move).mean(), abs=0.015)


def test_flips_of_a_cochlea(base):
    samples = load_shd(base, Framing(num_steps=4, window_us=10**6)).samples
    first = np.array([0])
    np.testing.assert_array_equal(samples.frames(first, Augmentation(flip_lr=1.0)), samples.frames(first)[:, :, ::-1])
    np.testing.assert_array_equal(samples.frames(first, Augmentation(flip_ud=1.0)), samples.frames(first))
    with pytest.raises(InputError, match="a frame has 1 polarity"):
        samples.frames(first, Augmentation(flip_polarity=1.0))


# What is broken


@pytest.mark.parametrize(
    ("times", "units", "label", "message"),
    [
        ([], [], 0, r"shd_train.h5, recording 0, holds no event"),
        ([0.1], [700], 0, r"recording 0, has an event at x = 700, the sensor ends at 699"),
        ([0.5, 0.25], [1, 2], 0, r"recording 0, goes back in time, from 500000 to 250000 µs at event 1"),
        ([-0.5, 0.25], [1, 2], 0, r"recording 0, has a spike at -0.5 s, expected 0 to 1000"),
        ([0.5, np.nan], [1, 2], 0, r"recording 0, has a spike at nan s"),
        ([0.5, np.inf], [1, 2], 0, r"recording 0, has a spike at inf s"),
        ([1.5], [1], 0, r"recording 0, has no event left before 1000000 µs: choose a longer window_us"),
        ([0.5, 0.75], [1], 0, r"shd_train.h5 has 2 times and 1 units in recording 0: fetch it again"),
        ([0.5], [1], 20, r"shd_train.h5 has a recording of class 20, the last class is 19"),
    ],
)
def test_recordings_that_are_broken(base, times, units, label, message):
    with_first(base, times, units, label)
    with pytest.raises(InputError, match=message) as caught:
        load_shd(base)
    assert "\n" not in str(caught.value)
    assert str(base / "SHD" / "shd_train.h5") in str(caught.value)


def _no_labels(file):
    del file["labels"]


def _fewer_labels(file):
    del file["labels"]
    file["labels"] = np.arange(10)


def _labels_with_fractions(file):
    del file["labels"]
    file["labels"] = np.arange(60) / 2


def _plain_units(file):
    del file["spikes/units"]
    file["spikes/units"] = np.zeros((60, 4), np.uint16)


def _times_in_ms(file):
    del file["spikes/times"]
    file.create_dataset("spikes/times", (60,), h5py.vlen_dtype(np.int32))


def _soft_link(file):
    del file["labels"]
    file["labels"] = h5py.SoftLink("/extra/speaker")


def _external_link(file):
    del file["labels"]
    file["labels"] = h5py.ExternalLink("/etc/passwd", "/labels")


def _group(file):
    del file["labels"]
    file.create_group("labels")


def _no_group(file):
    del file["spikes"]
    file["spikes"] = np.arange(3)


def _virtual(file):
    del file["labels"]
    layout = h5py.VirtualLayout((60,), "i4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "labels", (60,))
    file.create_virtual_dataset("labels", layout)


def _one_class_less(file):
    labels = file["labels"][()]
    file["labels"][:] = np.where(labels == 7, 8, labels)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_no_labels, "has no data at 'labels', as SHD's files have: fetch it again"),
        (_fewer_labels, r"has times, units and labels of \[60\], \[60\], \[10\] recordings, expected one number"),
        (_labels_with_fractions, "has float64 at 'labels', expected whole numbers"),
        (_plain_units, "has uint16 at 'spikes/units', expected numbers in arrays of variable length"),
        (_times_in_ms, "has object at 'spikes/times', expected numbers in arrays of variable length"),
        (_soft_link, "has a link at 'labels'"),
        (_external_link, "has a link at 'labels'"),
        (_group, "has no data at 'labels'"),
        (_no_group, "has no data at 'spikes/times'"),
        (_virtual, "has data at 'labels' that lie in another file"),
        (_one_class_less, "holds no recording of class 7: fetch it again"),
    ],
)
def test_files_of_another_layout(base, harm, message):
    path = base / "SHD" / "shd_train.h5"
    with h5py.File(path, "r+") as file:
        harm(file)
    with pytest.raises(InputError, match=message) as caught:
        load_shd(base)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_truncated_or_of_another_kind(base):
    path = base / "SHD" / "shd_test.h5"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"shd_test.h5 is damaged \(.*truncated.*\): fetch it again"):
        load_shd(base)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"shd_test.h5 is not an HDF5 file: give shd_train.h5 or shd_test.h5 of SHD"):
        load_shd(base)
    path.unlink()
    with pytest.raises(InputError, match=r"shd_test.h5 is missing: fetch it from https://zenkelab"):
        load_shd(base)


def test_damaged_files_are_refused_or_harmless(tmp_path):
    """Whatever a bit flips, it ends in recordings of the same form or in one line."""
    path = tmp_path / "shd_train.h5"
    write_file(path, [spoken(label, np.random.default_rng(label)) for label in range(20)])
    content = path.read_bytes()
    refused = 0
    for seed in range(12):
        path.write_bytes(mutated(content, seed))
        try:
            spikes = read_spikes(path)
        except InputError:
            refused += 1
        else:
            assert len(spikes.times) == len(spikes.units) == spikes.lengths.sum()
            assert len(spikes.lengths) == len(spikes.labels) == 20
    assert refused >= 2


def test_a_file_that_keeps_hdf5_busy_or_crashes_it(base, tmp_path, monkeypatch):
    path = base / "SHD" / "shd_train.h5"
    with pytest.raises(InputError, match=r"is damaged \(HDF5 was not through with it after 0.001 s\): fetch it again"):
        read_spikes(path, Limits(2**31, 2**33, 300, 0.001))
    with pytest.raises(InputError, match=r"has \d+ bytes: at most 1000 are read"):
        read_spikes(path, Limits(1000, 2**33, 300, 60))
    monkeypatch.setattr(shd_file, "MAX_SPIKES", 1000)
    with pytest.raises(InputError, match="has more than 1000 spikes"):
        shd_file.pack(str(path))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=r"is damaged \(HDF5 ended with code -11"):
        load_shd(base)


def test_more_recordings_than_there_are(base, monkeypatch):
    monkeypatch.setattr("polystep_snn.datasets.shd.FULL", (60, 19))
    with pytest.raises(InputError, match=r"shd_test.h5 holds 20 recordings, SHD has 19: remove"):
        load_shd(base)


def test_the_full_set_has_no_note(base, monkeypatch):
    monkeypatch.setattr("polystep_snn.datasets.shd.FULL", (60, 20))
    assert load("shd", base).title == "shd"


# Found, cached, downloaded


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


# Runs


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
        ("--on-chip", "shd is not made of images"),
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
