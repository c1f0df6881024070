"""Small folders in the layout of DVS Gesture."""

import numpy as np
import pytest

FIRST = "ibmGestureTrain/user01_fluorescent/0.npy"


def moving(label, generator, events=200):
    """Rows x, y, polarity, t in ms: a dot at a place of the class, amid noise."""
    noise = generator.random(events) < 0.2
    x, y = (
        np.where(noise, generator.integers(0, 128, events), centre + generator.integers(-6, 7, events))
        for centre in (16 + 30 * (label % 4), 16 + 40 * (label // 4))
    )
    return np.stack([x, y, generator.integers(0, 2, events), np.sort(generator.integers(0, 1500, events))], 1)


def write_folder(path, train=3, test=1, seed=0):
    """Random recordings of all classes, by a user under one light for each; returns the folder."""
    generator = np.random.default_rng(seed)
    for part, first, count in (("ibmGestureTrain", 1, train), ("ibmGestureTest", 24, test)):
        for user in range(first, first + count):
            folder = path / part / f"user{user:02}_{('fluorescent', 'led', 'fluorescent_led')[user % 3 - 1]}"
            folder.mkdir(parents=True)
            for label in range(11):
                np.save(folder / f"{label}.npy", moving(label, generator))
    return path


@pytest.fixture
def base(tmp_path, cache):
    write_folder(tmp_path / "data" / "DVSGesture")
    return tmp_path / "data"
