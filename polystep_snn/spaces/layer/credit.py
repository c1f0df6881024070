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
from polystep_snn.spaces.layer.arithmetic import INTERVALS, Eager, Known, Seen

# How much of the past stays, of the measured coefficient.
_KEEP_SHARE = 0.95
# Pairs of an output and a consumer's input that are looked at.
_MOST_PAIRS = 2**22


class LayerCredit:
    """The prediction for one layer of n outputs, whose consumer has k inputs."""

    def __init__(self) -> None:
        self._known: Known | None = None
        self._table: Tensor | None = None

    @property
    def partners(self) -> Tensor | None:
        """``[n]``, which of the consumer's inputs each output moves; None before anything was measured."""
        return None if self._known is None else self._known.partners

    def table(self, num_outputs: int, num_inputs: int, arithmetic: Eager) -> Tensor | None:
        """How far each output's partner moves, ``[n, intervals]``; None before the first step."""
        if self._known is None or self._known.correlation.shape != (num_outputs, num_inputs):
            return None
        if self._table is None:
            self._table = arithmetic.table(self._known)
        return self._table

    def learn(self, seen: Seen, arithmetic: Eager) -> None:
        """From one step."""
        (num_directions, num_samples, num_outputs), num_inputs = seen.directions.shape, seen.moved.shape[3]
        if not 0 < num_outputs * num_inputs <= _MOST_PAIRS:
            return
        moved = seen.moved_once.flatten(0, 1)
        found = seen.directions.flatten(0, 1).T @ moved / (num_directions * num_samples * seen.scale)
        if self._known is None or self._known.correlation.shape != found.shape:
            count, total = (found.new_zeros(num_outputs, INTERVALS) for _ in range(2))
            noise = moved.square().mean() / seen.scale.square()
            self._known = Known(found.abs().argmax(1), found.clone(), count, total, noise)
        arithmetic.learn(self._known, found, seen)
        self._table = None

    def state(self) -> dict[str, Tensor]:
        return {} if self._known is None else dict(vars(self._known))

    def load(self, state: dict[str, Tensor]) -> None:
        known = Known(**state)
        num_inputs = known.correlation.shape[1]
        if bool(((known.partners < 0) | (known.partners >= num_inputs)).any()):
            raise InputError(f"the state of a LayerStep is damaged: a layer with {num_inputs} inputs has no other ones")
        self._known, self._table = known, None


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
