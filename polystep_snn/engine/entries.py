"""Matrices that are zero almost everywhere, on the CPU: products of what is not zero."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import column_entries, outer_products, row_entries, rows_times, turned
from polystep_snn.engine.loops.lanes import padded
from polystep_snn.engine.loops.vectors import SQUARE
from polystep_snn.engine.threads import split

# Up to this share of numbers that are not zero the loops are faster than a dense product, and from so many numbers on.
_DENSITY, _NUMBERS = 0.3, 2**15
# Numbers that tell the density: so many pieces of so many. Inputs that are worth a thread.
_PIECES, _PIECE, _GRAIN = 16, 128, 64


class Entries(NamedTuple):
    """The entries of a matrix ``[R, N]``, row by row.

    Attributes:
        starts: ``[R + 1]``.
        columns, values: at least ``[E]``.
        shape: R and N.
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, x: Tensor) -> "Entries | None":
        """Those of ``x [R, N]``; None where a dense product is faster."""
        if x.numel() < _NUMBERS or not x.is_contiguous():
            return None
        given = x.numpy()
        sample = given.reshape(-1)[: x.numel() // _PIECES * _PIECES].reshape(_PIECES, -1)[:, :_PIECE]
        if np.count_nonzero(sample) > _DENSITY * sample.size:
            return None
        starts = np.empty(len(x) + 1, np.int64)
        columns, values = np.empty(x.numel() + SQUARE, np.uint32), np.empty(x.numel() + SQUARE, given.dtype)
        row_entries(given, starts, columns, values)
        return cls(starts, columns, values, given.shape)

    def times(self, weight: Tensor, bias: Tensor, batch_size: int) -> Tensor:
        """What rows ``(u, b)`` drive a layer with, ``[U, M, B]``, for weights ``[M, N]`` and biases ``[M]``."""
        out = weight.new_empty(self.shape[0] // batch_size, len(weight), batch_size)
        tiles = len(out) * -(-batch_size // SQUARE)
        split(rows_times, tiles, self.starts, self.columns, self.values, _turned(weight), bias.numpy(), out.numpy(), grain=4)
        return out

    def outer(self, left: Tensor) -> Tensor:
        """``left [M, R]`` times the matrix: ``[M, N]``."""
        num_entries, num_inputs = int(self.starts[-1]), self.shape[1]
        starts = np.empty(num_inputs + 1, np.int64)
        rows, values = np.empty(num_entries, np.uint32), np.empty(num_entries, self.values.dtype)
        column_entries(self.starts, self.columns, self.values, starts, rows, values)
        out = torch.empty(len(left), num_inputs, dtype=left.dtype)
        split(outer_products, num_inputs, starts, rows, values, _turned(left), out.numpy(), grain=_GRAIN)
        return out


def _turned(x: Tensor) -> np.ndarray:
    """``[M, N]`` as ``[N, M]``, padded to whole groups of lanes."""
    # torch's memory begins at a cache line; numpy's does not, and then every second row of lanes lies in two.
    out = torch.empty(x.shape[1], padded(len(x)), dtype=x.dtype).numpy()
    split(turned, len(x), x.contiguous().numpy(), out, grain=_GRAIN)
    return out
