"""What belongs to a sensor, and what to a sample."""

import numpy as np
import pytest

from polystep_snn.datasets.shifts import SHIFTS, Shift

IMAGES = np.random.default_rng(0).random((5, 12, 12), np.float32)
OF_SENSOR, OF_SAMPLES = {"translation", "dead", "hot", "shade"}, {"noise", "occlusion", "impulse"}


@pytest.mark.parametrize("kind", SHIFTS)
def test_one_sensor_does_to_all_samples_the_same(kind):
    shift = Shift(kind, 0.3 if kind != "translation" else 3)
    assert np.array_equal(shift(IMAGES, 1, sensor=9), shift(IMAGES, 2, sensor=9)) == (kind not in OF_SAMPLES)
    assert np.array_equal(shift(IMAGES, 1, sensor=8), shift(IMAGES, 1, sensor=9)) == (kind not in OF_SENSOR)
    assert np.array_equal(shift(IMAGES, 7), shift(IMAGES, 7, sensor=7))


def test_samples_of_one_draw_differ_where_the_sample_is_drawn():
    grey = np.full((2, 12, 12), 0.5, np.float32)
    for kind in SHIFTS:
        first, second = Shift(kind, 0.3)(grey, 1, sensor=2)
        assert np.array_equal(first, second) == (kind not in OF_SAMPLES)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ("gain:2", [[0.5, 1.0], [1.0, 0.0]]),
        ("brightness:-0.25", [[0.0, 0.25], [0.75, 0.0]]),
        ("hot:1", [[1.0, 1.0], [1.0, 1.0]]),
        ("shade:0", [[0.25, 0.5], [1.0, 0.0]]),
        ("blur:0", [[0.25, 0.5], [1.0, 0.0]]),
        ("shear:0", [[0.25, 0.5], [1.0, 0.0]]),
    ],
)
def test_four_pixels_by_hand(shift, expected):
    assert Shift.parse(shift)(np.array([[[0.25, 0.5], [1.0, 0.0]]], np.float32), 0)[0].tolist() == expected


def test_rows_are_sheared_away_from_the_middle():
    column = np.zeros((1, 3, 5), np.float32)
    column[:, :, 2] = 1
    assert Shift("shear", 1.0)(column, 0)[0].argmax(1).tolist() == [3, 2, 1]


def test_impulses_are_black_or_white_and_as_many_as_asked_for():
    grey = np.full((20, 30, 30), 0.5, np.float32)
    seen = Shift("impulse", 0.4)(grey, 0)
    assert abs((seen == 0).mean() - 0.2) < 0.02
    assert abs((seen == 1).mean() - 0.2) < 0.02
    assert abs((seen == 0.5).mean() - 0.6) < 0.02


def test_a_shade_falls_off_across_the_image():
    white = np.ones((1, 9, 9), np.float32)
    seen = Shift("shade", 0.6)(white, 0, sensor=3)[0]
    assert seen.max() == pytest.approx(1.0)
    assert seen.min() == pytest.approx(0.4)
