"""Small files in the layout of Spiking Heidelberg Digits."""

import h5py
import numpy as np
import pytest

from polystep_snn.datasets.shd import CLASSES, SOURCE

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
