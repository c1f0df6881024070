"""Framing of recordings whose frames can be written down: windows, bins, crops, polarities, what cannot be."""

import numpy as np
import pytest
from tonic import transforms

from polystep_snn.datasets.framing import SACCADE_US, Framing, check_events
from polystep_snn.errors import InputError
from tests.datasets.test_events import SENSOR, dense, random_recording, recording, samples_of


def test_bins_of_equal_width():
    frames = dense(Framing(num_steps=3, window_us=30), (1, 2, 0, 1), (1, 2, 9, 1), (5, 3, 10, 0), (0, 0, 29, 0), (3, 3, 30, 1))
    assert {tuple(cell) for cell in np.argwhere(frames)} == {(0, 1, 2, 1), (1, 0, 3, 5), (2, 0, 0, 0)}
    assert frames.max() == 1
    counted = dense(Framing(num_steps=3, window_us=30, counts=True), (1, 2, 0, 1), (1, 2, 9, 1), (5, 3, 10, 0))
    assert counted[0, 1, 2, 1] == 2
    assert counted.sum() == 3


def test_a_place_is_kept_once_unless_events_are_counted():
    events = recording((1, 2, 0, 1), (5, 3, 1, 0), (1, 2, 9, 1), (1, 2, 10, 1))
    once = Framing(num_steps=3, window_us=30).frame(events.copy(), SENSOR, "here")
    assert list(zip(once.steps.tolist(), once.channels.tolist(), strict=True)) == [(0, 23), (0, 37), (1, 37)]
    every = Framing(num_steps=3, window_us=30, counts=True).frame(events.copy(), SENSOR, "here")
    assert list(zip(every.steps.tolist(), every.channels.tolist(), strict=True)) == [(0, 37), (0, 23), (0, 37), (1, 37)]


def test_bins_of_equal_numbers_of_events():
    frames = dense(Framing(num_steps=2, bin_by="count"), (0, 0, 0, 0), (1, 0, 1, 0), (2, 0, 2, 0), (3, 0, 90_000, 0))
    assert [np.flatnonzero(frame).tolist() for frame in frames] == [[0, 1], [2, 3]]


def test_counts_end_at_255():
    assert dense(Framing(num_steps=1, counts=True), *[(0, 0, 0, 0)] * 300).max() == 255


def test_frames_are_those_of_tonic():
    events = random_recording(0)
    ours = samples_of([events], Framing(num_steps=30, counts=True)).frames(np.array([0])).reshape(30, 2, 4, 6)
    theirs = transforms.ToFrame((*SENSOR, 2), time_window=10_500, include_incomplete=True, start_time=0, end_time=3 * SACCADE_US)(events)
    np.testing.assert_array_equal(ours, theirs[:30])
    assert not theirs[30:].any()


def test_events_after_the_window_are_dropped_and_counted():
    framed = Framing(num_steps=1, window_us=100).frame(recording((0, 0, 99, 0), (1, 0, 100, 0), (2, 0, 200, 0)), SENSOR, "here")
    assert framed.channels.tolist() == [0]
    assert framed.late == 2


def test_the_window_of_the_first_saccade():
    frames = dense(Framing(num_steps=1, window_us=SACCADE_US), (1, 0, SACCADE_US - 1, 0), (2, 0, SACCADE_US, 0))
    assert np.flatnonzero(frames).tolist() == [1]


def test_a_bin_width_covers_the_window():
    framing = Framing.of_bin_width(10_000, counts=True)
    assert (framing.num_steps, framing.window_us, framing.counts) == (32, 320_000, True)


def test_polarities_in_one_channel():
    frames = dense(Framing(num_steps=1, polarity=False, counts=True), (1, 2, 0, 0), (1, 2, 1, 1))
    assert frames.shape == (1, 1, 4, 6)
    assert frames[0, 0, 2, 1] == 2


