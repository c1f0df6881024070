"""Recordings as tonic gives them become the frames that tonic makes."""

import numpy as np
import pytest

from polystep_snn.datasets import Framing
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.framing import check_events

transforms = pytest.importorskip("tonic.transforms", exc_type=ImportError)
SENSOR = (10, 8, 2)


def test_counts_are_those_of_to_frame():
    random = np.random.default_rng(0)
    n, window, steps = 3000, 50_000, 10
    events = np.zeros(n, np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)]))
    events["x"], events["y"], events["p"] = random.integers(0, 10, n), random.integers(0, 8, n), random.integers(0, 2, n)
    # tonic counts windows from the first event.
    events["t"] = np.sort(np.concatenate([[0], random.integers(0, window, n - 2), [window - 1]]))
    expected = transforms.ToFrame(SENSOR, time_window=window // steps, include_incomplete=True)(events.copy())
    check_events(events, SENSOR, "ours")
    framing = Framing(num_steps=steps, window_us=window, counts=True)
    framed = framing.frame(events.copy(), SENSOR, "ours")
    samples = EventSamples(
        np.zeros(1, int), framed.steps, framed.channels, np.array([0]), np.array([len(framed.steps)]), np.zeros(1, int), steps,
        framing.shape(SENSOR), counts=True,
    )  # fmt: skip
    found = samples.frames(np.array([0])).reshape(steps, 2, 8, 10)
    assert found.sum() == n
    np.testing.assert_array_equal(found, expected)
