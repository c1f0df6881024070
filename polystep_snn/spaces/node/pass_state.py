"""What a pass over time knows and carries along: probes, plan, the state between blocks, what a block tells the layers behind."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.snn.layer import Layer
from polystep_snn.snn.wiring import Fan, Wiring, past_steps
from polystep_snn.spaces.node.followed import Layers, Unprobed
from polystep_snn.spaces.node.last_hop import End, chosen
from polystep_snn.spaces.node.over_time import Decisions, OverTimeEnd, at_first
from polystep_snn.spaces.node.populations import Neuron, Population, at_rest


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


class Plan(NamedTuple):
    """What stays the same throughout a pass: the network, and what is probed in it. Lists have one entry a spiking layer,
    but for wirings, weights, biases, probes and fits, which have the readout's as well.

    Attributes:
        constant: whether every frame is the same.
        columns: the first layer's weights, one row an input, where events stay sparse; else None.
        slopes: for each spiking layer but the first, where credit is handed on from layer to layer: what makes slopes of its costs,
            ``[M, V]``, and what a change of one spike counts in its windows, ``[T, M]``; and for a readout that decides over time.
            Empty where probes are followed.
        hops: whether output neurons are simulated under every probe of the layer before.
        recurrents: recurrent weights ``[N, N]`` of every spiking layer; None where there are none.
        delays: ``[M]``, how many steps later the inputs of each layer arrive, the readout's as well; None where all arrive at once.
        own_slopes: for each spiking layer with recurrent weights what ``slopes`` holds, for its own windows, one step later; else None.
        trace_shares: ``[T, N]``, what a spike of the last spiking layer in each step adds to its trace, where the readout sees it
            later than it is sent; else None.
        moving: for each spiking layer whose spikes leave with learned delays, ``memory.moving_shares``; else None.
        worth: of a readout that decides over time, ``OverTimeEnd.worth``, ``[T, M]``; else None.
    """

    wirings: list[Wiring]
    weights: list[Tensor]
    biases: list[Tensor]
    neurons: list[Neuron]
    decays: list[float]
    probes: list[LayerProbes]
    constant: bool
    columns: Tensor | None
    slopes: list[tuple[Tensor, Tensor]]
    hops: bool
    recurrents: list[Tensor | None]
    delays: list[Tensor | None]
    own_slopes: list[tuple[Tensor, Tensor] | None]
    trace_shares: Tensor | None
    moving: list[Tensor | None]
    worth: Tensor | None


class State(NamedTuple):
    """What lives across blocks.

    Attributes:
        base: the unprobed network, ``[N, B]`` a layer.
        counts: its spikes so far, ``[N, B]`` a layer.
        activity: what arrived in each time window so far, ``[M, B, N]`` a layer; ``[1, B, N]``, one frame, where all are the same; None for
            events, which tell it themselves.
        drive: the first layer's current where it is constant, computed once; None before, and where it is not.
        total: sum of all input currents so far: where it is not finite, an input or a weight is not.
        probed: the probed neurons, ``[V, K, B]`` a layer.
        output: the output neurons under the probes of the layer before, ``[V, K, C, B]``; None where those are followed as rows.
        reached: what the probes of each spiking layer but the last have changed in their own spikes, in the windows of the next one:
            ``[M, V, K, B]``; of the last one too, in front of a readout that decides over time. Empty where they are followed.
        past: the last spikes of each spiking layer, ``[P, N, B]``; None where nobody asks for them.
        own_activity: of recurrent layers, their own spikes that arrived in each window so far, ``[M, B, N]``; else None.
        own_reached: of recurrent layers, what probes have changed in their own spikes, in their own windows, one step later,
            ``[M, V, K, B]``; else None.
        moved: of layers whose spikes leave with learned delays, what other delays change so far, ``[M, N, B]``; else None.
        decisions: of a readout that decides over time; else None.
    """

    base: list[Population]
    counts: list[Tensor]
    activity: list[Tensor | None]
    drive: Tensor | None
    total: Tensor
    probed: list[Population]
    output: Population | None
    reached: list[Tensor]
    past: list[Tensor | None]
    own_activity: list[Tensor | None]
    own_reached: list[Tensor | None]
    moved: list[Tensor | None]
    decisions: Decisions | None


class Block(NamedTuple):
    """What happened in a block, as the layers behind a probe need it.

    Attributes:
        changed: ``[U, V, K, B]`` int8 for each layer whose probes are followed as rows, what they changed in its spikes.
        moved: ``[V, K, B]`` for the same layers, where that is anything.
        unprobed: of the layers behind them.
    """

    changed: list[Tensor]
    moved: list[Tensor]
    unprobed: Unprobed


class Pass(NamedTuple):
    """A pass over time that has gone by; ``settle`` makes costs of it.

    Attributes:
        behind: for each layer whose probes were followed as rows their costs ``[V, K, B]``.
    """

    plan: Plan
    state: State
    end: End
    num_steps: int
    behind: list[Tensor]


def at_start(plan: Plan, end: End, batch_size: int) -> State:
    """Everything at rest."""
    rest = [plan.weights[0].new_zeros(w.num_neurons, batch_size) for w in plan.wirings[: len(plan.neurons)]]
    activity: list[Tensor | None] = []
    probed = []
    for like, p, (offsets, windows, neurons), wiring in zip(rest, plan.neurons, plan.probes, plan.wirings, strict=False):
        told = plan.columns is not None and not activity
        activity.append(None if told else like.new_zeros(windows.shape[1], batch_size, wiring.num_inputs))
        probed.append(at_rest(chosen(like, neurons, 0).expand(len(offsets), -1, -1), p))
    base = [at_rest(like, p) for like, p in zip(rest, plan.neurons, strict=True)]
    output = None
    if plan.hops:
        before = probed[-2].trace
        output = at_rest(before.new_zeros(*before.shape[:2], *rest[-1].shape), plan.neurons[-1])
    reached = [p.trace.new_zeros(shares.shape[-1], *p.trace.shape) for p, (_, shares) in zip(probed, plan.slopes, strict=False)]
    past, own_activity, own_reached = [], [], []
    each = zip(rest, probed, plan.recurrents, past_steps(plan.wirings), strict=False)
    for k, (like, population, recurrent, steps) in enumerate(each):
        past.append(like.new_zeros(steps, *like.shape) if steps else None)
        num_windows = plan.probes[k].windows.shape[1]
        own_activity.append(None if recurrent is None else like.new_zeros(num_windows, *like.T.shape))
        own_reached.append(None if plan.own_slopes[k] is None else like.new_zeros(num_windows, *population.trace.shape))
    counts = [torch.zeros_like(like) for like in rest]
    moved: list[Tensor | None] = [None for _ in rest]
    decisions = None
    if isinstance(end, OverTimeEnd):
        wiring, num_windows = plan.wirings[-1], plan.probes[-1].windows.shape[1]
        activity.append(rest[0].new_zeros(num_windows, batch_size, wiring.num_inputs))
        decisions = at_first(end, rest[0].new_zeros(wiring.num_neurons, batch_size), num_windows)
    memory = past, own_activity, own_reached, moved, decisions
    return State(base, counts, activity, None, rest[0].new_zeros(()), probed, output, reached, *memory)


def layers_behind(plan: Plan, layers: Sequence[Layer], layer: int) -> Layers:
    """The layers that spike behind one that is probed."""
    fan = plan.wirings[layer + 1].fan(plan.weights[layer + 1], plan.probes[layer].neurons)
    some = slice(layer + 1, len(plan.neurons))
    neurons = [x.neuron for x in layers[some] if x.neuron is not None]
    return Layers(Fan(fan.values.contiguous(), fan.targets), plan.wirings[some], plan.weights[some], neurons, plan.decays[some])
