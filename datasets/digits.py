"""The 1,797 handwritten 8 x 8 digits that scikit-learn carries (UCI, Alpaydin and Kaynak 1998)."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from polystep_snn.datasets.base import Dataset, Samples

# One fixed shuffle, so that each part holds all writers: 1,257 to train, 180 to validate, 360 to test.
_SHUFFLE_SEED = 0
_NUM_VALIDATION, _NUM_TEST = 180, 360
_FULL_SCALE = 16
_FILE = "datasets/data/digits.csv.gz"


def load_digits() -> Dataset:
    """Digits in three parts of one fixed random split. Needs no file and no network."""
    pixels, labels = _embedded()
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(labels))
    images, labels = pixels.reshape(-1, 8, 8)[order], labels[order]
    first_test = len(labels) - _NUM_TEST
    first_validation = first_test - _NUM_VALIDATION

    def part(start: int, end: int) -> Samples:
        return Samples(images[start:end], labels[start:end], _FULL_SCALE)

    return Dataset(
        "digits", part(0, first_validation), part(first_validation, first_test), part(first_test, len(labels)), 10, tuple("0123456789")
    )


def _embedded() -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [1797, 64] and labels uint8 [1797].

    They are read from scikit-learn's file where it lies in its usual place: importing scikit-learn takes longer than training on them.
    """
    package = find_spec("sklearn")
    file = Path(package.origin).parent / _FILE if package and package.origin else None
    if file is None or not file.is_file():
        from sklearn.datasets import load_digits as embedded

        digits = embedded()
        return digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    with gzip.open(file, "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    return rows[:, :-1], rows[:, -1]
