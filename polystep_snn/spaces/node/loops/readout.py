"""The readout and its costs by compiled loops: of the network, of its probes, and of those of the last layer that fires."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from polystep_snn.engine.loops import entropy, entropy_of_changes, entropy_of_outputs, entropy_of_shifts, padded
from polystep_snn.engine.products import product
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import Cost, CrossEntropy, scores
from polystep_snn.snn.neurons import LIFState
from polystep_snn.spaces.node.last_hop import End, LinearEnd, NeuronEnd
from polystep_snn.spaces.node.loops.arrays import Probing
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.over_time import OverTimeEnd
from polystep_snn.spaces.node.populations import Population

# Neurons, and probes with all their classes, that are worth a thread.
_GRAIN, _OUTPUTS = 8, 16


class Readout:
    """What a batch's readout is, and what it costs, in arrays that are kept from step to step; samples are padded.

    Args:
        last: the last layer that fires.
        num_classes: C.
        live: ``[B]``, 1 for samples and 0 for padding.

    Attributes:
        value: ``[C, B]``, as the cost sees it.
        own: ``[B]``, its costs.
        classes: the targets, int32.
        quick, limit, live, logits, odds, columns: as of ``engine.loops.costs``.
        loss, right: the sum of the costs, and how many samples are right.
    """

    def __init__(self, last: LoopLayer, num_classes: int, live: np.ndarray):
        self._last, self.live = last, live
        kind = self._kind = live.dtype.type
        like = last.base.trace
        self.value, self.own = like.new_empty(num_classes, len(live)), like.new_zeros(len(live))
        self.quick = True if kind is np.float32 else None
        self.classes = np.zeros(len(live), np.int32)
        self.logits, self.odds = (np.empty((num_classes, len(live)), kind) for _ in range(2))
        self.columns = np.zeros((last.costs.shape[1], padded(num_classes)), kind)
        self.limit = kind(math.log(np.finfo(kind).max / (2 * num_classes)))
        # What torch's views are asked for only once.
        self._arrays = self.own.numpy(), last.base.trace.numpy(), last.probed.trace.numpy(), last.costs.numpy()

    def read(self, end: End, weight: Tensor, target: Tensor, cost: Cost) -> None:
        """After all steps.

        Args:
            end: of the network, as it is now.
            weight: of its last layer.
            target: ``[B]``.
            cost: of a readout.
        """
        self.remember(end, weight, target, cost)
        end = self.direct
        last, real = self._last.base, target.shape[0]
        if type(cost) is not CrossEntropy:
            self.value = end.value([weight], last).contiguous()
            self.own[:real] = cost(self.value[:, :real], target)
            self.loss, self.right = float(self.own.sum()), float(scores(cost, self.value[:, :real], target).sum())
            return
        bias, gain, unit = None, self._kind(1), self._kind(1)
        if isinstance(end, LinearEnd) and end.wiring.is_matrix:
            self.value = product(weight, last.trace)
            bias, gain, unit = end.bias.numpy(), self._kind(end.gain), self._kind(end.unit.item())
        else:
            self.value = end.value([weight], last).contiguous()
        given = (self.value.numpy(), bias, gain, unit, self.classes, self._kind(cost.scale), self.quick, self.live)
        self.loss, self.right = entropy(*given, self.logits, self.odds, self._arrays[0])

    def remember(self, end: End, weight: Tensor, target: Tensor, cost: Cost) -> None:
        """What ``read`` is given."""
        self.end, self.weight, self.target, self.cost = end, weight, target, cost
        if type(cost) is CrossEntropy:
            self.classes[: target.shape[0]] = target.numpy()

    @property
    def direct(self) -> LinearEnd | NeuronEnd:
        """The end of the network, of which costs are known at once."""
        assert not isinstance(self.end, OverTimeEnd)
        return self.end

    def of_last_layer(self, probing: Probing) -> None:
        """Costs of the probes in the last layer that fires, into its ``costs``."""
        end, last, cost = self.direct, self._last, self.cost
        own, base_of, probed_of, costs = self._arrays
        if type(cost) is not CrossEntropy:
            real = self.target.shape[0]
            probed, base = _cut(last.probed, real), _cut(last.base, real)
            neurons = None if probing.all_probed else torch.from_numpy(probing.chosen)
            last.costs[..., :real] = end.cost([self.weight], probed, neurons, base, self.value[:, :real], self.target, cost)
            last.costs[..., real:] = 0
            return
        counted = isinstance(end, LinearEnd) and end.counts_spikes
        if isinstance(end, LinearEnd):
            if end.wiring.is_matrix:
                fan = self.weight.numpy().T
                fan = fan if probing.all_probed else fan[probing.chosen]
            else:
                fan = end.wiring.fan(self.weight, None if probing.all_probed else torch.from_numpy(probing.chosen)).values.numpy()
            np.multiply(fan, self._kind(end.unit.item() * cost.scale), out=self.columns[:, : fan.shape[1]])
        else:
            np.fill_diagonal(self.columns, cost.scale)
            base_of, probed_of = self.value.numpy(), end.read(last.probed).numpy()
        given = (self.logits, self.odds, self.columns, base_of, probing.chosen, probed_of, self.classes, own)
        split(entropy_of_changes, len(self.columns), *given, self.limit, self.quick, counted, costs, grain=_GRAIN)

    def of_own_probes(self, offsets: Tensor) -> Tensor:
        """Costs ``[V, C, B]`` of shifts ``[V, 1]`` of a readout that adds up."""
        assert isinstance(self.end, LinearEnd)
        if type(self.cost) is not CrossEntropy:
            one_each = torch.eye(len(self.value), dtype=self.value.dtype)[:, :, None]
            return self.priced(self.value + (offsets * self.end.gain)[:, :, None, None] * one_each)
        costs = np.empty((len(offsets), *self.odds.shape), self._kind)
        shifts = offsets.numpy()[:, 0] * self._kind(self.end.gain * self.cost.scale)
        entropy_of_shifts(self.logits, self.odds, shifts, self.classes, self._arrays[0], self.limit, self.quick, costs)
        return torch.from_numpy(costs)

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


def _cut(population: Population, count: int) -> Population:
    """Without the padding."""
    (v, i), trace = population
    return Population(LIFState(v[..., :count], None if i is None else i[..., :count]), trace[..., :count])
