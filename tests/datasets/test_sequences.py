"""Sequences, and images that are read as sequences."""

import numpy as np
import pytest

from polystep_snn.datasets import Dataset, Samples, Sequences
from polystep_snn.errors import InputError


def test_images_are_read_row_by_row(digits):
    rows = digits.test.rows()
    assert np.shares_memory(rows.values, digits.test.images)
    assert (len(rows), rows.num_steps, rows.shape, rows.holds_spikes) == (360, 8, (1, 1, 8), False)
    frames = rows.frames(np.array([5, 0]))
    assert frames.dtype == np.float32
    for step in range(8):
        np.testing.assert_array_equal(frames[step], digits.test.images[[5, 0], step] / np.float32(16))


def test_spikes_and_currents_come_time_first():
    spikes = Sequences(np.array([[[0, 3], [1, 0], [2, 2]]], np.uint8), np.array([4]), num_groups=2)
    assert (spikes.holds_spikes, spikes.shape, spikes.num_steps) == (True, (2, 1, 1), 3)
    assert spikes.frames(np.array([0, 0])).tolist() == [[[0, 3]] * 2, [[1, 0]] * 2, [[2, 2]] * 2]
    assert spikes.frames(np.array([0])).dtype == np.uint8
    currents = Sequences(np.array([[[0.5, -1.0]], [[2.0, 0.0]]], np.float32), np.array([0, 1]))
    part = currents.take(np.array([1]))
    assert (part.labels.tolist(), part.numbers.tolist(), part.frames(np.array([0])).tolist()) == ([1], [1], [[[2.0, 0.0]]])


def sequences(shape=(3, 4, 2), dtype=np.float32, labels=(0, 1, 2), **options):
    return Sequences(np.zeros(shape, dtype), np.array(labels), **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sequences(dtype=np.float64), "values are float64"),
        (lambda: sequences(shape=(3, 4)), r"values are float32 \[3, 4\]: give float32 or uint8 \[n, T, features\]"),
        (lambda: sequences(shape=(3, 0, 2)), r"values are float32 \[3, 0, 2\]"),
        (lambda: sequences(labels=(0, 1)), r"labels are int64 \[2\] for 3 sequences"),
        (lambda: sequences(labels=(0.0, 1.0, 2.0)), "give one integer a sequence"),
        (lambda: sequences(full_scale=255), "full_scale is 255 for float32"),
        (lambda: sequences(dtype=np.uint8, full_scale=0), "full_scale is 0 for uint8"),
        (lambda: sequences(num_groups=3), "num_groups is 3 for 2 features"),
        (lambda: sequences(numbers=np.arange(2)), r"numbers are \[2\] for 3 sequences"),
        (lambda: Sequences([1], [2]), "values and labels are list and list"),
        (lambda: Sequences(np.full((1, 1, 1), np.nan, np.float32), np.zeros(1, int)), "values contain NaN"),
        (lambda: Dataset("d", sequences(), sequences(), sequences((3, 4, 5)), 3, tuple("abc")), r"the test images of d are \(1, 1, 5\)"),
        (lambda: Dataset("d", sequences(), sequences(), sequences((3, 5, 2)), 3, tuple("abc")), "test sequences of d have 5 steps, the tr"),
    ],
)
def test_what_does_not_fit_together(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_rows_of_mnist(mnist):
    rows = mnist.test.rows()
    assert (len(rows), rows.num_steps, rows.shape) == (10_000, 28, (1, 1, 28))
    assert isinstance(mnist.test, Samples)
    np.testing.assert_array_equal(rows.frames(np.array([3]))[:, 0], mnist.test.images[3] / np.float32(255))
