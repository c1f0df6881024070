"""Files of Spiking Heidelberg Digits that are broken in every way."""

import stat
import sys

import h5py
import numpy as np
import pytest

from polystep_snn.datasets import load, shd_file
from polystep_snn.datasets.shd import load_shd
from polystep_snn.datasets.shd_file import read_spikes
from polystep_snn.errors import InputError
from polystep_snn.hdf5_child import Limits
from tests.datasets.shd_files import (
    base,  # noqa: F401 (fixtures)
    spoken,
    with_first,
    write_file,
)
from tests.hardware.formats.written import mutated


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
