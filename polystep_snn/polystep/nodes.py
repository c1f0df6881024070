r"""Node space: the exact cost of shifting the input current of one neuron, for every neuron and sample, in one pass over time.

Samples do not interact, so shifting neuron j in all B samples at once yields B costs. And in a feed-forward network a shifted
neuron reaches the next layer through its own spikes alone, so a probe costs one membrane, a rank-one correction, and the
layers after it; never a forward pass::

    I'_j[t, b] = I_j[t, b] + sum_m offset[v, m] * phi_m(t)           the probe: vertex v, time windows phi_1 … phi_M
    cost[v, j, b] = cost of sample b's readout under that probe      hard threshold, real spikes, exact

Nothing is stored per timestep: time goes by in blocks of at most ``LONGEST_BLOCK`` steps, and what lives across blocks is membranes
and traces. Within a block the network goes first, layer by layer, then each group of probes with everything it moves.

This is node perturbation (Williams 1992; Fiete and Seung 2006) with a polytope in place of noise and a cost a sample in place
of one scalar. ``tests/reference/naive_nodes.py`` computes the same with one full forward pass a probe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.polystep.compiled import Kernels
from polystep_snn.polystep.cost import Cost
from polystep_snn.polystep.ends import LayerCosts, MembraneEnd, make_end, rows, through
from polystep_snn.polystep.populations import Population, at_rest, drive, hop, hop_far, probe
from polystep_snn.snn.encoders import LONGEST_BLOCK, Frames, time_blocks
from polystep_snn.snn.network import SpikingNetwork

# Spikes of a group within a block that are handed on to a further layer: at most this many numbers at once.
_LARGEST_TEMPORARY = 2**24


class LayerProbes(NamedTuple):
    """What is probed in one layer.

    Attributes:
        offsets: ``[V, M]`` shifts of the input current at every vertex, in each of M time windows, in units of current.
        windows: ``[T, M]`` the windows ``phi_m(t)``.
        neurons: ``[K]`` indices of the probed neurons, or None for all.
    """

    offsets: Tensor
    windows: Tensor
    neurons: Tensor | None = None


class NodeCosts(NamedTuple):
    """The outcome of a pass.

    Attributes:
        value: ``[C, B]``, the readout of the unprobed network.
        cost: ``[B]``, its cost.
        layers: what the probes of each layer found, the readout's last.
        rates: ``[N_l]`` for each layer that spikes, its neurons' spikes a step, averaged over the batch.
    """

    value: Tensor
    cost: Tensor
    layers: list[LayerCosts]
    rates: list[Tensor]


@torch.no_grad()
def node_costs(
    network: SpikingNetwork,
    inputs: Frames | Tensor,
    target: Tensor,
    probes: Sequence[LayerProbes],
    cost: Cost,
    kernels: Kernels,
    residual: float | None = None,
    chunk: int | None = None,
) -> NodeCosts:
    """Probe every layer of a network on one batch.

    Args:
        network: whose weights, biases and constants define the forward pass.
        inputs: ``[T, B, N]``, or an encoder's frames.
        target: ``[B]``, whatever ``cost`` understands.
        probes: one a layer, the readout's last.
        cost: from the readout's value to a cost a sample.
        kernels: runs the inner loops.
        residual: what the cost sees of a spike-count readout's final membrane; None for the readout's own ``residual``.
        chunk: probed neurons a group, which bounds memory and changes no number; None to choose.
    """
    run = _Pass(network, len(inputs), target.shape[0], probes, kernels, residual, chunk)
    for start, num_steps, frames in time_blocks(inputs):
        base = run.advance_network(start, num_steps, frames)
        for group in run.groups:
            run.advance_group(group, base, start, num_steps)
    return run.settle(target, cost)


@dataclass
class _Group:
    """Some probed neurons of one layer at all vertices, ``[V, K, B]``, and what they move downstream, ``[V, K, N, B]`` a layer."""

    layer: int
    neurons: Tensor | None
    own: Population
    hops: list[Population] = field(default_factory=list)


class _Block(NamedTuple):
    """The unprobed network within a block: ``[U, N, B]`` a layer (one step for a constant current, None for spikes nobody needs)."""

    currents: list[Tensor]
    spikes: list[Tensor | None]


class _Pass:
    """What lives across blocks: the network's membranes, counts and activity, and the groups of probes."""

    def __init__(
        self,
        network: SpikingNetwork,
        total_steps: int,
        batch_size: int,
        probes: Sequence[LayerProbes],
        kernels: Kernels,
        residual: float | None,
        chunk: int | None,
    ):
        self.probes, self.kernels, self.total_steps = probes, kernels, total_steps
        self.end = make_end(network, total_steps, residual, kernels)
        self.neurons = self.end.neurons
        self.decays = [1.0] * (len(self.neurons) - 1) + [self.end.decay]
        self.weights = network.weights
        self.biases = [bias[:, None] for bias in network.biases]
        self.rest = [w.new_zeros(w.shape[0], batch_size) for w in self.weights]
        self.base = [at_rest(rest, p) for rest, p in zip(self.rest, self.neurons, strict=False)]
        self.counts = [torch.zeros_like(population.trace) for population in self.base]
        self.activity = [
            w.new_zeros(p.windows.shape[1], w.shape[1], batch_size) for w, p in zip(self.weights[: len(self.neurons)], probes, strict=False)
        ]
        self.groups = [self._group(layer, k) for layer in range(len(self.neurons)) for k in self._split(layer, chunk)]

    def _split(self, layer: int, chunk: int | None) -> Sequence[Tensor | None]:
        """The probed neurons of a layer, at most ``chunk`` at a time; None stands for all neurons."""
        offsets, _, neurons = self.probes[layer]
        num_probed = len(self.rest[layer]) if neurons is None else len(neurons)
        if chunk is None:
            # Only spikes that a layer hands on to another one after it are ever held for a whole block.
            handed_on = max((len(rest) for rest in self.rest[layer + 1 : len(self.neurons) - 1]), default=0)
            chunk = max(1, _LARGEST_TEMPORARY // max(1, LONGEST_BLOCK * len(offsets) * self.rest[layer].shape[1] * handed_on))
        if chunk >= num_probed:
            return [neurons]
        if neurons is None:
            neurons = torch.arange(num_probed, device=self.rest[layer].device)
        return neurons.tensor_split(-(-num_probed // chunk))

    def _group(self, layer: int, neurons: Tensor | None) -> _Group:
        probed = rows(self.rest[layer], neurons, 0).expand(len(self.probes[layer].offsets), -1, -1)
        hops = [
            at_rest(probed.new_zeros(*probed.shape[:2], *self.rest[m].shape), self.neurons[m]) for m in range(layer + 1, len(self.neurons))
        ]
        return _Group(layer, neurons, at_rest(probed, self.neurons[layer]), hops)

    def advance_network(self, start: int, num_steps: int, frames: Tensor) -> _Block:
        """The unprobed network through a block."""
        block = _Block([], [])
        incoming = frames.transpose(1, 2)
        for layer, p in enumerate(self.neurons):
            windows = self.probes[layer].windows[start : start + num_steps]
            if len(incoming) < num_steps:  # constant
                windows = windows.sum(0, keepdim=True)
            self.activity[layer] += torch.tensordot(windows.T, incoming, 1)
            current = torch.matmul(self.weights[layer], incoming) + self.biases[layer]
            # The last layer's spikes are needed one by one only where its trace is not their count.
            keep = layer < len(self.neurons) - 1 or self.decays[layer] != 1.0
            spikes, self.base[layer] = self.kernels(drive)(current, self.base[layer], p, self.decays[layer], num_steps, keep)
            block.currents.append(current)
            block.spikes.append(spikes)
            if spikes is None:
                self.counts[layer] = self.base[layer].trace
            else:
                self.counts[layer] += spikes.sum(0)
                incoming = spikes
        return block

    def advance_group(self, group: _Group, block: _Block, start: int, num_steps: int) -> None:
        """A group of probes, and everything downstream that it moves, through a block."""
        layer, last = group.layer, len(self.neurons) - 1
        offsets, windows, _ = self.probes[layer]
        shift = windows[start : start + num_steps] @ offsets.T
        current = rows(block.currents[layer], group.neurons, 1)
        before = block.spikes[layer]
        spikes = None if layer == last or before is None else rows(before, group.neurons, 1)
        changed, group.own = self.kernels(probe)(current, shift, spikes, group.own, self.neurons[layer], self.decays[layer], num_steps)
        for k, m in enumerate(range(layer + 1, last + 1)):
            spikes = None if m == last else block.spikes[m]
            rest = (spikes, group.hops[k], self.neurons[m], self.decays[m], num_steps)
            if k == 0:
                columns = rows(self.weights[m], group.neurons, 1).T.contiguous()
                changed, group.hops[k] = self.kernels(hop)(block.currents[m], columns, changed, *rest)
            else:
                changed, group.hops[k] = self.kernels(hop_far)(block.currents[m], through(self.weights[m], changed), *rest)

    def settle(self, target: Tensor, cost: Cost) -> NodeCosts:
        """Costs, once all steps have gone by."""
        last = self.base[-1]
        value = self.end.value(last)
        found: list[list[Tensor]] = [[] for _ in self.neurons]
        for group in self.groups:
            found[group.layer].append(self.end.cost(group.own, group.hops, group.neurons, last, value, target, cost))
        layers = [
            LayerCosts(torch.cat(costs, 1), activity.transpose(1, 2) / self.total_steps, probes.windows.sum(0) / self.total_steps)
            for costs, activity, probes in zip(found, self.activity, self.probes, strict=False)
        ]
        if isinstance(self.end, MembraneEnd):
            layers.append(self.end.readout_layer(self.probes[-1].offsets, last, value, target, cost))
        rates = [count.mean(1) / self.total_steps for count in self.counts]
        return NodeCosts(value, cost(value, target), layers, rates)
