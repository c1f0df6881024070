"""The 1,797 handwritten 8 x 8 digits that scikit-learn carries (UCI, Alpaydin and Kaynak 1998)."""

import numpy as np

from polystep_snn.datasets.base import Dataset, Samples

# One fixed shuffle, so that each part holds all writers: 1,257 to train, 180 to validate, 360 to test.
_SHUFFLE_SEED = 0
_NUM_VALIDATION, _NUM_TEST = 180, 360
_FULL_SCALE = 16


def load_digits() -> Dataset:
    """Digits in three parts of one fixed random split. Needs no file and no network."""
    from sklearn.datasets import load_digits as embedded

    digits = embedded()
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(digits.target))
    images = digits.images.astype(np.uint8)[order]
    labels = digits.target.astype(np.uint8)[order]
    first_test = len(labels) - _NUM_TEST
    first_validation = first_test - _NUM_VALIDATION

    def part(start: int, end: int) -> Samples:
        return Samples(images[start:end], labels[start:end], _FULL_SCALE)

    return Dataset(
        "digits", part(0, first_validation), part(first_validation, first_test), part(first_test, len(labels)), 10, tuple("0123456789")
    )