def test_a_crop_keeps_what_is_inside():
    frames = dense(Framing(num_steps=1, crop=(1, 2, 3, 2)), (1, 2, 0, 0), (3, 3, 1, 1), (4, 3, 2, 1), (0, 2, 3, 0), (2, 1, 4, 0))
    assert frames.shape == (1, 2, 2, 3)
    assert {tuple(cell) for cell in np.argwhere(frames)} == {(0, 0, 0, 0), (0, 1, 1, 2)}


def test_denoising_drops_lonely_events():
    events = [(1, 1, 4000, 0), (2, 1, 4500, 0), (5, 3, 4600, 0), (1, 1, 9000, 0)]
    assert {tuple(cell) for cell in np.argwhere(dense(Framing(num_steps=1, denoise_us=1000), *events))} == {(0, 0, 1, 2)}
    assert dense(Framing(num_steps=1, counts=True), *events).sum() == 4


def test_stabilisation_keeps_still_what_moves_with_the_saccades():
    # The path of a point under the three saccades; what tonic's function subtracts, added.
    t = np.arange(0, 3 * SACCADE_US, 5000)
    part, within = np.minimum(t // SACCADE_US, 2), (t % SACCADE_US) / SACCADE_US
    x = np.choose(part, [3.5 * within, 3.5 + 3.5 * within, 7 - 7 * within]) + 12
    y = np.choose(part, [7 * within, 7 - 7 * within, 0 * within]) + 12
    events = recording(*zip(np.round(x), np.round(y), t, np.ones(len(t)), strict=True))
    frames = dense(Framing(num_steps=3, stabilize=True), *events.tolist(), sensor=(34, 34))
    seen = np.argwhere(frames.any((0, 1)))
    assert np.ptp(seen, axis=0).max() <= 1
    assert np.abs(seen - [14, 16]).max() <= 1
    moving = np.argwhere(dense(Framing(num_steps=3), *events.tolist(), sensor=(34, 34)).any((0, 1)))
    assert np.ptp(moving, axis=0).tolist() == [7, 7]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0: give an integer from 1"),
        ({"num_steps": 2.5}, "num_steps is 2.5"),
        ({"window_us": 0}, "window_us is 0"),
        ({"num_steps": 20, "window_us": 10}, "num_steps is 20 in a window of 10 µs"),
        ({"denoise_us": -1}, "denoise_us is -1"),
        ({"bin_by": "place"}, "bin_by is 'place': choose one of time, count"),
        ({"crop": (0, 0, 0, 3)}, "give left, top, width and height"),
        ({"crop": (4, 0, 3, 3)}, "the sensor has 6 x 4 pixels: stay inside"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(InputError, match=message):
        Framing(**settings).shape(SENSOR)


def test_a_bin_must_have_a_width():
    with pytest.raises(InputError, match="bin_us is 0: give at least 1"):
        Framing.of_bin_width(0)


def test_a_sensor_too_large_to_number():
    with pytest.raises(InputError, match="at most 65535 can be numbered: crop it"):
        Framing().shape((256, 256))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 1, "window_us": 50}, "left before 50 µs"),
        ({"denoise_us": 10}, "left after denoising with 10 µs"),
        ({"crop": (3, 0, 2, 2)}, r"left in the crop \(3, 0, 2, 2\)"),
    ],
)
def test_a_recording_of_which_nothing_is_left(settings, message):
    with pytest.raises(InputError, match=f"^here has no event {message}"):
        Framing(**settings).frame(recording((0, 0, 100, 0), (5, 3, 200, 1)), SENSOR, "here")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "here holds no event"),
        ([(6, 0, 0, 0)], "here has an event at x = 6, the sensor ends at 5"),
        ([(0, 4, 0, 0)], "here has an event at y = 4, the sensor ends at 3"),
        ([(0, -1, 0, 0)], "here has an event at y = -1"),
        ([(0, 0, 5, 0), (0, 0, 7, 0), (0, 0, 6, 0)], "here goes back in time, from 7 to 6 µs at event 2"),
        ([(0, 0, -5, 0), (0, 0, 7, 0)], "here begins at -5 µs, before time 0"),
    ],
)
def test_events_that_cannot_be(events, message):
    with pytest.raises(InputError, match=message):
        check_events(recording(*events), SENSOR, "here")
