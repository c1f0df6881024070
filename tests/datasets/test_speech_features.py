"""Energies against their definition, written out; events by hand."""

import numpy as np
import pytest

from polystep_snn.datasets.speech_features import SpeechFeatures, level_crossings, mel_bank
from polystep_snn.errors import InputError
from tests.datasets.spoken_files import tone


def slow_energies(sound, num_steps, hop, bands):
    """The definition, a sum at a time."""
    sound = sound.astype(float) / np.sqrt((sound.astype(float) ** 2).mean())
    n = np.arange(256)
    hann = 0.5 * (1 - np.cos(2 * np.pi * n / 256))
    frequency = np.arange(257) * 8000 / 512
    mel = np.linspace(*(2595 * np.log10(1 + np.array([100, 3900]) / 700)), bands + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    found = np.zeros((num_steps, bands))
    for t in range(min(num_steps, -(-len(sound) // hop))):
        x = np.zeros(256)
        part = sound[t * hop : t * hop + 256]
        x[: len(part)] = part
        power = np.abs((hann * x * np.exp(-2j * np.pi * frequency[:, None] / 8000 * n)).sum(1)) ** 2 / hann.sum() ** 2
        for b in range(bands):
            triangle = np.interp(frequency, corners[b : b + 3], [0, 1, 0], left=0, right=0)
            found[t, b] = np.log(1 + 1000 * (triangle * power).sum())
    return found


@pytest.mark.parametrize(("num_steps", "step_ms", "bands", "seconds"), [(20, 20.0, 32, 0.3), (9, 12.5, 40, 0.05), (4, 32.0, 8, 0.3)])
def test_energies_are_what_is_written(num_steps, step_ms, bands, seconds):
    generator = np.random.default_rng(0)
    sound = (generator.normal(size=round(8000 * seconds)) * 0.1).astype(np.float32)
    found = SpeechFeatures(num_steps, step_ms, bands).energies(sound)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_energies(sound, num_steps, round(8 * step_ms), bands), rtol=1e-5, atol=1e-5)


def test_volume_makes_no_difference():
    features = SpeechFeatures()
    quiet, loud = (features.energies(tone(3).astype(np.float32) * factor) for factor in (1e-4, 1.0))
    np.testing.assert_allclose(quiet, loud, rtol=1e-4, atol=1e-6)


def test_a_tone_is_in_its_band():
    centres = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([100, 3900]) / 700)), 34)[1:-1] / 2595) - 1)
    for digit in range(10):
        energies = SpeechFeatures(num_steps=10).energies(tone(digit).astype(np.float32))
        nearest = int(abs(centres - 300 * (1 + digit)).argmin())
        assert abs(int(energies[:10].sum(0).argmax()) - nearest) <= 1


@pytest.mark.parametrize("bands", [4, 32, 40, 64])
def test_every_band_hears_something(bands):
    bank = mel_bank(bands)
    assert bank.shape == (bands, 257)
    assert (bank.max(1) > 0).all()
    assert (bank[:, [0, -1]] == 0).all()


def test_events_by_hand():
    energies = np.array([0.4, 1.2, 3.6, 3.1, 2.9, 0.0, 0.0, 0.0], np.float32)[None, :, None]
    # Told of: 0, 1, 2, 3, 3 (2.9 is within a level), 2, 1, 0.
    assert level_crossings(energies)[0].T.tolist() == [[0, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
    assert level_crossings(energies, counts=True)[0].T.tolist() == [[0, 1, 2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 3, 0, 0]]
    assert level_crossings(energies, level=2.0, counts=True)[0].T.tolist() == [[0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0]]


def test_events_tell_the_energies_to_within_a_level():
    energies = SpeechFeatures(num_steps=30, step_ms=10).energies(tone(4).astype(np.float32))[None]
    events = level_crossings(energies, level=0.5, counts=True).astype(int)
    told = 0.5 * np.cumsum(events[..., :32] - events[..., 32:], 1)
    assert abs(told - energies).max() < 0.5
    assert not (events[..., :32] * events[..., 32:]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0: give a whole number from 1"),
        ({"bands": 65}, "bands is 65: give a whole number from 4 to 64"),
        ({"bands": 8.0}, "bands is 8.0: give a whole number"),
        ({"step_ms": 33}, "step_ms is 33: give 1 to 32 ms"),
        ({"step_ms": float("nan")}, "step_ms is nan"),
        ({"kind": "mel"}, "features is 'mel': choose one of energies, events"),
        ({"counts": True}, "counts is True, but features is 'energies'"),
    ],
)
def test_what_cannot_be(change, message):
    with pytest.raises(InputError, match=message):
        SpeechFeatures(**change)
