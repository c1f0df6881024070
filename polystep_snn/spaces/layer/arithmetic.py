"""What is computed between forward passes, for every output of every sample: by torch, or by compiled loops on a CPU.

Shapes: D directions, C calls, B samples, n outputs of a layer, k inputs of the one that consumes them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.compiled import kernels_on
from polystep_snn.spaces.layer.pairs import Pairs

# Intervals of an output's value.
INTERVALS = 8
# How wide they are, in root mean squares of the outputs: the outer ones are open, 0 lies between two of them.
_WIDTH, _TINY = 2 / 3, 1e-30
# How much of the past learned credit keeps, and by how much another partner must move more than the present one: noise shall not change it.
_KEEP, _CLEARLY = 0.99, 1.5
# Samples in an interval below which it has the slope of all.
_FEW = 20


class Seen(NamedTuple):
    """What a step has seen of a layer's outputs.

    Attributes:
        intervals: ``[B, n]`` uint8, in which each output lies.
        directions: ``[D, B, n]``, signs.
        scale: of a shift by one.
        own: ``[D, B, n]``, how the outputs moved.
        moved, slopes: how the consumer's inputs moved, ``[D, C, B, k]``, and their slopes, ``[C, B, k]``.
    """

    intervals: Tensor
    directions: Tensor
    scale: Tensor
    own: Tensor
    moved: Tensor
    slopes: Tensor

    @property
    def moved_once(self) -> Tensor:
        """``[D, B, k]``, of all calls together."""
        return self.moved[:, 0] if self.moved.shape[1] == 1 else self.moved.sum(1)


@dataclass(frozen=True)
class Known:
    """What learned credit has learned, changed in place.

    Attributes:
        partners: ``[n]``, which of the consumer's inputs each output moves.
        correlation: ``[n, k]``, of directions with what moved.
        count, moved: ``[n, intervals]``, how many outputs were in an interval, and how far their partners moved.
        noise: ``[]``, mean square of all that moved.
    """

    partners: Tensor
    correlation: Tensor
    count: Tensor
    moved: Tensor
    noise: Tensor


class Eager:
    """By torch, anywhere."""

    def signs(self, numbers: Tensor, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """-1 or 1, a bit of ``numbers`` int64 each."""
        count = int(np.prod(shape))
        bits = np.unpackbits(numbers.numpy().view(np.uint8), count=count, bitorder="little").reshape(shape)
        return torch.from_numpy(bits).to(like).mul_(2).sub_(1)

    def measured(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Of outputs ``[B, n]``, their standard deviation, all together, and in which interval each lies, ``[B, n]`` uint8."""
        width = (outputs.square().mean().sqrt() * _WIDTH).clamp(min=_TINY)
        return outputs.std(), (outputs / width + INTERVALS / 2).clamp_(0, INTERVALS - 1).to(torch.uint8)

    def entropy(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Of cross-entropies of outputs ``[B, C]`` and classes ``[B]`` the mean, the share of right ones, and the slopes ``[B, C]``; None
        where the loss has to be asked."""
        return None

    def slopes(self, seen: Seen, table: Tensor | None, partners: Tensor | None, pairs: Pairs | None) -> Tensor:
        """``[B, n]`` at a layer's outputs, as ``estimate.py`` says.

        Args:
            table: ``[n, intervals]``, how far each output's partner moves, by learned credit; None before anything was learned.
            partners: ``[n]``, among the consumer's inputs.
            pairs: which of them each output reaches; None for all.
        """
        rest, predicted = (seen.slopes * seen.moved).sum(1), None
        if table is not None and partners is not None:
            movement, behind = table.gather(1, seen.intervals.T.long()).T, seen.slopes.mean(0)
            predicted = movement * behind[:, partners]
            explained = torch.zeros_like(rest).index_add_(2, partners, movement * seen.own)
            rest = torch.addcmul(rest, behind, explained, value=-1)
        estimate = (seen.directions * _reached(rest, pairs)).mean(0) / seen.scale
        return estimate if predicted is None else estimate.add_(predicted)

    def learn(self, known: Known, found: Tensor, seen: Seen) -> None:
        """Learn from another step, in which the correlations were ``found``, ``[n, k]``."""
        moved = seen.moved_once
        size = known.correlation.lerp_(found, 1 - _KEEP).abs()
        strength, partners = size.max(1)
        partners = torch.where(strength > _CLEARLY * size.gather(1, known.partners[:, None])[:, 0], partners, known.partners)
        along, places = (seen.directions * moved[..., partners]).mean(0) / seen.scale, seen.intervals.T.long()
        # What was found of another partner says nothing of this one.
        kept = _KEEP * (partners == known.partners).to(along)[:, None]
        known.partners.copy_(partners)
        known.count.mul_(kept).scatter_add_(1, places, torch.ones_like(along).T)
        known.moved.mul_(kept).scatter_add_(1, places, along.T)
        known.noise.lerp_(moved.square().mean() / seen.scale.square(), 1 - _KEEP)

    def table(self, known: Known) -> Tensor:
        """``[n, intervals]``, how far partners move, held back by as much as it may be noise (James and Stein)."""
        hits = known.count.sum(1)
        own = known.moved.sum(1) / hits.clamp(min=1)
        own = own * (1 - known.noise / (hits * own.square()).clamp(min=_TINY)).clamp(min=0)
        return torch.where(own[:, None] == 0, 0, (known.moved + _FEW * own[:, None]) / (known.count + _FEW))


class Loops(Eager):
    """By loops that numba compiles, float32 or float64."""

    def __init__(self) -> None:
        # numba takes a second to load.
        from polystep_snn.engine.loops import outputs

        self._loops = outputs

    def signs(self, numbers: Tensor, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        signs = like.new_empty(shape)
        self._loops.signs_of(numbers.numpy(), signs.view(-1).numpy())
        return signs

    def measured(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        given, intervals = _array(outputs), torch.empty(outputs.shape, dtype=torch.uint8)
        return outputs.new_tensor(self._loops.measured(given, _WIDTH, _TINY, given.dtype.type(INTERVALS - 1), intervals.numpy())), intervals

    def entropy(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        slopes = output.new_empty(output.shape)
        mean, right = self._loops.cross_entropy(_array(output), _array(target), slopes.numpy())
        if right < 0 or not math.isfinite(mean):
            return None
        mean, share = output.new_tensor((mean, right / len(target)))
        return mean, share, slopes

    def slopes(self, seen: Seen, table: Tensor | None, partners: Tensor | None, pairs: Pairs | None) -> Tensor:
        whole = (seen.moved.shape[-1], seen.own.shape[-1])
        if table is None or partners is None or (pairs is not None and pairs.matrix.shape != whole):
            return super().slopes(seen, table, partners, pairs)
        estimate = seen.own.new_empty(seen.own.shape[1:])
        directions = _array(seen.directions)
        factor = directions.dtype.type(1 / (len(directions) * seen.scale.item()))
        given = tuple(map(_array, (table, seen.intervals, partners, seen.slopes, seen.moved, seen.own)))
        if pairs is not None and pairs.few is not None:
            self._loops.followed(*given, directions, *pairs.few, factor, estimate.numpy())
            return estimate
        predicted, rest = torch.empty_like(estimate), seen.moved.new_empty(len(directions), *seen.moved.shape[2:])
        self._loops.unexplained(*given, predicted.numpy(), rest.numpy())
        reached = _reached(rest, pairs).expand_as(seen.directions)
        self._loops.corrected(predicted.numpy(), directions, _array(reached), factor, estimate.numpy())
        return estimate

    def learn(self, known: Known, found: Tensor, seen: Seen) -> None:
        moved = _array(seen.moved_once)
        kind = moved.dtype.type
        rules = (kind(1 / seen.scale.item()), kind(_KEEP), kind(_CLEARLY))
        changed = (known.correlation, known.partners, known.count, known.moved, known.noise.view(1))
        self._loops.learn(*map(_array, (found, seen.intervals, seen.directions)), moved, *rules, *(x.numpy() for x in changed))

    def table(self, known: Known) -> Tensor:
        table = known.moved.new_empty(known.moved.shape)
        self._loops.table_of(_array(known.count), _array(known.moved), known.noise.item(), _FEW, _TINY, table.numpy())
        return table


def _reached(rest: Tensor, pairs: Pairs | None) -> Tensor:
    """``[D, B, n or 1]``, the sum of ``rest`` ``[D, B, k]`` over the inputs that each output reaches."""
    return rest.sum(2, keepdim=True) if pairs is None else rest @ pairs.matrix


def _array(x: Tensor) -> Any:
    """Contiguous, so that there is one compiled loop, not one for every order in memory."""
    return x.contiguous().numpy()


def arithmetic_for(tensors: Iterable[Any], compile: bool) -> Eager:
    """What computes for outputs and inputs of layers: compiled loops where all those that are no integers are alike."""
    kinds = {(x.device, x.dtype) for x in tensors if isinstance(x, Tensor) and x.is_floating_point()}
    return _arithmetic_on(*kinds.pop(), compile) if len(kinds) == 1 else Eager()


@lru_cache
def _arithmetic_on(device: torch.device, dtype: torch.dtype, compile: bool) -> Eager:
    return Loops() if device.type == "cpu" and kernels_on(device, dtype, compile).loops else Eager()
