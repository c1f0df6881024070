"""Matrices that are zero almost everywhere, on the CPU: products of what is not zero."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import event_entries, outer_products, padded, row_entries, rows_times, turned
from polystep_snn.engine.loops.vectors import SQUARE
from polystep_snn.engine.threads import split
from polystep_snn.engine.workspace import Workspace

# Up to this share of numbers that are not zero the loops are faster than a dense product, and from so many numbers on.
_DENSITY, _NUMBERS = 0.3, 2**15
# Numbers that tell the density: so many pieces of so many. Inputs, and tiles of samples, that are worth a thread.
_PIECES, _PIECE, _INPUTS, _TILES = 16, 128, 64, 2


class Entries(NamedTuple):
    """The entries of a matrix ``[R, N]``, row by row.

    Attributes:
        starts: ``[R + 1]``.
        columns, values: at least ``[E]``; values None where all are 1.
        num_columns: N.
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray | None
    num_columns: int

    @classmethod
    def of(cls, x: Tensor, workspace: Workspace) -> "Entries | None":
        """Those of ``x [R, N]``, until the workspace is used again; None where a dense product is faster."""
        if x.numel() < _NUMBERS or not x.is_contiguous():
            return None
        given = x.numpy()
        sample = given.reshape(-1)[: x.numel() // _PIECES * _PIECES].reshape(_PIECES, -1)[:, :_PIECE]
        if np.count_nonzero(sample) > _DENSITY * sample.size:
            return None
        starts = np.empty(x.shape[0] + 1, np.int64)
        columns = workspace.take("columns", x.numel() + SQUARE, dtype=torch.int32).numpy().view(np.uint32)
        values = workspace.take("values", x.numel() + SQUARE, dtype=x.dtype).numpy()
        row_entries(given, starts, columns, values)
        return cls(starts, columns, values, x.shape[1])

    @classmethod
    def of_events(cls, places: Tensor, values: Tensor | None, num_rows: int, num_columns: int) -> "Entries":
        """Those of events at ``places [E]``, ``r N + n`` and in order; values None where all are 1."""
        starts, columns = np.empty(num_rows + 1, np.int64), np.empty(len(places), np.uint32)
        event_entries(places.numpy(), num_columns, starts, columns)
        return cls(starts, columns, None if values is None else values.numpy(), num_columns)

    def times(self, columns: np.ndarray, bias: Tensor, batch_size: int, out: Tensor) -> None:
        """What rows ``(u, b)`` drive a layer with, into ``out [U, M, B]``, with B padded.

        Args:
            columns: weights from ``turned_over``.
            bias: ``[M]``.
            batch_size: samples without padding.
        """
        tiles = out.shape[0] * -(-out.shape[2] // SQUARE)
        given = (self.starts, self.columns, self.values, columns, bias.numpy(), batch_size, out.numpy())
        split(rows_times, tiles, *given, grain=_TILES)

    def outer(self, left: Tensor, workspace: Workspace, row_of: np.ndarray | None = None) -> Tensor:
        """``left [M, R']`` times the matrix: ``[M, N]``; ``row_of [R]`` is the column of ``left`` that each row meets, None: its own."""
        out = torch.empty(left.shape[0], self.num_columns, dtype=left.dtype)
        given = (self.starts, self.columns, self.values, row_of, turned_over(left, workspace, "left"), out.numpy())
        split(outer_products, self.num_columns, *given, grain=_INPUTS)
        return out


def turned_over(x: Tensor, workspace: Workspace, name: str) -> np.ndarray:
    """``[M, N]`` as ``[N, M]``, padded to whole groups of lanes; in the workspace under a name."""
    out = workspace.take(name, x.shape[1], padded(x.shape[0]), dtype=x.dtype).numpy()
    split(turned, x.shape[0], x.contiguous().numpy(), out, grain=_INPUTS)
    return out
