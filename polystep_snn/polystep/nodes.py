r"""Node space: the exact cost of shifting the input current of one neuron, for every neuron and sample, in one pass over time.

Samples do not interact, so shifting neuron j in all B samples at once yields B costs. And in a feed-forward network a shifted
neuron reaches the next layer through its own spikes alone, so a probe costs one membrane, a rank-one correction, and the
layers after it; never a forward pass::

    I'_j[t, b] = I_j[t, b] + sum_m offset[v, m] * phi_m(t)           the probe: vertex v, time windows phi_1 … phi_M
    cost[v, j, b] = cost of sample b's readout under that probe      hard threshold, real spikes, exact

Nothing is stored per timestep: time goes by in blocks of at most ``LONGEST_BLOCK`` steps, and what lives across blocks is membranes
and traces. ``advance`` takes them through a block, the network first, layer by layer, then each group of probes with everything
it moves; ``settle`` turns what has become of them into costs. Both are pure functions of tensors, compiled as a whole.

This is node perturbation (Williams 1992; Fiete and Seung 2006) with a polytope in place of noise and a cost a sample in place
of one scalar. ``tests/reference/naive_nodes.py`` computes the same with one full forward pass a probe.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.compiled import Kernels
from polystep_snn.polystep.cost import Cost
from polystep_snn.polystep.ends import LayerCosts, LinearEnd, NeuronEnd, make_end, rows, through
from polystep_snn.polystep.populations import Neuron, Population, at_rest, drive, hop, hop_far, probe
from polystep_snn.polystep.products import currents
from polystep_snn.snn.encoders import LONGEST_BLOCK, Constant, Frames, time_blocks
from polystep_snn.snn.network import Layer, SpikingNetwork
from polystep_snn.snn.wiring import Fan, Wiring

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
        total: of all currents and costs: finite where inputs, weights and costs are.
    """

    value: Tensor
    cost: Tensor
    layers: list[LayerCosts]
    rates: list[Tensor]
    total: Tensor


class Group(NamedTuple):
    """Some neurons of one layer that are probed together.

    Attributes:
        layer: whose neurons.
        neurons: ``[K]`` their indices, or None for all.
    """

    layer: int
    neurons: Tensor | None


class Plan(NamedTuple):
    """What stays the same throughout a pass: the network, and what is probed in it. Lists have one entry a spiking layer,
    but for wirings, weights, biases and probes, which have the readout's as well. ``constant`` tells whether every frame is the same."""

    wirings: list[Wiring]
    weights: list[Tensor]
    biases: list[Tensor]
    neurons: list[Neuron]
    decays: list[float]
    probes: list[LayerProbes]
    groups: list[Group]
    constant: bool


class State(NamedTuple):
    """What lives across blocks.

    Attributes:
        base: the unprobed network, ``[N, B]`` a layer.
        counts: its spikes so far, ``[N, B]`` a layer.
        activity: what arrived in each time window so far, ``[M, B, N]`` a layer; ``[1, B, N]``, one frame, where all are the same.
        drive: the first layer's current where it is constant, computed once; None before, and where it is not.
        total: sum of all input currents so far: where it is not finite, an input or a weight is not.
        groups: for each group the probed neurons, ``[V, K, B]``, and each spiking layer behind them, ``[V, K, N, B]``; of a convolution
            behind them only the neurons that they reach.
    """

    base: list[Population]
    counts: list[Tensor]
    activity: list[Tensor]
    drive: Tensor | None
    total: Tensor
    groups: list[list[Population]]


class Pass(NamedTuple):
    """A pass over time that has gone by; ``settle`` makes costs of it."""

    plan: Plan
    state: State
    end: LinearEnd | NeuronEnd
    num_steps: int


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
    """Probe every layer of a network on one batch: ``run_probes``, then ``settle``."""
    return kernels(settle)(run_probes(network, network.layers(), inputs, len(target), probes, kernels, residual, chunk), target, cost)


