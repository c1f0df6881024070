"""What is computed between forward passes, for every output of every sample: by torch, or by compiled loops on a CPU.

Shapes: D directions, C calls, B samples, n outputs of a layer, k inputs of the one that consumes them.
"""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.compiled import kernels_on

# Intervals of an output's value.
INTERVALS = 8
# How wide they are, in root mean squares of the outputs: the outer ones are open, 0 lies between two of them.
_WIDTH = 2 / 3
_TINY = 1e-30


class Arithmetic(Protocol):
    """One way to compute it."""

    def measured(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Of outputs ``[B, n]``, their standard deviation, all together, and in which interval each lies, ``[B, n]`` uint8."""
        ...

    def unexplained(
        self, table: Tensor, intervals: Tensor, partners: Tensor, slopes: Tensor, moved: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What learned credit predicts, ``[B, n]``, and what of the consumer's movements it leaves, ``[D, B, k]``.

        Args:
            table: ``[n, intervals]``, how far each output's partner moves.
            partners: ``[n]``, among the consumer's inputs.
            slopes, moved: of the consumer's inputs, ``[C, B, k]`` and ``[D, C, B, k]``.
            own: ``[D, B, n]``, how the outputs moved.
        """
        ...

    def corrected(self, predicted: Tensor, directions: Tensor, seen: Tensor, scale: Tensor) -> Tensor:
        """Slopes ``[B, n]``: what was predicted, and what every direction ``[D, B, n]`` saw, ``[D, B, n or 1]``."""
        ...

    def movements(
        self, intervals: Tensor, directions: Tensor, moved: Tensor, partners: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """How many outputs were in each interval, how far their partners moved, both ``[n, intervals]``, and the mean square of all that
        moved, ``[D, B, k]``; all by one unit of a shift."""
        ...


class Eager:
    """By torch, anywhere."""

    def measured(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        width = (outputs.square().mean().sqrt() * _WIDTH).clamp(min=_TINY)
        return outputs.std(), (outputs / width + INTERVALS / 2).clamp_(0, INTERVALS - 1).to(torch.uint8)

    def unexplained(
        self, table: Tensor, intervals: Tensor, partners: Tensor, slopes: Tensor, moved: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        movement, behind, rest = table.gather(1, intervals.T.long()).T, slopes.mean(0), (slopes * moved).sum(1)
        explained = torch.zeros_like(rest).index_add_(2, partners, movement * own)
        return movement * behind[:, partners], torch.addcmul(rest, behind, explained, value=-1)

    def corrected(self, predicted: Tensor, directions: Tensor, seen: Tensor, scale: Tensor) -> Tensor:
        return predicted + (directions * seen).mean(0) / scale

    def movements(
        self, intervals: Tensor, directions: Tensor, moved: Tensor, partners: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        along, places = (directions * moved[..., partners]).mean(0) / scale, intervals.T.long()
        count, total = along.new_zeros(2, len(partners), INTERVALS)
        count.scatter_add_(1, places, torch.ones_like(along).T)
        total.scatter_add_(1, places, along.T)
        return count, total, moved.square().mean() / scale.square()


class Loops:
    """By loops that numba compiles, float32 or float64."""

    def __init__(self) -> None:
        # numba takes a second to load.
        from polystep_snn.engine.loops import outputs

        self._loops = outputs

    def measured(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        given, intervals = _array(outputs), torch.empty(outputs.shape, dtype=torch.uint8)
        kind = given.dtype.type
        spread, size = self._loops.spread_of(given)
        self._loops.intervals_of(given, kind(max(size * _WIDTH, _TINY)), kind(INTERVALS - 1), intervals.numpy())
        return outputs.new_tensor(spread), intervals

    def unexplained(
        self, table: Tensor, intervals: Tensor, partners: Tensor, slopes: Tensor, moved: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        predicted, rest = own.new_empty(own.shape[1:]), moved.new_empty(len(moved), *moved.shape[2:])
        self._loops.unexplained(*map(_array, (table, intervals, partners, slopes, moved, own, predicted, rest)))
        return predicted, rest

    def corrected(self, predicted: Tensor, directions: Tensor, seen: Tensor, scale: Tensor) -> Tensor:
        estimate, given = predicted.new_empty(predicted.shape), _array(predicted)
        factor = given.dtype.type(1 / (len(directions) * scale.item()))
        self._loops.corrected(given, _array(directions), _array(seen.expand_as(directions)), factor, estimate.numpy())
        return estimate

    def movements(
        self, intervals: Tensor, directions: Tensor, moved: Tensor, partners: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        given, unit = _array(moved), scale.item()
        both = np.zeros((2, len(partners), INTERVALS), given.dtype)
        factor = given.dtype.type(1 / (len(moved) * unit))
        square = self._loops.movements(_array(intervals), _array(directions), given, _array(partners), factor, both[0], both[1])
        count, total = torch.from_numpy(both)
        return count, total, moved.new_tensor(square / unit**2)


def _array(x: Tensor) -> Any:
    """Contiguous, so that there is one compiled loop, not one for every order in memory."""
    return x.contiguous().numpy()


@lru_cache
def arithmetic_on(device: torch.device, dtype: torch.dtype, compile: bool) -> Arithmetic:
    """What computes for outputs on a device."""
    return Loops() if device.type == "cpu" and kernels_on(device, dtype, compile).loops else Eager()
