r"""Node space: the exact cost of shifting the input current of one neuron, for every neuron and sample, in one pass over time.

Samples do not interact, so shifting neuron j in all B samples at once yields B costs. And in a feed-forward network a shifted
neuron reaches the next layer through its own spikes alone, so a probe costs one membrane, a rank-one correction, and the
layers after it; never a forward pass::

    I'_j[t, b] = I_j[t, b] + sum_m offset[v, m] * phi_m(t)           the probe: vertex v, time windows phi_1 … phi_M
    cost[v, j, b] = cost of sample b's readout under that probe      hard threshold, real spikes, exact

Nothing is stored per timestep: time goes by in blocks of a few steps, and what lives across blocks is membranes and traces. ``advance``
takes the network and the probed neurons through a block, ``followed.py`` the layers behind those that changed a spike; ``costs.settle``
turns what has become of them into costs. These are pure functions of tensors, compiled as a whole. Where many layers lie behind,
``chained.py`` prices a probe by what those of the next layer found instead: then only the last costs are exact.

This is node perturbation (Williams 1992; Fiete and Seung 2006) with a polytope in place of noise and a cost a sample in place
of one scalar. ``tests/reference/naive_nodes.py`` computes the same with one full forward pass a probe.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels
from polystep_snn.polystep.cost import Cost
from polystep_snn.snn.frames import Constant, EventBlock, EventFrames, Frames, check_block, time_blocks
from polystep_snn.snn.layer import Layer
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.spaces.node.chained import fit, reach
from polystep_snn.spaces.node.currents import currents
from polystep_snn.spaces.node.followed import Judge, Rows, Unprobed, advance_rows, row_costs, tile_size
from polystep_snn.spaces.node.last_hop import End, LinearEnd, NeuronEnd, chosen, make_end
from polystep_snn.spaces.node.memory import arrival_shares, delayed, moved_by_delays, moving_shares
from polystep_snn.spaces.node.over_time import OverTimeEnd, follow
from polystep_snn.spaces.node.pass_state import Block, LayerProbes, Pass, Plan, State, at_start, layers_behind
from polystep_snn.spaces.node.populations import Neuron, drive, drive_recurrent, hop, probe

# Output neurons so few that, compiled, all probes of the layer before are simulated faster than those that changed a spike are found.
_NARROW = 32


@torch.no_grad()
def run_probes(
    network: SpikingNetwork,
    layers: Sequence[Layer],
    inputs: Frames | Tensor,
    target: Tensor,
    cost: Cost,
    probes: Sequence[LayerProbes],
    kernels: Kernels,
    residual: float | None = None,
    chunk: int | None = None,
    chained: bool = False,
    recurrent_credit: bool = True,
    every_step: bool = False,
) -> Pass:
    """Take a network and its probes through time.

    Args:
        network: whose readout it is.
        layers: what it computes with.
        inputs: ``[T, B, N]``, or an encoder's frames.
        target, cost: as of ``costs.settle``.
        probes: one a layer, the readout's last.
        kernels: runs ``advance`` and what follows it.
        residual: what the cost sees of a spike-count readout's final membrane; None for the readout's own ``residual``.
        chunk: probes at a time that are followed into later layers, which bounds memory and changes no number; None to choose.
        chained: hand credit on from layer to layer instead, see ``chained.py``.
        recurrent_credit: and through recurrent weights, see ``memory.py``.
        every_step: every step's membranes have a cost, see ``over_time.py``.
    """
    batch_size = len(target)
    end = make_end(network.readout, layers[-1], len(inputs), residual, every_step)
    plan = _plan(layers, end, inputs, probes, kernels.compile, chained, recurrent_credit)
    wirings, weights = plan.wirings, plan.weights
    behind = [] if chained else [layers_behind(plan, layers, k) for k in range(len(plan.neurons) - 1 - plan.hops)]
    tiles = [tile_size(b, len(p.offsets) * len(b.fan.values) * batch_size, chunk) for b, p in zip(behind, probes, strict=False)]
    rows: list[Rows | None] = [None] * len(behind)
    state: State | None = None
    for start, num_steps, arriving in time_blocks(inputs, sparse=plan.columns is not None):
        check_block(arriving, batch_size, wirings[0].num_inputs, weights[0].dtype)
        frames, known = (arriving, None) if isinstance(arriving, Tensor) else (None, _driven(plan, arriving))
        windows = [p.windows[start : start + num_steps] for p in probes]
        before = (at_start(plan, end, batch_size) if state is None else state).base if behind else []
        steps = slice(start, start + num_steps)
        shares = [share[steps] for _, share in plan.slopes]
        own_shares = [None if found is None else found[1][steps] for found in plan.own_slopes]
        traced = None if plan.trace_shares is None else plan.trace_shares[steps]
        moved = [None if found is None else found[steps] for found in plan.moving]
        judged = end, None if plan.worth is None else plan.worth[steps], cost, target
        state, block = kernels(advance)(plan, state, frames, known, windows, shares, own_shares, traced, moved, num_steps, judged)
        for k, behind_k in enumerate(behind):
            unprobed = Unprobed(block.unprobed.currents[k:], block.unprobed.spikes[k:])
            rows[k] = advance_rows(rows[k], behind_k, unprobed, before[k + 1 :], block.changed[k], block.moved[k], tiles[k], kernels)
    assert state is not None
    costs = []
    if behind:
        assert not isinstance(end, OverTimeEnd)
        value = end.value(weights, state.base[-1])
        judge = Judge(end, weights[-1], state.base[-1], value, cost(value, target), target, cost)
        for behind_k, found, tile, probed in zip(behind, rows, tiles, state.probed, strict=False):
            assert found is not None
            costs.append(row_costs(found, behind_k, judge, probed.trace.shape, tile, kernels))
    return Pass(plan, state, end, len(inputs), costs)


def _plan(
    layers: Sequence[Layer],
    end: End,
    inputs: Frames | Tensor,
    probes: Sequence[LayerProbes],
    compile: bool,
    chained: bool,
    recurrent_credit: bool,
) -> Plan:
    """What stays the same throughout a pass; see ``run_probes``."""
    neurons: list[Neuron] = [layer.neuron.batch_last() for layer in layers[:-1] if layer.neuron is not None]
    neurons += end.neurons
    wirings, weights = [layer.wiring for layer in layers], [layer.weight for layer in layers]
    decays = [1.0] * (len(neurons) - 1) + [end.decay]
    narrow = wirings[-1].is_matrix and wirings[-1].num_neurons <= _NARROW
    hops = compile and narrow and isinstance(end, NeuronEnd) and len(neurons) > 1 and not chained
    recurrents, delays = [layer.recurrent for layer in layers[: len(neurons)]], [layer.delays for layer in layers]
    slopes, over_time = [], isinstance(end, OverTimeEnd)
    for p, sending, delay in zip(probes[1 : len(neurons) + over_time], probes, delays[1:], strict=False):
        if chained:
            lag = 0 if delay is None else chosen(delay, sending.neurons, 0)
            slopes.append((fit(p.offsets), arrival_shares(torch.linalg.pinv(p.windows).T, lag)))
    own_slopes = [
        None if recurrent is None or not recurrent_credit else (fit(p.offsets), arrival_shares(torch.linalg.pinv(p.windows).T, 1))
        for recurrent, p in zip(recurrents, probes, strict=False)
    ]
    trace_shares = end.trace_shares(len(inputs), delays[-1]) if isinstance(end, LinearEnd) else None
    columns = weights[0].T.contiguous() if isinstance(inputs, EventFrames) and wirings[0].is_matrix else None
    biases, constant = [layer.bias for layer in layers], isinstance(inputs, Constant)
    integrates = isinstance(end, LinearEnd)
    moving = [
        moving_shares(layer, end, p, len(inputs), integrates and k == len(neurons) - 1)
        for k, (layer, p) in enumerate(zip(layers[1:], probes[1:], strict=True))
    ]
    moving += [None] * (len(neurons) - len(moving))
    worth = end.worth(probes[-1].windows) if isinstance(end, OverTimeEnd) else None
    memory = recurrents, delays, own_slopes, trace_shares, moving, worth
    return Plan(wirings, weights, biases, neurons, decays, list(probes), constant, columns, slopes, hops, *memory)


def _driven(plan: Plan, events: EventBlock) -> Tensor:
    """What events drive the first layer with: ``[U, N, B]``."""
    assert plan.columns is not None
    return (events.times(plan.columns) + plan.biases[0]).transpose(1, 2).contiguous()


def advance(
    plan: Plan,
    state: State | None,
    frames: Tensor | None,
    known: Tensor | None,
    windows: list[Tensor],
    shares: list[Tensor],
    own_shares: list[Tensor | None],
    traced: Tensor | None,
    moving: list[Tensor | None],
    num_steps: int,
    judged: tuple[End, Tensor | None, Cost, Tensor],
) -> tuple[State, Block]:
    """The network and the probed neurons through a block of U steps.

    Args:
        state: None at the start: zeros that the compiler makes itself need no memory.
        frames: ``[U, B, N]``, or ``[1, B, N]`` where the input is constant; None for events.
        known: of events, the first layer's current ``[U, N, B]``; else None.
        windows: ``[U, M]`` a layer, the block's part of the time windows.
        shares, own_shares, traced, moving: the same of ``Plan.slopes``, ``own_slopes``, ``trace_shares`` and ``moving``.
        num_steps: U.
        judged: the network's end, the block's part of ``Plan.worth``, the cost and the target, for decisions over time.
    """
    end, worth, cost, target = judged
    if state is None:
        given = frames if known is None else known.transpose(1, 2)
        assert given is not None
        state = at_start(plan, end, given.shape[1])
    last = len(plan.neurons) - 1
    base, counts, driven, spikes = [], [], [], []
    activity: list[Tensor | None] = []
    past: list[Tensor | None] = []
    own_activity: list[Tensor | None] = []
    incoming, total = None if frames is None else frames.transpose(1, 2), state.total
    drive_of_input: Tensor | None = None
    for layer, (p, decay) in enumerate(zip(plan.neurons, plan.decays, strict=True)):
        current = (state.drive if known is None else known) if layer == 0 else None
        so_far = state.activity[layer]
        if incoming is not None and so_far is not None:
            so_far = frames if layer == 0 and plan.constant else so_far + _windowed(windows[layer], incoming)
            if current is None:
                current = currents(plan.wirings[layer], plan.weights[layer], plan.biases[layer], incoming)
        assert current is not None
        activity.append(so_far)
        if layer == 0 and plan.constant:
            drive_of_input = current
        total = total + current.sum()
        seen = traced if layer == last else None
        recurrent, before = plan.recurrents[layer], state.past[layer]
        if recurrent is not None and before is not None:
            z, current, population = drive_recurrent(current, recurrent, before[-1], state.base[layer], p, decay, num_steps, shares=seen)
        else:
            # The last layer's spikes are needed one by one only where its trace is not their count.
            keep = layer < last or decay != 1.0 or before is not None or seen is not None or worth is not None
            z, population = drive(current, state.base[layer], p, decay, num_steps, keep, shares=seen)
        base.append(population)
        driven.append(current)
        spikes.append(z)
        if z is None:
            counts.append(population.trace)
        else:
            counts.append(state.counts[layer] + z.sum(0))
            delay = plan.delays[layer + 1] if layer + 1 < len(plan.delays) else None
            incoming = z if delay is None or before is None else delayed(z, before, delay)
        sent = None if before is None or z is None else torch.cat([before, z])
        past.append(None if sent is None or before is None else sent[len(sent) - len(before) :])
        own = state.own_activity[layer]
        if own is not None and sent is not None and before is not None:
            own = own + _windowed(windows[layer], sent[len(before) - 1 : -1])
        own_activity.append(own)
    decisions = state.decisions
    if isinstance(end, OverTimeEnd) and decisions is not None:
        so_far = state.activity[-1]
        assert incoming is not None
        assert worth is not None
        assert so_far is not None
        activity.append(so_far + _windowed(windows[-1], incoming))
        arriving = currents(plan.wirings[-1], plan.weights[-1], plan.biases[-1], incoming)
        total, decisions = total + arriving.sum(), follow(end, decisions, arriving, worth, cost, target)

    probed, changed, moved = [], [], []
    for layer, (probes, population) in enumerate(zip(plan.probes, state.probed, strict=False)):
        shift = windows[layer] @ probes.offsets.T
        wanted = layer < last or plan.recurrents[layer] is not None or worth is not None
        before = chosen(spikes[layer], probes.neurons, 1) if wanted else None
        current, p = chosen(driven[layer], probes.neurons, 1), plan.neurons[layer].rows(probes.neurons)
        seen = None if layer != last or traced is None else chosen(traced, probes.neurons, 1)
        own_changed, own_moved, own = probe(current, shift, before, population, p, plan.decays[layer], num_steps, seen)
        probed.append(own)
        changed.append(own_changed)
        moved.append(own_moved)
    output, followed = state.output, last
    if output is not None:
        columns = plan.wirings[last].fan(plan.weights[last], plan.probes[last - 1].neurons).values.contiguous()
        output = hop(driven[last], columns, changed[last - 1], output, plan.neurons[last], plan.decays[last], num_steps)
        followed = last - 1
    own_reached = [
        None if so_far is None or share is None else reach(so_far, own, share)
        for so_far, own, share in zip(state.own_reached, changed, own_shares, strict=True)
    ]
    reached = []
    if plan.slopes:
        followed = 0
        reached = [reach(so_far, own, share) for so_far, own, share in zip(state.reached, changed, shares, strict=False)]
    # What is followed into later layers takes samples as rows.
    unprobed = Unprobed(
        [x.transpose(1, 2).contiguous() for x in driven[1:] if followed],
        [x.transpose(1, 2).contiguous() if x is not None and k < last - 1 else None for k, x in enumerate(spikes[1:]) if followed],
    )
    moved_spikes = [
        so_far if share is None or z is None else moved_by_delays(so_far, share, z)
        for so_far, share, z in zip(state.moved, moving, spikes, strict=True)
    ]
    memory = past, own_activity, own_reached, moved_spikes, decisions
    after = State(base, counts, activity, drive_of_input, total, probed, output, reached, *memory)
    return after, Block(changed[:followed], moved[:followed], unprobed)


def _windowed(share: Tensor, incoming: Tensor) -> Tensor:
    """What arrives in each window, ``[M, B, N]``, of ``incoming: [U, N, B]`` with the shares ``[U, M]``."""
    if share.shape[1] == 1:
        return (share[:, :, None] * incoming).sum(0).T[None]
    return torch.tensordot(share.T, incoming, 1).transpose(1, 2)