@torch.no_grad()
def run_probes(
    network: SpikingNetwork,
    layers: Sequence[Layer],
    inputs: Frames | Tensor,
    batch_size: int,
    probes: Sequence[LayerProbes],
    kernels: Kernels,
    residual: float | None = None,
    chunk: int | None = None,
) -> Pass:
    """Take a network and its probes through time.

    Args:
        network: whose readout it is.
        layers: what it computes with.
        inputs: ``[T, B, N]``, or an encoder's frames.
        probes: one a layer, the readout's last.
        kernels: runs ``advance``.
        residual: what the cost sees of a spike-count readout's final membrane; None for the readout's own ``residual``.
        chunk: probed neurons a group, which bounds memory and changes no number; None to choose.
    """
    end = make_end(network.readout, layers[-1], len(inputs), residual)
    neurons: list[Neuron] = [layer.neuron.batch_last() for layer in layers[:-1] if layer.neuron is not None]
    neurons += end.neurons
    wirings, weights = [layer.wiring for layer in layers], [layer.weight for layer in layers]
    decays = [1.0] * (len(neurons) - 1) + [end.decay]
    groups = [
        Group(layer, k) for layer in range(len(neurons)) for k in _split(layer, layers, len(neurons), probes[layer], batch_size, chunk)
    ]
    plan = Plan(wirings, weights, [layer.bias for layer in layers], neurons, decays, list(probes), groups, isinstance(inputs, Constant))
    state: State | None = None
    for start, num_steps, frames in time_blocks(inputs):
        expected = [batch_size, wirings[0].num_inputs]
        if list(frames.shape[1:]) != expected or frames.dtype != weights[0].dtype:
            raise InputError(f"inputs are {frames.dtype} {list(frames.shape[1:])} a step: give {weights[0].dtype} {expected}")
        windows = [p.windows[start : start + num_steps] for p in probes]
        state = kernels(advance)(plan, state, frames, windows, num_steps)
    assert state is not None
    return Pass(plan, state, end, len(inputs))


