r"""From sound to what a network receives in every step: energies of frequency bands, or the ON and OFF events of their changes.

The sound ``x`` is divided by its root mean square, so that loud and quiet recordings are alike. Step t sees 32 ms from
``t * step_ms`` on, under a Hann window w; sound that has ended goes on as silence::

    P[t, f] = |sum_n w[n] x[n] exp(-2 pi i f n)|^2 / (sum_n w[n])^2
    E[t, b] = ln(1 + 1000 sum_f M[b, f] P[t, f])

``M`` are triangles whose corners lie evenly on the mel scale ``2595 log10(1 + f / 700)`` (Stevens, Volkmann and Newman 1937; in
O'Shaughnessy's form), from 100 to 3,900 Hz. Silence is 0; the spread of E over spoken digits is about 1.5.

Events are what a silicon cochlea that codes changes would send: a band fires ON where its energy has risen by a level since its last
event, OFF where it has fallen by one.
"""

import math
from dataclasses import dataclass

import numpy as np

from polystep_snn.errors import InputError

RATE_HZ = 8000
_WINDOW = 256
# Zeros are appended up to this length, so that the narrowest triangle holds a frequency.
_TRANSFORM = 512
_LOWEST_HZ, _HIGHEST_HZ = 100.0, 3900.0
_SENSITIVITY = 1000.0
LEVEL = 1.0
KINDS = ("energies", "events")


@dataclass(frozen=True)
class SpeechFeatures:
    """How a recording becomes a sequence.

    Attributes:
        num_steps: T. Longer recordings are cut, shorter ones end in silence.
        step_ms: length of a step, at most 32 ms, so that no sound falls between two windows.
        bands: number of frequency bands.
        kind: "energies" (currents) or "events" (ON and OFF spikes, two a band).
        counts: events of a step are counted; else there is at most one ON or OFF event a band and step, and a band that has changed
            by several levels sends the others in the steps after it.

    Raises:
        InputError: a value out of its range.
    """

    num_steps: int = 40
    step_ms: float = 20.0
    bands: int = 32
    kind: str = "energies"
    counts: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"features is {self.kind!r}: choose one of {', '.join(KINDS)}")
        for name, lowest, highest in (("num_steps", 1, 65_535), ("bands", 4, 64)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
                raise InputError(f"{name} is {value}: give a whole number from {lowest} to {highest}")
        if not 1 <= self.step_ms <= 1000 * _WINDOW / RATE_HZ:
            raise InputError(f"step_ms is {self.step_ms}: give 1 to {1000 * _WINDOW // RATE_HZ} ms")
        if self.counts and self.kind != "events":
            raise InputError(f"counts is True, but features is {self.kind!r}: choose events, or leave it out")

    @property
    def num_features(self) -> int:
        """F: values in a step."""
        return self.bands * self.num_groups

    @property
    def num_groups(self) -> int:
        """2 for events, ON before OFF, else 1."""
        return 2 if self.kind == "events" else 1

    def length(self, num_samples: int) -> int:
        """Steps that so many samples of sound take."""
        return math.ceil(num_samples / self._hop)

    @property
    def _hop(self) -> int:
        return round(self.step_ms * RATE_HZ / 1000)

    def energies(self, sound: np.ndarray) -> np.ndarray:
        """Of one recording: ``[T, bands]`` float32.

        Args:
            sound: ``[N]`` float32, ``RATE_HZ`` samples a second, not silent throughout.
        """
        steps = min(self.length(len(sound)), self.num_steps)
        energies = np.zeros((self.num_steps, self.bands), np.float32)
        sound = sound / np.sqrt(np.mean(np.square(sound, dtype=np.float64)))
        needed = (steps - 1) * self._hop + _WINDOW
        sound = np.pad(sound[:needed], (0, max(0, needed - len(sound))))
        windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[:: self._hop] * _HANN
        power = np.square(np.abs(np.fft.rfft(windows, _TRANSFORM))) / np.sum(_HANN) ** 2
        energies[:steps] = np.log1p(_SENSITIVITY * power @ mel_bank(self.bands).T)
        return energies


# A period of a cosine, without its last point, which is its first.
_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)


def mel_bank(bands: int) -> np.ndarray:
    """Triangles over the frequencies of the transform: ``[bands, F]``, each of height 1."""

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    corners = 700 * (10 ** (np.linspace(mel(_LOWEST_HZ), mel(_HIGHEST_HZ), bands + 2) / 2595) - 1)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    frequency = np.arange(_TRANSFORM // 2 + 1) * RATE_HZ / _TRANSFORM
    return np.maximum(np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle)), 0)


def level_crossings(energies: np.ndarray, level: float = LEVEL, counts: bool = False) -> np.ndarray:
    """ON and OFF events of changing energies, which start from silence.

    Args:
        energies: ``[n, T, bands]``, at least 0.
        level: by how much an energy changes for an event.
        counts: count the events of a step; else at most one ON or OFF event is sent, the others later.

    Returns:
        ``[n, T, 2 * bands]`` uint8: ON events of all bands, then OFF events.
    """
    n, num_steps, bands = energies.shape
    events = np.zeros((n, num_steps, 2 * bands), np.uint8)
    # How many levels a band's events have told of. Whole numbers: sums of levels would drift.
    told = np.zeros((n, bands), np.int64)
    for step in range(num_steps):
        crossed = np.trunc(energies[:, step].astype(np.float64) / level - told).astype(np.int64)
        crossed = np.clip(crossed, -255, 255) if counts else np.sign(crossed)
        events[:, step, :bands] = np.maximum(crossed, 0)
        events[:, step, bands:] = np.maximum(-crossed, 0)
        told += crossed
    return events
