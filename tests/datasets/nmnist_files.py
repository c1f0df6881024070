"""Generated recordings in N-MNIST's 40-bit format."""

import shutil

import numpy as np
import pytest

from polystep_snn.datasets import nmnist


def encode(events):
    """Events (x, y, t, p) in 40 bits each: x, y, polarity and the time's upper 7 bits, its middle 8, its lower 8."""
    return b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, t, p in events)


def write_folder(path, train=4, test=2, seed=0):
    """Random recordings of all classes, 50 events each, a column for each class; returns the path."""
    generator = np.random.default_rng(seed)
    for part, count in (("Train", train), ("Test", test)):
        for label in range(10):
            (path / part / str(label)).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                times = np.sort(generator.integers(0, 300_000, 50))
                events = [(3 * label, int(generator.integers(0, 34)), int(t), int(generator.integers(0, 2))) for t in times]
                (path / part / str(label) / f"{number:05}.bin").write_bytes(encode(events))
    return path


@pytest.fixture
def base(tmp_path, cache):
    write_folder(tmp_path / "data" / "NMNIST")
    return tmp_path / "data"


@pytest.fixture
def tiny_full(monkeypatch):
    """What would be the full set: class k has 4 (and, of the even ones, 5) training and 2 test recordings."""
    full = {"Train": tuple(4 + (label % 2 == 0) for label in range(10)), "Test": (2,) * 10}
    monkeypatch.setattr(nmnist, "FULL", full)
    return full


def complete(folder):
    """Add the fifth recording of every even class."""
    for label in range(0, 10, 2):
        shutil.copy(folder / "Train" / str(label) / "00000.bin", folder / "Train" / str(label) / "00004.bin")
