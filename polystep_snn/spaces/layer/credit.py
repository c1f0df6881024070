r"""Learned credit: how a layer's consumer is likely to move when the layer's outputs are shifted, from what earlier steps have measured.

Each output of a layer has a partner among its consumer's inputs, the one that moves with it most (found by correlation over the steps). How
far it moves is learned for each output and for each of eight intervals of the output's value: the slope of whatever lies between, such as
an activation. Where slopes v at the consumer's inputs are known, those at the outputs are predicted,

    p[b, j] = s[j, interval(o[b, j])] v[b, partner(j)]

and what a step measures corrects the prediction (``estimate.py``). All of it comes from earlier steps and from the unprobed pass: it
knows nothing of the directions that are drawn.
"""

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.spaces.layer.arithmetic import Arithmetic

# How much of the past stays: of movements and correlations, of the measured coefficient.
_KEEP, _KEEP_SHARE = 0.99, 0.95
# By how much another partner must move more than the present one: noise shall not change it.
_CLEARLY = 1.5
# Samples in an interval below which it has the slope of all.
_FEW = 20
# Pairs of an output and a consumer's input that are looked at.
_MOST_PAIRS = 2**22


class LayerCredit:
    """The prediction for one layer of n outputs, whose consumer has k inputs.

    Attributes:
        partners: ``[n]``, which of the consumer's inputs each output moves; None before anything was measured.
    """

    def __init__(self) -> None:
        self.partners: Tensor | None = None
        self._named: dict[str, Tensor] = {}
        self._table: Tensor | None = None

    def table(self, num_outputs: int, num_inputs: int) -> Tensor | None:
        """How far each output's partner moves, ``[n, intervals]``; None before the first step."""
        if self.partners is None or self._named["correlation"].shape != (num_outputs, num_inputs):
            return None
        if self._table is None:
            self._table = self._slopes()
        return self._table

    def learn(self, intervals: Tensor, directions: Tensor, moved: Tensor, scale: Tensor, arithmetic: Arithmetic) -> None:
        """From one step.

        Args:
            intervals: ``[B, n]``, in which each output lies.
            directions: ``[D, B, n]``, signs.
            moved: ``[D, B, k]``, how the consumer's inputs moved along each of them.
            scale: of the shift that moved them.
        """
        if not 0 < intervals.shape[1] * moved.shape[2] <= _MOST_PAIRS:
            return
        found = directions.flatten(0, 1).T @ moved.flatten(0, 1) / (directions.shape[0] * directions.shape[1] * scale)
        known, old = self._named, self.partners
        if old is None or known["correlation"].shape != found.shape:
            known, old = {"correlation": found}, None
        else:
            known["correlation"].lerp_(found, 1 - _KEEP)
        size = known["correlation"].abs()
        strength, partners = size.max(1)
        if old is not None:
            partners = torch.where(strength > _CLEARLY * size.gather(1, old[:, None])[:, 0], partners, old)
        count, total, noise = arithmetic.movements(intervals, directions, moved, partners, scale)
        if old is not None:
            # What was found of another partner says nothing of this one.
            kept = _KEEP * (partners == old)[:, None]
            count, total, noise = kept * known["count"] + count, kept * known["moved"] + total, known["noise"].lerp(noise, 1 - _KEEP)
        self.partners, self._named, self._table = partners, known | {"count": count, "moved": total, "noise": noise}, None

    def _slopes(self) -> Tensor:
        """``[n, intervals]``, held back by as much as it may be noise (James and Stein)."""
        count, moved = self._named["count"], self._named["moved"]
        hits = count.sum(1)
        own = moved.sum(1) / hits.clamp(min=1)
        own = own * (1 - self._named["noise"] / (hits * own.square()).clamp(min=1e-30)).clamp(min=0)
        return torch.where(own[:, None] == 0, 0, (moved + _FEW * own[:, None]) / (count + _FEW))

    def state(self) -> dict[str, Tensor]:
        return {} if self.partners is None else {"partners": self.partners, **self._named}

    def load(self, state: dict[str, Tensor]) -> None:
        partners, num_inputs = state["partners"], state["correlation"].shape[1]
        if bool(((partners < 0) | (partners >= num_inputs)).any()):
            raise InputError(f"the state of a LayerStep is damaged: a layer with {num_inputs} inputs has no other ones")
        self.partners, self._table = partners, None
        self._named = {name: x for name, x in state.items() if name != "partners"}


class Share:
    """How much of the prediction is believed: the measured coefficient of a control variate, from 0 to 1."""

    def __init__(self) -> None:
        self.both = torch.zeros(2, dtype=torch.float64)

    def of(self, measured: Tensor, predicted: Tensor) -> float:
        """For slopes along directions ``[D, B]`` as they were measured and as they were predicted; remembers them."""
        product, norm = self.both.tolist()
        now = torch.stack([(measured * predicted).mean(), (predicted * predicted).mean()]).to(self.both)
        self.both = _KEEP_SHARE * self.both + (1 - _KEEP_SHARE) * now
        return min(1.0, max(0.0, product / norm)) if norm > 0 else 0.0
