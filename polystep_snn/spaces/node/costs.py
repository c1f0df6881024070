"""From a pass that has gone by to costs: of the network, and of every probe of every layer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels
from polystep_snn.polystep.cost import Cost, CrossEntropy, RateTarget
from polystep_snn.snn.frames import Frames
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.spaces.node.chained import chained_cost, slopes_of
from polystep_snn.spaces.node.last_hop import LayerCosts, LinearEnd, NeuronEnd, chosen
from polystep_snn.spaces.node.one_pass import run_probes
from polystep_snn.spaces.node.pass_state import LayerProbes, Pass, Plan

if TYPE_CHECKING:
    # It needs numba.
    from polystep_snn.spaces.node.loop_costs import Entropy


class NodeCosts(NamedTuple):
    """The outcome of a pass.

    Attributes:
        value: ``[C, B]``, the readout of the unprobed network.
        cost: ``[B]``, its cost.
        layers: what the probes of each layer found, the readout's last.
        rates: ``[N_l]`` for each layer that spikes, its neurons' spikes a step, averaged over the batch.
        total: of all currents and costs: finite where inputs, weights and costs are.
        right: how many samples are classified rightly.
    """

    value: Tensor
    cost: Tensor
    layers: list[LayerCosts]
    rates: list[Tensor]
    total: Tensor
    right: Tensor


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
    chained: bool = False,
) -> NodeCosts:
    """Probe every layer of a network on one batch: ``run_probes``, then ``settle``."""
    done = run_probes(network, network.layers(), inputs, target, cost, probes, kernels, residual, chunk, chained)
    return kernels(settle)(done, target, cost)


def settle(done: Pass, target: Tensor, cost: Cost, rate_target: RateTarget | None = None) -> NodeCosts:
    """Costs, once all steps have gone by.

    Args:
        target: ``[B]``, whatever ``cost`` understands.
        cost: from the readout's value to a cost a sample.
        rate_target: what hidden neurons' own spikes cost.
    """
    plan, state, end, total_steps, behind, _ = done
    last = state.base[-1]
    entropy = _entropy(done, target, cost)
    value = end.value(plan.weights, last) if entropy is None else entropy.value
    own = cost(value, target) if entropy is None else entropy.own
    found = list(behind)
    if state.output is not None and isinstance(end, NeuronEnd):
        found.append(cost(end.read(state.output), target))
    if entropy is None:
        of_last = plan.probes[len(plan.neurons) - 1]
        found.append(end.cost(plan.weights, state.probed[-1], of_last.neurons, last, value, target, cost))
    else:
        found.append(entropy.of_last_layer())
    for k, reached in reversed(list(enumerate(state.reached))):
        if entropy is not None:
            found.insert(0, entropy.chained(k, found[0]))
            continue
        slopes = slopes_of(plan.slopes[k][0], found[0])
        neurons = plan.probes[k].neurons, plan.probes[k + 1].neurons
        found.insert(0, chained_cost(own, reached, slopes, plan.wirings[k + 1], plan.weights[k + 1], neurons))
    if rate_target is not None:
        for k in range(len(plan.wirings) - 1):
            counts = chosen(state.counts[k], plan.probes[k].neurons, 0)
            found[k] = found[k] + rate_target.of_probes(counts, state.probed[k].trace, total_steps)
    layers = []
    for layer, (costs, activity, probes) in enumerate(zip(found, state.activity, plan.probes, strict=False)):
        bias_share = _fraction(plan, layer) if plan.loops else probes.windows.sum(0) / total_steps
        share = bias_share if layer == 0 and plan.constant else _filled(plan, 1 / total_steps, len(bias_share), bias_share)
        layers.append(LayerCosts(costs, activity, share, bias_share))
    if isinstance(end, LinearEnd):
        offsets = plan.probes[-1].offsets
        costs = end.readout_cost(offsets, value, target, cost) if entropy is None else entropy.of_readout(offsets, end.gain)
        layers.append(LayerCosts(costs, last.trace.T[None], _filled(plan, 1 / end.gain, 1, value), _filled(plan, 1.0, 1, value)))
    # The chip's leaky integrators are simulated, and do not fire.
    silent = isinstance(end, NeuronEnd) and not end.counts
    spiked = state.counts[:-1] if silent else state.counts
    rates = [count.mean(1) / total_steps for count in spiked] if entropy is None else [entropy.rates(count) for count in spiked]
    right = (value.argmax(0) == target).sum() if entropy is None else entropy.right
    return NodeCosts(value, own, layers, rates, state.total + own.sum(), right)


def _entropy(done: Pass, target: Tensor, cost: Cost) -> "Entropy | None":
    """Compiled loops for the cost, where there are any."""
    if not done.plan.loops or type(cost) is not CrossEntropy:
        return None
    from polystep_snn.spaces.node.loop_costs import Entropy

    return Entropy(done, target, cost)


def _fraction(plan: Plan, layer: int) -> Tensor:
    """What share of the sequence each window is, ``[M]``: computed once for many steps."""
    from polystep_snn.spaces.node.loop_arrays import prepared

    return prepared(plan.probes[layer], plan.wirings[layer].num_neurons).fraction


def _filled(plan: Plan, number: float, count: int, like: Tensor) -> Tensor:
    """``[count]`` of one number; for loops the same tensor in every step."""
    if not plan.loops:
        return like.new_full((count,), number)
    from polystep_snn.spaces.node.loop_arrays import filled

    return filled(number, count, like.dtype)
