"""Cross-entropy of probes and softmax transport on the CPU, by compiled loops: the numbers of ``costs`` and ``gradients``."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import chained_costs, entropy, entropy_of_changes, rates_of
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import CrossEntropy
from polystep_snn.spaces.node.chained import slopes_of, worth_of
from polystep_snn.spaces.node.last_hop import LinearEnd
from polystep_snn.spaces.node.pass_state import Pass

# Neurons that are worth a thread.
_GRAIN = 8


class Entropy:
    """Cross-entropy of a pass, of its own readout and of its probes.

    Args:
        done: the pass.
        target: ``[B]``.
        cost: whose scale it is.

    Attributes:
        value: ``[C, B]``, the readout.
        own: ``[B]``, its costs.
        right: how many samples are classified rightly.
    """

    def __init__(self, done: Pass, target: Tensor, cost: CrossEntropy):
        self._done, self._target, self._scale = done, target.numpy(), cost.scale
        plan, end, last = done.plan, done.end, done.state.base[-1]
        bias: np.ndarray | None = None
        unit = 1.0
        if isinstance(end, LinearEnd) and end.wiring.is_matrix:
            values = torch.mm(plan.weights[-1], last.trace).numpy()
            bias, unit = end.bias.numpy() * values.dtype.type(end.gain), end.unit.item()
        else:
            values = end.value(plan.weights, last).contiguous().numpy()
        kind = self._kind = values.dtype.type
        bias = np.zeros(len(values), kind) if bias is None else bias
        self._exact = None if kind is np.float32 else True
        self._logits, self._odds, own = np.empty_like(values), np.empty_like(values), np.empty(values.shape[1], kind)
        given = (values, bias, kind(unit), self._target, kind(cost.scale), self._exact, self._logits, self._odds, own)
        self.right = torch.tensor(int(entropy(*given)))
        self.value, self._values = torch.from_numpy(values), values
        self.own = torch.from_numpy(own)
        self._limit = kind(math.log(np.finfo(kind).max / (2 * len(values))))

    def rates(self, counts: Tensor) -> Tensor:
        """Spikes a step of neurons that fired ``[N, B]`` times: ``[N]``, averaged over the batch."""
        found = np.empty(counts.shape[0], self._kind)
        rates_of(counts.numpy(), self._kind(self._done.num_steps), found)
        return torch.from_numpy(found)

    def of_last_layer(self) -> Tensor:
        """Costs ``[V, K, B]`` of the probes in the last layer that fires."""
        plan, end, state = self._done.plan, self._done.end, self._done.state
        neurons, probed = plan.probes[len(plan.neurons) - 1].neurons, state.probed[-1]
        if isinstance(end, LinearEnd):
            columns = end.wiring.fan(plan.weights[-1], neurons).values * (end.unit * self._scale)
            return self._of(columns.contiguous().numpy(), state.base[-1].trace.numpy(), neurons, probed.trace.numpy(), end.decay == 1.0)
        return self._of(_scaled_ones(len(self._values), self._kind.__name__, self._scale), self._values, neurons, end.read(probed).numpy())

    def of_readout(self, offsets: Tensor, gain: float) -> Tensor:
        """Costs ``[V, C, B]`` of shifts ``[V, 1]`` of a readout that adds up."""
        values = self._values
        shifted = values + (offsets.numpy() * self._kind(gain))[:, :, None]
        return self._of(_scaled_ones(len(values), self._kind.__name__, self._scale), values, None, shifted)

    def chained(self, layer: int, behind: Tensor) -> Tensor:
        """Costs ``[V, K, B]`` of a layer's probes by those of the next, ``behind``."""
        plan, reached = self._done.plan, self._done.state.reached[layer]
        slopes = slopes_of(plan.slopes[layer][0], behind)
        neurons = plan.probes[layer].neurons, plan.probes[layer + 1].neurons
        worth = worth_of(slopes, plan.wirings[layer + 1], plan.weights[layer + 1], neurons).contiguous()
        costs = torch.empty(reached.shape[1:], dtype=reached.dtype)
        split(chained_costs, reached.shape[2], self.own.numpy(), reached.numpy(), worth.numpy(), costs.numpy(), grain=_GRAIN)
        return costs

    def _of(self, columns: np.ndarray, trace: np.ndarray, neurons: Tensor | None, probed: np.ndarray, counted: bool = False) -> Tensor:
        where = np.arange(len(trace)) if neurons is None else neurons.numpy()
        costs = np.empty(probed.shape, self._kind)
        given = (
            self._logits,
            self._odds,
            columns,
            trace,
            where,
            probed,
            self._target,
            self.own.numpy(),
            self._limit,
            self._exact,
            counted,
            costs,
        )
        split(entropy_of_changes, len(columns), *given, grain=_GRAIN)
        return torch.from_numpy(costs)


@lru_cache(maxsize=8)
def _scaled_ones(count: int, kind: str, scale: float) -> np.ndarray:
    """A diagonal matrix of one number."""
    return np.diag(np.full(count, scale, kind))
