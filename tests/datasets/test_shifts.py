"""What belongs to a sensor, and what to a sample."""

import numpy as np
import pytest

from polystep_snn.datasets.shifts import SHIFTS, Shift

IMAGES = np.random.default_rng(0).random((5, 12, 12), np.float32)
OF_SENSOR, OF_SAMPLES = {"translation", "dead"}, {"noise", "occlusion"}


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
