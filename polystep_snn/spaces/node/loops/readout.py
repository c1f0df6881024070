"""The readout and its costs by compiled loops: of the network, of its probes, and of those of the last layer that fires."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from polystep_snn.engine.loops import entropy, entropy_of_changes, entropy_of_outputs, entropy_of_shifts
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import Cost, CrossEntropy
from polystep_snn.snn.neurons import LIFState
from polystep_snn.spaces.node.last_hop import LinearEnd, NeuronEnd
from polystep_snn.spaces.node.loops.arrays import Probing
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.populations import Population

# Neurons, and probes with all their classes, that are worth a thread.
_GRAIN, _OUTPUTS = 8, 16


class Readout:
    """What one batch's readout is, and what it costs.

    Args:
        end: of the network, as it is now.
        weight: of its last layer.
        last: the last layer that fires, after all steps.
        target: ``[B]``.
        cost: of a readout.
        live: ``[B]`` padded, 1 for samples and 0 for padding.

    Attributes:
        value: ``[C, B]`` padded, as the cost sees it.
        own: ``[B]`` padded, its costs.
        classes: the targets, int32, padded; ``quick``: as of ``engine.loops.costs``.
        loss, right: the sum of the costs, and how many samples are right.
    """

    def __init__(self, end: LinearEnd | NeuronEnd, weight: Tensor, last: LoopLayer, target: Tensor, cost: Cost, live: np.ndarray):
        self.end, self.weight, self.target, self.cost = end, weight, target, cost
        self._last = last
        self._summed = isinstance(end, LinearEnd) and end.wiring.is_matrix and type(cost) is CrossEntropy
        value = torch.mm(weight, last.base.trace) if self._summed else end.value([weight], last.base).contiguous()
        self.value = value
        if type(cost) is CrossEntropy:
            self._entropy(cost, live)
            return
        real = value[:, : len(target)]
        own = cost(real, target)
        self.own = pad(own, (0, len(live) - len(own)))
        self.loss, self.right = float(own.sum()), float((real.argmax(0) == target).sum())

    def _entropy(self, cost: CrossEntropy, live: np.ndarray) -> None:
        values = self.value.numpy()
        kind = values.dtype.type
        self.quick = True if kind is np.float32 else None
        self.classes = np.zeros(len(live), np.int32)
        self.classes[: len(self.target)] = self.target.numpy()
        self._limit = _limit_of(kind, len(values))
        self._logits, self._odds, own = np.empty_like(values), np.empty_like(values), np.empty(len(live), kind)
        bias, unit = None, kind(1)
        if self._summed:
            assert isinstance(self.end, LinearEnd)
            bias, unit = self.end.bias.numpy() * kind(self.end.gain), kind(self.end.unit.item())
        given = (values, bias, unit, self.classes, kind(cost.scale), self.quick, live, self._logits, self._odds, own)
        self.loss, self.right = entropy(*given)
        self.own = torch.from_numpy(own)

    def of_last_layer(self, probing: Probing) -> None:
        """Costs of the probes in the last layer that fires, into its ``costs``."""
        end, last, cost = self.end, self._last, self.cost
        neurons = None if len(probing.chosen) == len(probing.place) else torch.from_numpy(probing.chosen)
        if type(cost) is not CrossEntropy:
            real = len(self.target)
            probed, base = _cut(last.probed, real), _cut(last.base, real)
            last.costs[..., :real] = end.cost([self.weight], probed, neurons, base, self.value[:, :real], self.target, cost)
            last.costs[..., real:] = 0
            return
        columns: np.ndarray
        if isinstance(end, LinearEnd):
            columns = (end.wiring.fan(self.weight, neurons).values * (end.unit * cost.scale)).contiguous().numpy()
            base_of, probed_of = last.base.trace.numpy(), last.probed.trace.numpy()
        else:
            base_of, probed_of = self.value.numpy(), end.read(last.probed).numpy()
            columns = np.diag(np.full(len(base_of), cost.scale, base_of.dtype))
        counted = isinstance(end, LinearEnd) and end.decay == 1.0
        given = (self._logits, self._odds, columns, base_of, probing.chosen, probed_of, self.classes, self.own.numpy())
        split(entropy_of_changes, len(columns), *given, self._limit, self.quick, counted, last.costs.numpy(), grain=_GRAIN)

    def of_own_probes(self, offsets: Tensor) -> Tensor:
        """Costs ``[V, C, B]`` of shifts ``[V, 1]`` of a readout that adds up."""
        assert isinstance(self.end, LinearEnd)
        if type(self.cost) is not CrossEntropy:
            return self.priced(
                self.value + (offsets * self.end.gain)[:, :, None, None] * torch.eye(len(self.value), dtype=self.value.dtype)[:, :, None]
            )
        costs = torch.empty(len(offsets), *self.value.shape, dtype=self.value.dtype)
        kind = self._odds.dtype.type
        shifts = offsets.numpy()[:, 0] * kind(self.end.gain * self.cost.scale)
        entropy_of_shifts(self._logits, self._odds, shifts, self.classes, self.own.numpy(), self._limit, self.quick, costs.numpy())
        return costs

    def priced(self, values: Tensor) -> Tensor:
        """Costs ``[V, K, B]`` of readouts ``[V, K, C, B]``."""
        if type(self.cost) is not CrossEntropy:
            real = len(self.target)
            return pad(self.cost(values[..., :real], self.target), (0, values.shape[-1] - real))
        costs = torch.empty(*values.shape[:2], values.shape[3], dtype=values.dtype)
        scale = values.numpy().dtype.type(self.cost.scale)
        given: tuple[Any, ...] = values.numpy(), self.classes, scale, self.quick, costs.numpy()
        split(entropy_of_outputs, costs.shape[0] * costs.shape[1], *given, grain=_OUTPUTS)
        return costs


@lru_cache(maxsize=8)
def _limit_of(kind: Any, num_classes: int) -> Any:
    """Of exponents: so many of their exponentials can be added."""
    return kind(math.log(np.finfo(kind).max / (2 * num_classes)))


def _cut(population: Population, count: int) -> Population:
    """Without the padding."""
    (v, i), trace = population
    return Population(LIFState(v[..., :count], None if i is None else i[..., :count]), trace[..., :count])
