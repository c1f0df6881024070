"""The usual end of a step in two calls: cross-entropy, softmax transport, a dense readout that adds up."""

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import conclude_neurons, conclude_readout
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import Cost, CrossEntropy, RateTarget
from polystep_snn.polystep.transport import Softmax, Transport
from polystep_snn.spaces.node.last_hop import End, LinearEnd
from polystep_snn.spaces.node.loops.arrays import Probing
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.loops.readout import Readout

# Neurons that are worth a thread.
_GRAIN = 8


def is_usual(end: End, cost: Cost, transport: Transport, rate_target: RateTarget | None) -> bool:
    """Whether a step ends so."""
    summed = isinstance(end, LinearEnd) and end.wiring.is_matrix
    return summed and type(cost) is CrossEntropy and type(transport) is Softmax and rate_target is None


class Conclusion:
    """The numbers of ``Readout`` and ``displacements``, for the readout and the last layer that fires.

    Args:
        readout: whose arrays these are.
        last: the last layer that fires.
        num_vertices: V, of the readout's own probes.
        num_windows: M, of the last layer's.

    Attributes:
        grads: of the readout's weights and biases.
        moved, bias: what ``displacements`` says of the last layer that fires.
    """

    def __init__(self, readout: Readout, last: LoopLayer, num_vertices: int, num_windows: int):
        self._readout, self._last = readout, last
        shape, kind = readout.odds.shape, readout.odds.dtype
        self._own = tuple(np.empty(x, kind) for x in ((num_vertices, *shape), (1, *shape), (1, shape[0])))
        self.moved = last.base.trace.new_empty(num_windows, *last.costs.shape[1:])
        self._sums = np.empty((num_windows, last.costs.shape[1]), kind)
        self._arrays = (readout.value.numpy(), readout.logits, readout.odds, readout.own.numpy(), readout.columns)
        self._moved = self.moved.numpy()
        self.grads: list[Tensor] = []
        self.bias = last.base.trace.new_empty(0)

    def read(
        self,
        end: LinearEnd,
        weight: Tensor,
        target: Tensor,
        cost: CrossEntropy,
        eps: float,
        own: Probing,
        offsets: Tensor,
        probing: Probing,
    ) -> None:
        """After all steps; as ``Readout.read``, and its own probes."""
        readout = self._readout
        readout.remember(end, weight, target, cost)
        kind = readout.odds.dtype.type
        self._eps = kind(eps)
        shifts = offsets.numpy()[:, 0] * kind(end.gain * cost.scale)
        weight_grad, bias_grad = np.empty(weight.shape, kind), np.empty(len(weight), kind)
        given = (weight.numpy(), end.bias.numpy(), kind(end.gain), kind(end.unit.item()), self._last.base.trace.numpy(), readout.classes)
        rules = (kind(cost.scale), readout.quick, readout.live, readout.limit, shifts, self._eps, own.points, own.bias_share[0])
        readout.loss, readout.right = conclude_readout(
            *given, *rules, probing.chosen, *self._arrays, *self._own, weight_grad, bias_grad
        )  # fmt: skip
        self.grads = [torch.from_numpy(weight_grad), torch.from_numpy(bias_grad)]

    def of_last_layer(self, probing: Probing, counted: bool) -> None:
        """Costs of the probes in the last layer that fires, and where they move it; ``counted`` as of ``entropy_of_changes``."""
        readout, last = self._readout, self._last
        given = (readout.logits, readout.odds, readout.columns, last.base.trace.numpy(), probing.chosen, last.probed.trace.numpy())
        rules = (readout.classes, self._arrays[3], readout.limit, readout.quick, counted, last.costs.numpy(), self._eps, probing.points)
        split(conclude_neurons, len(probing.chosen), *given, *rules, readout.live, self._moved, self._sums, grain=_GRAIN)
        self.bias = torch.from_numpy(probing.of_biases(self._sums))
