"""A batch's input, one timestep after the other: what encoders and recordings give, and networks take.

``Frames`` are made while they are iterated over, so that nobody holds a batch's ``[T, B, N]``. Two kinds know something that saves work:
``Constant`` frames are all the same, and ``EventFrames`` are zero almost everywhere. In a recording of an event camera
few pixels are on in a step (of N-MNIST in 30 frames one in twenty): only their weights are added up.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise, repeat
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from polystep_snn.errors import InputError

LONGEST_BLOCK = 16


class Frames(Iterable[Tensor]):
    """``num_steps`` frames ``[B, N]``, made one at a time while they are iterated over, once."""

    def __init__(self, frames: Iterable[Tensor], num_steps: int):
        self._frames = frames
        self._num_steps = num_steps

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._frames)

    def samples(self, rows: slice) -> "Frames":
        """Some samples of the batch, those of the given rows, one after the other."""
        return Frames((frame[rows] for frame in self), len(self))


class Constant(Frames):
    """``num_steps`` times the same ``current: [B, N]``. Known to be constant, so its products are computed once."""

    def __init__(self, current: Tensor, num_steps: int):
        super().__init__((), num_steps)
        self.current = current

    def __iter__(self) -> Iterator[Tensor]:
        return repeat(self.current, len(self))

    def samples(self, rows: slice) -> "Constant":
        return Constant(self.current[rows], len(self))


class EventMatrix(NamedTuple):
    """A matrix ``[R, N]`` that is zero almost everywhere, in the order of its columns.

    Attributes:
        rows: ``[E]``, of every entry.
        starts: ``[N]``, where the entries of each column begin.
        values: ``[E]``; None where all are 1.
    """

    rows: Tensor
    starts: Tensor
    values: Tensor | None

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, values: Tensor | None, num_columns: int) -> "EventMatrix":
        """From its entries, in any order; those at the same place are added up."""
        columns, order = columns.sort(stable=True)
        starts = torch.searchsorted(columns, torch.arange(num_columns, dtype=columns.dtype, device=columns.device))
        return cls(rows[order], starts.to(rows.dtype), None if values is None else values[order])

    def transposed_times(self, x: Tensor) -> Tensor:
        """``[N, K]`` for ``x [R, K]``."""
        return embedding_bag(self.rows, x, self.starts, mode="sum", per_sample_weights=self.values)


class EventBlock(NamedTuple):
    """U steps of ``EventFrames``.

    Attributes:
        places: ``[E]``, ``(u B + b) N + n`` of every number that is not 0, strictly increasing.
        values: ``[E]``, these numbers; None where all are 1.
        shape: U, B and N.
        dtype: of the frames.
    """

    places: Tensor
    values: Tensor | None
    shape: tuple[int, int, int]
    dtype: torch.dtype

    def times(self, columns: Tensor) -> Tensor:
        """The frames times weights ``[N, M]``, one row an input: ``[U, B, M]``."""
        num_steps, batch_size, num_inputs = self.shape
        rows = torch.arange(num_steps * batch_size, device=self.places.device) * num_inputs
        starts = torch.searchsorted(self.places, rows.to(self.places.dtype)).to(self.places.dtype)
        found = embedding_bag(self.places % num_inputs, columns, starts, mode="sum", per_sample_weights=self.values)
        return found.view(num_steps, batch_size, -1)

    def matrix(self) -> EventMatrix:
        """The frames as ``[U B, N]``."""
        num_inputs = self.shape[2]
        return EventMatrix.of(self.places // num_inputs, self.places % num_inputs, self.values, num_inputs)


class EventFrames(Frames):
    """Frames that are zero almost everywhere. They can be iterated over more than once.

    Args:
        places: ``[E]`` int32 or int64, ``(t B + b) N + n`` of every number that is not 0, strictly increasing.
        shape: T, B and N.
        values: ``[E]``, these numbers; None where all are 1.
        dtype: of the frames, where all numbers are 1.

    Raises:
        InputError: no frames; places that are not in order or not in them; values that are not as many, or not finite.
    """

    def __init__(self, places: Tensor, shape: tuple[int, int, int], values: Tensor | None = None, dtype: torch.dtype = torch.float32):
        super().__init__((), shape[0])
        if min(shape) < 1:
            raise InputError(f"events are in frames of shape {list(shape)}: give at least one step, one sample and one input")
        if places.ndim != 1 or places.dtype not in (torch.int32, torch.int64):
            raise InputError(f"the places of events are {places.dtype} {list(places.shape)}: give int32 or int64, one an event")
        if len(places) and not (places[0] >= 0 and places[-1] < prod(shape) and (places[1:] > places[:-1]).all()):
            raise InputError(f"the places of events do not increase from 0 to {prod(shape) - 1}: sort them, and name each place once")
        if values is not None and not (values.shape == places.shape and values.isfinite().all()):
            raise InputError(f"{len(places)} events have {list(values.shape)} values, or one that is NaN or infinite: give a number each")
        self.places, self.shape, self.values = places, shape, values
        self.dtype = dtype if values is None else values.dtype

    def __iter__(self) -> Iterator[Tensor]:
        _, batch_size, num_inputs = self.shape
        for step in range(len(self)):
            places, values, *_ = self.block(step, step + 1)
            frame = torch.zeros(batch_size * num_inputs, dtype=self.dtype, device=places.device)
            frame[places.long()] = 1.0 if values is None else values
            yield frame.view(batch_size, num_inputs)

    def block(self, start: int, end: int) -> EventBlock:
        """The steps from ``start`` to ``end``."""
        _, batch_size, num_inputs = self.shape
        first, behind = (step * batch_size * num_inputs for step in (start, end))
        cut = slice(*torch.searchsorted(self.places, self.places.new_tensor([first, behind])).tolist())
        values = None if self.values is None else self.values[cut]
        return EventBlock(self.places[cut] - first, values, (end - start, batch_size, num_inputs), self.dtype)

    def windowed(self, shares: Tensor) -> EventMatrix:
        """What arrives in each of M time windows: ``[M B, N]``.

        Args:
            shares: ``[T, M]``, how much of each step belongs to each window.
        """
        _, batch_size, num_inputs = self.shape
        steps, windows = shares.nonzero(as_tuple=True)
        count = torch.bincount(steps, minlength=len(shares))
        step = self.places // (batch_size * num_inputs)
        # An event is an entry for every window that its step belongs to: the first of them, and so many after it.
        times = count[step]
        event = torch.arange(len(step), device=step.device).repeat_interleave(times)
        nth = torch.arange(len(event), device=step.device) - (times.cumsum(0) - times)[event]
        pair = (count.cumsum(0) - count)[step[event]] + nth
        row, column = self.places // num_inputs % batch_size, self.places % num_inputs
        share, values = shares[steps, windows], None
        if self.values is not None or not (share == 1).all():
            values = share[pair] * (1 if self.values is None else self.values[event])
        return EventMatrix.of((windows[pair] * batch_size + row[event]).to(row.dtype), column[event], values, num_inputs)

    def samples(self, rows: slice) -> "EventFrames":
        num_steps, batch_size, num_inputs = self.shape
        first, behind, _ = rows.indices(batch_size)
        sample = self.places // num_inputs % batch_size
        kept = (sample >= first) & (sample < behind)
        row = self.places[kept] // num_inputs
        count = behind - first
        places = (row // batch_size * count + row % batch_size - first) * num_inputs + self.places[kept] % num_inputs
        return EventFrames(places, (num_steps, count, num_inputs), None if self.values is None else self.values[kept], self.dtype)


def with_blank_steps(frames: Frames, count: int) -> Frames:
    """A batch's input, and ``count`` steps without any behind it."""
    if not count:
        return frames
    total = len(frames) + count
    if isinstance(frames, EventFrames):
        _, batch_size, num_inputs = frames.shape
        return EventFrames(frames.places, (total, batch_size, num_inputs), frames.values, frames.dtype)
    return Frames(_then_blank(frames, count), total)


