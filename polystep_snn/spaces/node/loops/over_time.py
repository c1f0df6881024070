"""Decisions over time beside compiled loops: the readout's membranes are few, so torch follows them."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from polystep_snn.polystep.cost import Cost, scores
from polystep_snn.snn.layer import Layer
from polystep_snn.spaces.node.currents import currents
from polystep_snn.spaces.node.last_hop import End
from polystep_snn.spaces.node.loops.readout import Readout
from polystep_snn.spaces.node.over_time import Decisions, OverTimeEnd, at_first, follow, found_by


class DecidingReadout(Readout):
    """A readout of which membranes of several steps decide; the rest as of ``Readout``.

    Attributes:
        slopes: ``[M, C, B]``, of its costs for a unit of its weights, once they are read.
    """

    slopes: Tensor
    _decisions: Decisions

    def begin(self, end: OverTimeEnd, windows: Tensor, target: Tensor, cost: Cost) -> None:
        """Before the first step of a batch; ``windows``: ``[T, M]`` of its probes."""
        self._known = end, end.worth(windows), cost, target
        self._decisions = at_first(end, self.own.new_zeros(len(self.value), len(target)), windows.shape[1])

    def through(self, layer: Layer, spikes: Tensor, start: int) -> float:
        """Through a block of steps under the spikes ``[U, N, B]`` that arrive; the sum of all currents."""
        end, worth, cost, target = self._known
        arriving = currents(layer.wiring, layer.weight, layer.bias, spikes)[..., : len(target)]
        self._decisions = follow(end, self._decisions, arriving, worth[start : start + len(spikes)], cost, target)
        return float(arriving.sum())

    def read(self, end: End, weight: Tensor, target: Tensor, cost: Cost) -> None:
        """After all steps; as ``Readout.read``."""
        self.remember(end, weight, target, cost)
        end, worth, _, _ = self._known
        value, own, slopes = found_by(end, self._decisions, len(worth), cost, target)
        self.own[: len(target)] = own
        self._own_slopes = pad(slopes, (0, len(self.own) - len(target)))
        self.slopes = self._own_slopes * end.unit
        self.loss, self.right = float(own.sum()), float(scores(cost, value, target).sum())

    def of_own_probes(self, offsets: Tensor) -> Tensor:
        """Costs ``[V, C, B]`` of shifts ``[V, M]`` of the readout's current."""
        return self.own + torch.tensordot(offsets, self._own_slopes, 1)
