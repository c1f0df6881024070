"""Changes of sequences in time and pitch."""

import numpy as np
import pytest

from polystep_snn.datasets import Sequences
from polystep_snn.datasets.sequence_augment import SequenceAugmentation, _currents_in_time, _events_in_time, _shifted
from polystep_snn.datasets.speech_features import level_crossings
from polystep_snn.errors import InputError


def test_pitch_by_hand():
    frames = np.array([[1, 2, 3, 4, 5, 6]], np.float32)
    assert _shifted(frames, 1, 1).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert _shifted(frames, 1, 2).tolist() == [[0, 1, 2, 0, 4, 5]]
    assert _shifted(frames, -2, 2).tolist() == [[3, 0, 0, 6, 0, 0]]
    assert not _shifted(frames, 3, 2).any()
    assert not _shifted(frames, -7, 1).any()


def test_time_by_hand():
    frames = np.array([[4.0], [8.0], [0.0], [2.0]], np.float32)
    assert _currents_in_time(frames, 1.0, 1).ravel().tolist() == [0, 4, 8, 0]
    assert _currents_in_time(frames, 1.0, -1).ravel().tolist() == [8, 0, 2, 0]
    assert _currents_in_time(frames, 2.0, 0).ravel().tolist() == [4, 6, 8, 4]
    assert _currents_in_time(frames, 0.5, 0).ravel().tolist() == [4, 0, 0, 0]
    events = np.array([[1], [1], [0], [1]], np.uint8)
    assert _events_in_time(events, 1.0, 1, 1).ravel().tolist() == [0, 1, 1, 0]
    assert _events_in_time(events, 2.0, 0, 1).ravel().tolist() == [0, 1, 0, 1]
    assert _events_in_time(events, 0.5, 0, 1).ravel().tolist() == [1, 1, 0, 0]
    assert _events_in_time(events, 0.5, 0, 255).ravel().tolist() == [2, 1, 0, 0]


@pytest.fixture
def batch():
    values = np.random.default_rng(0).uniform(0, 3, (9, 12, 8)).astype(np.float32)
    return Sequences(values, np.arange(9) % 3)


def test_a_sequence_is_changed_by_its_number_and_epoch_alone(batch):
    augmentation = SequenceAugmentation(time_shift=2, stretch=0.2, pitch=1, seed=7)
    together = augmentation.frames(batch, np.array([8, 4, 1]), 2)
    np.testing.assert_array_equal(augmentation.frames(batch, np.array([4]), 2)[:, 0], together[:, 1])
    # A part of the set knows the numbers of the whole.
    np.testing.assert_array_equal(augmentation.frames(batch.take(np.array([1, 4])), np.array([1]), 2)[:, 0], together[:, 1])
    assert not np.array_equal(augmentation.frames(batch, np.array([4]), 3)[:, 0], together[:, 1])
    other = SequenceAugmentation(time_shift=2, stretch=0.2, pitch=1, seed=8)
    assert not np.array_equal(other.frames(batch, np.array([4]), 2)[:, 0], together[:, 1])
    np.testing.assert_array_equal(SequenceAugmentation(seed=7).frames(batch, np.array([4, 8]), 2), batch.frames(np.array([4, 8])))


def test_what_is_drawn_covers_its_range():
    drawn = [SequenceAugmentation(time_shift=2, stretch=0.5, pitch=1)._draw(number, 0) for number in range(2000)]
    factors, begins, bands = map(np.array, zip(*drawn, strict=True))
    assert (1 / 1.5 <= factors.min() < 0.68, 1.48 < factors.max() <= 1.5) == (True, True)
    assert abs(np.log(factors).mean()) < 0.03
    np.testing.assert_allclose(np.bincount(begins + 2) / 2000, 0.2, atol=0.04)
    np.testing.assert_allclose(np.bincount(bands + 1) / 2000, 1 / 3, atol=0.04)


def test_events_move_as_the_energies_that_they_tell_of():
    """A shift in time or pitch of events is that of the energies; only what enters or leaves the window may differ."""
    energies = np.zeros((1, 12, 8), np.float32)
    energies[0, 3:8, 2:6] = np.random.default_rng(1).uniform(0, 5, (5, 4))
    events = level_crossings(energies, counts=True)[0]
    moved = level_crossings(_shifted(_currents_in_time(energies[0], 1.0, 2), 1, 1)[None], counts=True)[0]
    np.testing.assert_array_equal(_shifted(_events_in_time(events, 1.0, 2, 255), 1, 2), moved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_shift": -1}, "time_shift is -1: give a whole number from 0"),
        ({"pitch": 1.5}, "pitch is 1.5"),
        ({"stretch": 1.5}, "stretch is 1.5: give a fraction from 0 to 1"),
        ({"stretch": float("nan")}, "stretch is nan"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be(change, message):
    with pytest.raises(InputError, match=message):
        SequenceAugmentation(**change)
