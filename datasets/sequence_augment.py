"""Random changes of sequences of frequency bands, so that few recordings teach more: in time and in pitch.

Each sequence of each epoch has its own random numbers, a function of the seed, the epoch and the sequence's number alone: neither the
order of a batch, nor who else is in it, changes them.
"""

from dataclasses import dataclass

import numpy as np

from polystep_snn.datasets.base import Sequences
from polystep_snn.errors import InputError


@dataclass(frozen=True)
class SequenceAugmentation:
    """What may happen to a sequence. The defaults change nothing.

    Attributes:
        time_shift: it begins up to so many steps earlier or later. What leaves the window is lost, and zeros come in.
        stretch: it is played faster or slower by a factor of up to 1 + ``stretch``, evenly distributed on a logarithmic scale. Currents are
            interpolated between two steps; an event moves to the step that its time falls into, so none is lost within the window.
        pitch: its bands move up or down by up to so many, within each group. What leaves a group is lost, and zeros come in.
        seed: decides everything, together with epoch and number.

    Raises:
        InputError: a value out of its range.
    """

    time_shift: int = 0
    stretch: float = 0.0
    pitch: int = 0
    seed: int = 0

    def __post_init__(self):
        for name, highest in (("time_shift", 65_535), ("pitch", 64), ("seed", 2**64 - 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
                raise InputError(f"{name} is {value}: give a whole number from 0 to {highest}")
        if not 0 <= self.stretch <= 1:
            raise InputError(f"stretch is {self.stretch}: give a fraction from 0 to 1")

    @property
    def changes(self) -> bool:
        """Whether anything may happen at all."""
        return bool(self.time_shift or self.stretch or self.pitch)

    def frames(self, samples: Sequences, indices: np.ndarray, epoch: int, most: int = 255) -> np.ndarray:
        """``Sequences.frames`` as they are heard in an epoch.

        Args:
            samples: the sequences.
            indices: ``[B]``, which of them.
            epoch: from 0.
            most: where two events of a band come into one step, no more than so many are counted.
        """
        frames = samples.frames(indices)
        if not self.changes:
            return frames
        assert samples.numbers is not None
        changed = np.zeros_like(frames)
        for column, number in enumerate(samples.numbers[indices].tolist()):
            factor, begin, bands = self._draw(number, epoch)
            moved = _shifted(frames[:, column], bands, samples.num_groups)
            if samples.holds_spikes:
                changed[:, column] = _events_in_time(moved, factor, begin, most)
            else:
                changed[:, column] = _currents_in_time(moved, factor, begin)
        return changed

    def _draw(self, number: int, epoch: int) -> tuple[float, int, int]:
        """How much longer, how many steps later, how many bands higher."""
        # Philox is a function of a key and a counter: no two sequences or epochs share a number.
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 0, number]))
        begin, bands = (int(generator.integers(-most, most + 1)) for most in (self.time_shift, self.pitch))
        return (1 + self.stretch) ** generator.uniform(-1, 1), begin, bands


def _shifted(frames: np.ndarray, bands: int, num_groups: int) -> np.ndarray:
    """``[T, F]`` with the bands of every group moved up."""
    if not bands:
        return frames
    groups = frames.reshape(len(frames), num_groups, -1)
    moved = np.zeros_like(groups)
    count = groups.shape[2]
    if abs(bands) < count:
        moved[:, :, max(bands, 0) : count + min(bands, 0)] = groups[:, :, max(-bands, 0) : count - max(bands, 0)]
    return moved.reshape(frames.shape)


def _currents_in_time(frames: np.ndarray, factor: float, begin: int) -> np.ndarray:
    """Step t hears what was there at ``(t - begin) / factor``."""
    at = (np.arange(len(frames)) - begin) / factor
    first = np.floor(at).astype(np.int64)
    share = (at - first).astype(np.float32)[:, None]
    # Zeros before and behind it.
    padded = np.concatenate([np.zeros_like(frames[:1]), frames, np.zeros_like(frames[:1])])
    before, after = (padded[np.clip(first + k, 0, len(frames) + 1)] for k in (1, 2))
    return (1 - share) * before + share * after


def _events_in_time(frames: np.ndarray, factor: float, begin: int, most: int) -> np.ndarray:
    """An event of step t, taken as in its middle, comes at ``(t + 1/2) factor + begin``."""
    to = np.floor((np.arange(len(frames)) + 0.5) * factor + begin).astype(np.int64)
    inside = (to >= 0) & (to < len(frames))
    moved = np.zeros(frames.shape, np.int64)
    np.add.at(moved, to[inside], frames[inside])
    return np.minimum(moved, most).astype(np.uint8)
