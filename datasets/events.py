"""Event recordings in memory: frames that stay sparse until someone asks for dense ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from polystep_snn.datasets.augment import Augmentation, EventBatch
from polystep_snn.datasets.base import check_targets
from polystep_snn.datasets.framing import Framed, Framing, Sensor
from polystep_snn.errors import InputError


@dataclass(frozen=True)
class EventSamples:
    """Recordings, each event with its time step, and their classes. Unless events are counted, one stands for all in its place of a frame.

    A part of a set shares the events of the whole: only ``labels``, ``starts``, ``ends`` and ``numbers`` are its own.

    Attributes:
        labels: ``[n]``, classes from 0; or real targets ``[n, D]``.
        steps: ``[E]`` uint16, the time step of every event.
        channels: ``[E]`` uint16, ``(p * height + y) * width + x``.
        starts: ``[n]``, where the events of each recording begin.
        ends: ``[n]``, where they end.
        numbers: ``[n]``, the number of each recording in the whole set, which seeds its augmentation.
        num_steps: T.
        shape: channels, height and width of a frame.
        counts: a frame holds the number of events, at most 255, else 0 or 1.
    """

    labels: np.ndarray
    steps: np.ndarray
    channels: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    numbers: np.ndarray
    num_steps: int
    shape: tuple[int, int, int]
    counts: bool = False

    def __post_init__(self):
        n, num_events = len(self.labels), len(self.steps)
        check_targets(self.labels, n, "recording")
        if any(a.shape != (n,) or not np.issubdtype(a.dtype, np.integer) for a in (self.starts, self.ends, self.numbers)):
            raise InputError(f"starts, ends and numbers of {n} recordings differ in shape or are no integers: give one a recording")
        if any(a.shape != (num_events,) or a.dtype != np.uint16 for a in (self.steps, self.channels)):
            raise InputError("steps and channels differ in shape or are not uint16: give one each for every event")
        if n and not (self.starts.min() >= 0 and (self.starts <= self.ends).all() and self.ends.max() <= num_events):
            raise InputError(f"a recording does not lie within the {num_events} events: give starts and ends from 0 to that")
        if self.steps.max(initial=0) >= self.num_steps or self.channels.max(initial=0) >= self.num_channels:
            raise InputError(f"an event lies outside {self.num_steps} steps of {list(self.shape)}: give a larger frame")

    @classmethod
    def of(cls, framed: Sequence[Framed], labels: np.ndarray, framing: Framing, sensor: Sensor) -> "EventSamples":
        """Recordings of a ``sensor`` that ``framing`` has framed, one label or target each."""
        bounds = np.cumsum([0, *(len(one.steps) for one in framed)])
        steps, channels = (np.concatenate([getattr(one, name) for one in framed]) for name in ("steps", "channels"))
        rest = np.arange(len(framed)), framing.num_steps, framing.shape(sensor), framing.counts
        return cls(labels, steps, channels, bounds[:-1], bounds[1:], *rest)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_channels(self) -> int:
        """Values in a frame: 2312 for N-MNIST."""
        return prod(self.shape)

    def take(self, indices: np.ndarray) -> "EventSamples":
        """The samples at ``indices``, in their order."""
        own = {name: getattr(self, name)[indices] for name in ("labels", "starts", "ends", "numbers")}
        return replace(self, **own)

    def frames(self, indices: np.ndarray, augmentation: Augmentation | None = None, epoch: int = 0) -> np.ndarray:
        """The frames of a batch.

        Args:
            indices: ``[B]``, which samples.
            augmentation: what may happen to them; None: nothing.
            epoch: seeds the augmentation, with its seed and the number of the recording.

        Returns:
            ``[T, B, N]`` uint8, where N is ``num_channels``.
        """
        places, values = self.places(indices, augmentation, epoch)
        frames = np.zeros((self.num_steps, len(indices), self.num_channels), np.uint8)
        frames.reshape(-1)[places] = 1 if values is None else values
        return frames

    def places(self, indices: np.ndarray, augmentation: Augmentation | None = None, epoch: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        """What is not 0 in ``frames`` for the same indices, augmentation and epoch, of which that is the smallest part.

        Returns:
            Where, increasing: places in the flat ``[T, B, N]``, int32, or int64 where that is larger than int32 can say; and what stands
            there, uint8, or None where all of it is 1.
        """
        at = self._places(self._events(indices, augmentation, epoch), len(indices))
        at.sort()
        others = at[1:] != at[:-1]
        if others.all():
            return at, np.ones(len(at), np.uint8) if self.counts else None
        first = np.flatnonzero(np.concatenate([[True], others]))
        values = np.minimum(np.diff(first, append=len(at)), 255).astype(np.uint8) if self.counts else None
        return at[first], values

    def _events(self, indices: np.ndarray, augmentation: Augmentation | None, epoch: int) -> EventBatch:
        spans = [slice(start, end) for start, end in zip(self.starts[indices].tolist(), self.ends[indices].tolist(), strict=True)]
        if not spans:
            raise InputError("a batch of 0 samples has no frames: give at least one index")
        batch = EventBatch(
            np.concatenate([self.steps[span] for span in spans], dtype=np.int32),
            np.concatenate([self.channels[span] for span in spans], dtype=np.int32),
            np.repeat(np.arange(len(spans), dtype=np.int32), [span.stop - span.start for span in spans]),
        )
        if augmentation is None or not augmentation.changes:
            return batch
        return augmentation.apply(batch, self.numbers[indices], self.shape, self.num_steps, epoch)

    def _places(self, batch: EventBatch, batch_size: int) -> np.ndarray:
        """Where every event lies in an array ``[T, B, N]``."""
        wide = np.int32 if self.num_steps * batch_size * self.num_channels < 2**31 else np.int64
        at = np.multiply(batch.steps, batch_size, dtype=wide)
        at = at + batch.rows
        at *= self.num_channels
        at += batch.channels
        return at