def _then_blank(frames: Frames, count: int) -> Iterator[Tensor]:
    for frame in frames:
        yield frame
    yield from repeat(torch.zeros_like(frame), count)


def num_blocks(total: int) -> int:
    """How many blocks a sequence is cut into: as few as there can be, or up to a quarter more where all are then equally long."""
    fewest = -(-total // LONGEST_BLOCK)
    return next((count for count in range(fewest, fewest * 5 // 4 + 1) if total % count == 0), fewest)


def check_block(block: Tensor | EventBlock | EventFrames, batch_size: int, num_inputs: int, dtype: torch.dtype) -> None:
    """InputError unless a block holds what a network takes for so many targets."""
    given, expected = list(block.shape[1:]), [batch_size, num_inputs]
    if given != expected or block.dtype != dtype:
        raise InputError(f"inputs are {block.dtype} {given} a step: give {dtype} {expected}")


def time_blocks(inputs: Frames | Tensor, sparse: bool = False) -> Iterator[tuple[int, int, Tensor | EventBlock]]:
    """A sequence in blocks of (nearly) equal length, at most ``LONGEST_BLOCK`` steps each, made one after the other.

    Args:
        inputs: the sequence.
        sparse: leave ``EventFrames`` as they are.

    Yields:
        The first step, the number of steps U, and the frames ``[U, B, N]``; ``[1, B, N]`` where the input is constant.

    Raises:
        InputError: more or fewer frames than announced, or of different shapes or dtypes.
    """
    total = len(inputs)
    count = num_blocks(total)
    frames = checked_frames(inputs)
    for start, end in pairwise(total * k // count for k in range(count + 1)):
        if isinstance(inputs, Constant):
            yield start, end - start, inputs.current[None]
        elif sparse and isinstance(inputs, EventFrames):
            yield start, end - start, inputs.block(start, end)
        else:
            yield start, end - start, torch.stack(list(islice(frames, end - start)))
    if not isinstance(inputs, Constant | EventFrames):
        next(frames, None)


def checked_frames(inputs: Frames | Tensor) -> Iterator[Tensor]:
    """The frames of a sequence, ``[B, N]``, one after the other.

    Raises:
        InputError: more or fewer frames than announced, or of different shapes or dtypes.
    """
    total, count = len(inputs), 0
    kind = None
    for frame in inputs:
        if count == total:
            raise InputError(f"the input goes on after the {total} timesteps that it announced: give as many frames as its length says")
        frame = frame.flatten(1)
        kind = kind or (frame.shape, frame.dtype)
        if (frame.shape, frame.dtype) != kind:
            raise InputError("the frames of the input differ in shape or dtype: give [B, N] alike in every step")
        yield frame
        count += 1
    if count < total:
        raise InputError(f"the input ended after {count} of {total} timesteps: frames can be iterated over once")
