"""Small data of one's own, as files."""

from pathlib import Path

import numpy as np
from scipy.io import wavfile

from polystep_snn.datasets.framing import Framing
from polystep_snn.datasets.own import describe, load_own
from polystep_snn.datasets.own.load import Reading
from polystep_snn.datasets.speech_features import SpeechFeatures

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])


def arrays(**changes):
    """Arrays of 30 images of 2 x 3 pixels in three classes; ``changes`` replace some, or take them away with None."""
    x = np.arange(180, dtype=np.uint8).reshape(30, 2, 3)
    y = np.arange(30) % 3
    found = {"x_train": x[:18], "y_train": y[:18], "x_val": x[18:24], "y_val": y[18:24], "x_test": x[24:], "y_test": y[24:], **changes}
    return {name: value for name, value in found.items() if value is not None}


def npz(folder: Path, name: str = "mine.npz", **changes) -> Path:
    np.savez(folder / name, **arrays(**changes))
    return folder / name


def load(path: Path, sequences: bool = False, **reading):
    """The data set and its record."""
    settings = {"framing": Framing(4, 1000), "features": SpeechFeatures(5, 20.0, 8), **reading}
    return load_own(str(path), describe(path, sequences), Reading(**settings))


def events(seed: int, count: int = 40, start: int = 10**15) -> np.ndarray:
    generator = np.random.default_rng(seed)
    found = np.zeros(count, EVENT)
    found["x"], found["y"] = generator.integers(0, 5, count), generator.integers(0, 4, count)
    found["t"] = start + np.concatenate([[0], np.sort(generator.integers(0, 1000, count - 1))])
    found["p"] = generator.integers(0, 2, count)
    found["x"][0], found["y"][0] = 4, 3
    return found


def class_folders(folder: Path, write, suffix: str, per_class: int = 10, classes=("ape", "bee cat")) -> Path:
    """``write(path, number)`` for every file of folders of classes, one of which has a space in its name."""
    number = 0
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(per_class):
            write(folder / name / f"{k:02d}{suffix}", number)
            number += 1
    return folder


def write_sound(path: Path, number: int, rate: int = 8000) -> None:
    time = np.arange(rate // 10) / rate
    wavfile.write(path, rate, (8000 * np.sin(2 * np.pi * (300 + 40 * number) * time)).astype(np.int16))
