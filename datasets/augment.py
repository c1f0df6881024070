"""Random changes of event recordings, so that few of them teach more.

Each recording of each epoch has its own random numbers, a function of the seed, the epoch and the recording's number alone:
neither the order of a batch, nor who else is in it, nor the number of workers changes them.

What tonic's ``SpatialJitter``, ``TimeJitter``, ``DropEvent`` and ``RandomFlip*`` do to one recording at a time from numpy's global
random state, this does to a whole batch at once. Three things differ on purpose: jitter is rounded to the nearest pixel
(tonic cuts the fraction off, which moves every digit by half a pixel), what leaves the sensor is always dropped, and it is done to framed
events, of which one stands for all in its place of a frame unless they are counted.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError


class EventBatch(NamedTuple):
    """The events of B recordings, each of them ``[E]``, int32: time step, channel ``(p * H + y) * W + x``, and recording, 0 to B-1."""

    steps: np.ndarray
    channels: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a recording. The defaults change nothing.

    Attributes:
        shift: the whole recording moves by up to so many pixels along either axis. Along an axis of one pixel, such as the height of a
            cochlea, nothing ever moves.
        jitter: standard deviation in pixels, along either axis, of a normal move of every event.
        time_jitter: standard deviation in steps of a normal move of every event in time.
        drop: probability with which an event is dropped.
        flip_lr: probability with which left and right change places.
        flip_ud: the same for top and bottom.
        flip_polarity: the same for ON and OFF.
        seed: decides everything, together with epoch and recording.

    Raises:
        InputError: a value out of its range.
    """

    shift: int = 0
    jitter: float = 0.0
    time_jitter: float = 0.0
    drop: float = 0.0
    flip_lr: float = 0.0
    flip_ud: float = 0.0
    flip_polarity: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if not (isinstance(self.shift, int) and 0 <= self.shift <= 64):
            raise InputError(f"shift is {self.shift}: give 0 to 64 pixels")
        for name in ("jitter", "time_jitter"):
            if not 0 <= getattr(self, name) <= 16:
                raise InputError(f"{name} is {getattr(self, name)}: give a standard deviation from 0 to 16")
        for name in ("drop", "flip_lr", "flip_ud", "flip_polarity"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: give a probability from 0 to 1")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed is {self.seed}: give 0 to 2^64 - 1")

    @property
    def changes(self) -> bool:
        """Whether anything may happen at all."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "seed")

    def apply(self, batch: EventBatch, numbers: np.ndarray, shape: tuple[int, int, int], num_steps: int, epoch: int) -> EventBatch:
        """The batch as it is seen in an epoch; events that leave the sensor or the window are gone.

        Args:
            batch: its ``rows`` never decrease.
            numbers: ``[B]``, the number of each recording.
            shape: channels, height and width of a frame.
            num_steps: T.
            epoch: from 0.

        Raises:
            InputError: polarities are to be flipped where there is only one.
        """
        if self.flip_polarity and shape[0] != 2:
            raise InputError(f"flip_polarity is {self.flip_polarity}, but a frame has {shape[0]} polarity: set it to 0, or keep both")
        lengths = np.diff(np.searchsorted(batch.rows, np.arange(len(numbers) + 1, dtype=np.int32)))
        # A random number of 16 bits for every event and each of these.
        uses = [name for name in ("jitter", "time_jitter", "drop") if getattr(self, name)]
        whole, each = self._draw(numbers, lengths, len(uses), epoch)
        draws = dict(zip(uses, each, strict=True))

        steps, channels = batch.steps, batch.channels
        conditions = []
        if self.shift or self.jitter or self.flip_lr or self.flip_ud or self.flip_polarity:
            channels = self._move(channels, whole, draws.get("jitter"), lengths, shape)
            conditions.append(channels >= 0)
        if self.time_jitter:
            steps = steps + _moves_in_time(self.time_jitter).take(draws["time_jitter"])
            conditions += [steps >= 0, steps < num_steps]
        if self.drop:
            conditions.append(draws["drop"] >= self.drop * 65_536)
        if not conditions:
            return batch
        kept = np.flatnonzero(reduce(np.logical_and, conditions))
        return EventBatch(steps.take(kept), channels.take(kept), batch.rows.take(kept))

    def _move(
        self, channels: np.ndarray, whole: np.ndarray, each: np.ndarray | None, lengths: np.ndarray, shape: tuple[int, int, int]
    ) -> np.ndarray:
        """The channels after flips, shifts and jitter; -1 beside the sensor.

        Flips choose one of eight maps of the sensor onto a canvas; moves are additions there, and the canvas is so wide that none wraps.
        """
        canvas = _canvas(shape, self.shift + _furthest(self.jitter))
        chances = np.array([self.flip_lr, self.flip_ud, self.flip_polarity])
        flips = ((whole[:, :3] < chances * 65_536) * (1, 2, 4)).sum(1)
        if flips.any():
            channels = channels + np.repeat((flips * (len(canvas.places) // 8)).astype(np.int32), lengths)
        at = canvas.places.take(channels)
        dx, dy = (((whole[:, k].astype(np.int64) * (2 * self.shift + 1)) >> 16) - self.shift for k in (3, 4))
        right, down = int(shape[2] > 1), canvas.width * (shape[1] > 1)
        at += np.repeat((dy * down + dx * right).astype(np.int32), lengths)
        if each is not None:
            at += _moves_in_space(self.jitter, right, down).take(each)
        return canvas.channels.take(at)

    def _draw(self, numbers: np.ndarray, lengths: np.ndarray, rows: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Random numbers of 16 bits: ``[B, 8]`` for whole recordings, ``[rows, E]`` for their events."""
        whole = np.empty((len(numbers), 8), np.uint16)
        each = np.empty((rows, int(lengths.sum())), np.uint16)
        start = 0
        for k, (number, length) in enumerate(zip(numbers.tolist(), lengths.tolist(), strict=True)):
            # Philox is a function of a key and a counter: no two recordings or epochs share a number.
            words = -(-length // 4)
            drawn = np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 0, number]).random_raw(2 + rows * words).view(np.uint16)
            whole[k] = drawn[:8]
            each[:, start : start + length] = drawn[8:].reshape(rows, 4 * words)[:, :length]
            start += length
        return whole, each


