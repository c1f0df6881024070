"""From a pass that has gone by to costs: of the network, and of every probe of every layer."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels
from polystep_snn.polystep.cost import Cost, RateTarget, scores
from polystep_snn.snn.frames import Frames
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.spaces.node.chained import chained_cost, slopes_of, worth_of
from polystep_snn.spaces.node.last_hop import LayerCosts, LinearEnd, NeuronEnd, chosen
from polystep_snn.spaces.node.memory import recurrent_costs
from polystep_snn.spaces.node.one_pass import run_probes
from polystep_snn.spaces.node.over_time import Found, OverTimeEnd, found_by
from polystep_snn.spaces.node.pass_state import LayerProbes, Pass


class NodeCosts(NamedTuple):
    """The outcome of a pass.

    Attributes:
        value: ``[C, B]``, the readout of the unprobed network.
        cost: ``[B]``, its cost.
        layers: what the probes of each layer found, the readout's last.
        rates: ``[N_l]`` for each layer that spikes, its neurons' spikes a step, averaged over the batch.
        total: of all currents and costs: finite where inputs, weights and costs are.
        right: how many samples are classified rightly; the sum of ``polystep.cost.scores``.
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
    recurrent_credit: bool = True,
    every_step: bool = False,
) -> NodeCosts:
    """Probe every layer of a network on one batch: ``run_probes``, then ``settle``."""
    rest = residual, chunk, chained, recurrent_credit, every_step
    done = run_probes(network, network.layers(), inputs, target, cost, probes, kernels, *rest)
    return kernels(settle)(done, target, cost)


def settle(done: Pass, target: Tensor, cost: Cost, rate_target: RateTarget | None = None) -> NodeCosts:
    """Costs, once all steps have gone by.

    Args:
        target: ``[B]``, whatever ``cost`` understands.
        cost: from the readout's value to a cost a sample.
        rate_target: what hidden neurons' own spikes cost.
    """
    plan, state, end, total_steps, behind = done
    last = state.base[-1]
    decided: Found | None = None
    if isinstance(end, OverTimeEnd):
        assert state.decisions is not None
        decided = found_by(end, state.decisions, total_steps, cost, target)
        value, own = decided.value, decided.cost
    else:
        value = end.value(plan.weights, last)
        own = cost(value, target)

    def with_rates(layer: int, costs: Tensor) -> Tensor:
        """Costs ``[V, K, B]``, with what a hidden neuron's own spikes cost: before they are handed on."""
        if rate_target is None or layer == len(plan.wirings) - 1:
            return costs
        counts = chosen(state.counts[layer], plan.probes[layer].neurons, 0)
        return costs + rate_target.of_probes(counts, state.probed[layer].trace, total_steps)

    found = list(behind)
    if state.output is not None and isinstance(end, NeuronEnd):
        found.append(cost(end.read(state.output), target))
    found = [with_rates(k, costs) for k, costs in enumerate(found)]
    if not isinstance(end, OverTimeEnd):
        of_last = plan.probes[len(plan.neurons) - 1]
        direct = end.cost(plan.weights, state.probed[-1], of_last.neurons, last, value, target, cost)
        found.append(_with_own(done, len(plan.neurons) - 1, with_rates(len(plan.neurons) - 1, direct)))
    for k, reached in reversed(list(enumerate(state.reached))):
        slopes = slopes_of(plan.slopes[k][0], found[0]) if found else _of_readout(done, decided)
        neurons = plan.probes[k].neurons, plan.probes[k + 1].neurons
        costs = chained_cost(own, reached, slopes, plan.wirings[k + 1], plan.weights[k + 1], neurons)
        found.insert(0, _with_own(done, k, with_rates(k, costs)))
    layers = []
    for layer, (costs, activity, own_activity, probes) in enumerate(
        zip(found, state.activity, state.own_activity, plan.probes, strict=False)
    ):
        bias_share = probes.windows.sum(0) / total_steps
        share = bias_share if layer == 0 and plan.constant else torch.full_like(bias_share, 1 / total_steps)
        difference = _delay_difference(done, layer, found, value, target, cost, decided)
        layers.append(LayerCosts(costs, activity, share, bias_share, own_activity, difference))
    if decided is not None:
        probes = plan.probes[-1]
        costs = own + torch.tensordot(probes.offsets, decided.slopes, 1)
        bias_share = probes.windows.sum(0) / total_steps
        layers.append(LayerCosts(costs, state.activity[-1], torch.full_like(bias_share, 1 / total_steps), bias_share))
    if isinstance(end, LinearEnd):
        costs = end.readout_cost(plan.probes[-1].offsets, value, target, cost)
        layers.append(LayerCosts(costs, last.trace.T[None], value.new_full((1,), 1 / end.gain), value.new_ones(1)))
    # The chip's leaky integrators are simulated, and do not fire.
    silent = isinstance(end, NeuronEnd) and not end.counts
    spiked = state.counts[:-1] if silent else state.counts
    rates = [count.mean(1) / total_steps for count in spiked]
    right = scores(cost, value, target).sum()
    return NodeCosts(value, own, layers, rates, state.total + own.sum(), right)


def _with_own(done: Pass, layer: int, costs: Tensor) -> Tensor:
    """Costs ``[V, K, B]`` of a layer, with what its changed spikes do by its own recurrent weights."""
    plan, reached = done.plan, done.state.own_reached[layer]
    recurrent, found = plan.recurrents[layer], plan.own_slopes[layer]
    if recurrent is None or reached is None or found is None:
        return costs
    probes = plan.probes[layer]
    return recurrent_costs(costs, reached, found[0], probes.offsets, recurrent, probes.neurons)


def _of_readout(done: Pass, decided: Found | None) -> Tensor:
    """Slopes ``[M, C, B]`` of the costs of a readout that decides over time, for a unit of its weights."""
    assert isinstance(done.end, OverTimeEnd)
    assert decided is not None
    return decided.slopes * done.end.unit


def _delay_difference(
    done: Pass, layer: int, found: list[Tensor], value: Tensor, target: Tensor, cost: Cost, decided: Found | None
) -> Tensor | None:
    """``LayerCosts.delay_difference``; ``found``: the costs of all layers that spike."""
    plan, moved = done.plan, done.state.moved[layer]
    if moved is None:
        return None
    if layer + 1 < len(plan.neurons) or decided is not None:
        behind = layer + 1 < len(plan.neurons)
        slopes = slopes_of(plan.slopes[layer][0], found[layer + 1]) if behind else _of_readout(done, decided)
        return (moved * worth_of(slopes, plan.wirings[layer + 1], plan.weights[layer + 1], (None, plan.probes[layer + 1].neurons))).sum(0)
    assert isinstance(done.end, LinearEnd)
    return done.end.delay_difference(plan.weights[-1], moved[0], value, target, cost)