def _split(
    layer: int, layers: Sequence[Layer], num_spiking: int, probes: LayerProbes, batch_size: int, chunk: int | None
) -> Sequence[Tensor | None]:
    """The probed neurons of a layer, at most ``chunk`` at a time; None stands for all neurons."""
    width = layers[layer].wiring.num_neurons
    num_probed = width if probes.neurons is None else len(probes.neurons)
    if chunk is None:
        # Only spikes that a layer hands on to another one after it are ever held for a whole block.
        handed_on = max((x.wiring.num_neurons for x in layers[layer + 1 : num_spiking - 1]), default=0)
        chunk = max(1, _LARGEST_TEMPORARY // max(1, LONGEST_BLOCK * len(probes.offsets) * batch_size * handed_on))
    if chunk >= num_probed:
        return [probes.neurons]
    neurons = torch.arange(width, device=layers[layer].weight.device) if probes.neurons is None else probes.neurons
    return neurons.tensor_split(-(-num_probed // chunk))


def _at_start(plan: Plan, batch_size: int) -> State:
    """Everything at rest."""
    rest = [plan.weights[0].new_zeros(w.num_neurons, batch_size) for w in plan.wirings[: len(plan.neurons)]]
    activity = [r.new_zeros(p.windows.shape[1], batch_size, w.num_inputs) for r, p, w in zip(rest, plan.probes, plan.wirings, strict=False)]
    groups = []
    for layer, neurons in plan.groups:
        probed = rows(rest[layer], neurons, 0).expand(len(plan.probes[layer].offsets), -1, -1)
        behind = [probed.new_zeros(*probed.shape[:2], *r.shape) for r in rest[layer + 1 :]]
        fan = _fan(plan, layer, neurons)
        if fan is not None and fan.targets is not None:
            behind[0] = probed.new_zeros(len(probed), *fan.values.shape, batch_size)
        groups.append([at_rest(like, p) for like, p in zip([probed, *behind], plan.neurons[layer:], strict=True)])
    base = [at_rest(r, p) for r, p in zip(rest, plan.neurons, strict=True)]
    return State(base, [torch.zeros_like(r) for r in rest], activity, None, rest[0].new_zeros(()), groups)


def advance(plan: Plan, state: State | None, frames: Tensor, windows: list[Tensor], num_steps: int) -> State:
    """Everything through a block of U steps.

    Args:
        state: None at the start: zeros that the compiler makes itself need no memory.
        frames: ``[U, B, N]``, or ``[1, B, N]`` where the input is constant.
        windows: ``[U, M]`` a layer, the block's part of the time windows.
        num_steps: U.
    """
    if state is None:
        state = _at_start(plan, frames.shape[1])
    last = len(plan.neurons) - 1
    base, counts, activity = [], [], []
    driven, spikes = [], []
    incoming, total = frames.transpose(1, 2), state.total
    for layer, (p, decay) in enumerate(zip(plan.neurons, plan.decays, strict=True)):
        same = layer == 0 and plan.constant
        activity.append(frames if same else state.activity[layer] + _windowed(windows[layer], incoming))
        known = state.drive if same else None
        current = currents(plan.wirings[layer], plan.weights[layer], plan.biases[layer], incoming) if known is None else known
        total = total + current.sum()
        # The last layer's spikes are needed one by one only where its trace is not their count.
        keep = layer < last or decay != 1.0
        z, population = drive(current, state.base[layer], p, decay, num_steps, keep)
        base.append(population)
        driven.append(current)
        spikes.append(z)
        if z is None:
            counts.append(population.trace)
        else:
            counts.append(state.counts[layer] + z.sum(0))
            incoming = z

    groups = []
    for (layer, neurons), populations in zip(plan.groups, state.groups, strict=True):
        shift = windows[layer] @ plan.probes[layer].offsets.T
        before = None if layer == last else rows(spikes[layer], neurons, 1)
        changed, own = probe(
            rows(driven[layer], neurons, 1), shift, before, populations[0], plan.neurons[layer].rows(neurons), plan.decays[layer], num_steps
        )
        moved = [own]
        fan = _fan(plan, layer, neurons)
        for m in range(layer + 1, last + 1):
            current, p, own_spikes = driven[m], plan.neurons[m], None if m == last else spikes[m]
            before, decay = populations[m - layer], plan.decays[m]
            if m == layer + 1 and fan is not None:
                if fan.targets is not None:
                    current, p = current[:, fan.targets], p.rows(fan.targets)
                    own_spikes = None if own_spikes is None else own_spikes[:, fan.targets]
                changed, population = hop(current, fan.values.contiguous(), changed, own_spikes, before, p, decay, num_steps)
            else:
                targets = None if fan is None or m > layer + 2 else fan.targets
                correction = through(plan.wirings[m], plan.weights[m], changed.to(frames.dtype), targets)
                changed, population = hop_far(current, correction, own_spikes, before, p, decay, num_steps)
            moved.append(population)
        groups.append(moved)
    return State(base, counts, activity, driven[0] if plan.constant else None, total, groups)


def _fan(plan: Plan, layer: int, neurons: Tensor | None) -> Fan | None:
    """The weights that leave probed neurons for the next layer that spikes; None where there is none."""
    if layer + 1 == len(plan.neurons):
        return None
    return plan.wirings[layer + 1].fan(plan.weights[layer + 1], neurons)


def _windowed(share: Tensor, incoming: Tensor) -> Tensor:
    """What arrives in each window, ``[M, B, N]``, of ``incoming: [U, N, B]`` with the shares ``[U, M]``."""
    if share.shape[1] == 1:
        return (share[:, :, None] * incoming).sum(0).T[None]
    return torch.tensordot(share.T, incoming, 1).transpose(1, 2)


def settle(done: Pass, target: Tensor, cost: Cost) -> NodeCosts:
    """Costs, once all steps have gone by.

    Args:
        target: ``[B]``, whatever ``cost`` understands.
        cost: from the readout's value to a cost a sample.
    """
    plan, state, end, total_steps = done
    last = state.base[-1]
    value = end.value(plan.weights, last)
    found: list[list[Tensor]] = [[] for _ in plan.neurons]
    for (layer, neurons), populations in zip(plan.groups, state.groups, strict=True):
        fan = _fan(plan, layer, neurons) if len(populations) == 2 else None
        targets = None if fan is None else fan.targets
        found[layer].append(end.cost(plan.weights, populations, neurons, targets, last, value, target, cost))
    layers = []
    for layer, (costs, activity, probes) in enumerate(zip(found, state.activity, plan.probes, strict=False)):
        bias_share = probes.windows.sum(0) / total_steps
        share = bias_share if layer == 0 and plan.constant else torch.full_like(bias_share, 1 / total_steps)
        layers.append(LayerCosts(costs[0] if len(costs) == 1 else torch.cat(costs, 1), activity, share, bias_share))
    if isinstance(end, LinearEnd):
        layers.append(end.readout_layer(plan.probes[-1].offsets, last, value, target, cost))
    # The chip's leaky integrators are simulated, and do not fire.
    silent = isinstance(end, NeuronEnd) and not end.counts
    rates = [count.mean(1) / total_steps for count in (state.counts[:-1] if silent else state.counts)]
    own = cost(value, target)
    return NodeCosts(value, own, layers, rates, state.total + own.sum())