class _Canvas(NamedTuple):
    """The sensor amid a margin.

    Attributes:
        places: ``[8 * C * H * W]``, where every channel lies after each combination of flips.
        channels: ``[C * H' * W']``, the channel of every place, -1 in the margin.
        width: W'.
    """

    places: np.ndarray
    channels: np.ndarray
    width: int


@lru_cache(maxsize=8)
def _canvas(shape: tuple[int, int, int], margin: int) -> _Canvas:
    polarities, height, width = shape
    wide, high = width + 2 * margin, height + 2 * margin
    p, y, x = np.mgrid[:polarities, :height, :width]

    def place(flips: int) -> np.ndarray:
        there_x = width - 1 - x if flips & 1 else x
        there_y = height - 1 - y if flips & 2 else y
        there_p = polarities - 1 - p if flips & 4 else p
        return ((there_p * high + there_y + margin) * wide + there_x + margin).ravel()

    places = np.concatenate([place(flips) for flips in range(8)]).astype(np.int32)
    channels = np.full(polarities * high * wide, -1, np.int32)
    channels[place(0)] = np.arange(x.size)
    return _Canvas(places, channels, wide)


def _furthest(sigma: float) -> int:
    """A normal number is rounded to one further away than this once in 150,000 times; there it is cut off."""
    return math.ceil(4.5 * sigma)


def _rounded_normal(sigma: float) -> np.ndarray:
    """The probability of every number from ``-_furthest`` to ``_furthest``."""
    edges = np.arange(-_furthest(sigma), _furthest(sigma)) + 0.5
    below = [0.5 * (1 + math.erf(edge / (sigma * math.sqrt(2)))) for edge in edges]
    return np.diff([0.0, *below, 1.0])


def _table(values: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """What each of 65,536 equally likely draws stands for, so that every value has its probability: ``[65536]``, int32."""
    which = np.searchsorted(np.cumsum(probabilities)[:-1], (np.arange(65_536) + 0.5) / 65_536)
    return values[which].astype(np.int32)


@lru_cache(maxsize=8)
def _moves_in_time(sigma: float) -> np.ndarray:
    return _table(np.arange(-_furthest(sigma), _furthest(sigma) + 1), _rounded_normal(sigma))


@lru_cache(maxsize=8)
def _moves_in_space(sigma: float, right: int, down: int) -> np.ndarray:
    """Moves along both axes at once; ``right`` and ``down`` are one pixel's, 0 where nothing moves."""
    moves = np.arange(-_furthest(sigma), _furthest(sigma) + 1)
    chances = _rounded_normal(sigma)
    return _table(np.add.outer(moves * down, moves * right).ravel(), np.multiply.outer(chances, chances).ravel())
