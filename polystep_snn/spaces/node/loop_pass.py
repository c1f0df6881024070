"""A pass over time on the CPU, by compiled loops: the numbers of ``one_pass`` and ``followed``, with states that are changed in place."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polystep_snn.engine.entries import Entries
from polystep_snn.engine.loops import layer_block
from polystep_snn.engine.threads import split
from polystep_snn.snn.frames import EventBlock
from polystep_snn.spaces.node.currents import currents
from polystep_snn.spaces.node.loop_arrays import Constants, Prepared, array, arrays
from polystep_snn.spaces.node.pass_state import Plan, State

# Neurons that are worth a thread.
_GRAIN = 16


class Told(NamedTuple):
    """What a block tells about the layers that spike, as those who follow probes need it.

    Attributes:
        currents: ``[U, N, B]`` of each layer.
        spikes: ``[U, N, B]`` of each layer but the last.
        changed, moved: of each layer whose probes are followed, as ``pass_state.Block`` has them.
    """

    currents: list[Tensor]
    spikes: list[Tensor]
    changed: list[Tensor]
    moved: list[Tensor]


class FirstLayer:
    """What the input drives the first layer with.

    Attributes:
        entries: of a constant input that is zero almost everywhere, for its gradient too.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self._drive: Tensor | None = None
        self.entries: Entries | None = None

    def current(self, arriving: Tensor | EventBlock) -> Tensor:
        """``[U, N, B]`` of a block's frames ``[U, B, N]``, or of its events; ``[1, N, B]`` of a constant input."""
        plan = self._plan
        if isinstance(arriving, EventBlock):
            assert plan.columns is not None
            return (arriving.times(plan.columns) + plan.biases[0]).transpose(1, 2).contiguous()
        if self._drive is not None:
            return self._drive
        entries = Entries.of(arriving.flatten(0, 1)) if plan.wirings[0].is_matrix else None
        if entries is not None:
            found = entries.times(plan.weights[0], plan.biases[0], arriving.shape[1])
        else:
            found = currents(plan.wirings[0], plan.weights[0], plan.biases[0], arriving.transpose(1, 2))
        if plan.constant:
            self._drive, self.entries = found, entries
        return found


def advance(
    plan: Plan,
    state: State,
    of: Sequence[Constants],
    probing: Sequence[Prepared],
    current: Tensor,
    start: int,
    num_steps: int,
    follow: bool,
) -> Told:
    """The network and the probed neurons through a block of U steps; ``state`` is changed in place.

    Args:
        of: the constants of each layer that spikes.
        probing: of each layer.
        current: what the input drives the first layer with.
        start: the block's first step.
        follow: whether probes are followed into later layers.
    """
    steps, last = slice(start, start + num_steps), len(of) - 1
    told = Told([], [], [], [])
    for k, (constant, decay) in enumerate(zip(of, plan.decays, strict=True)):
        base, probed = state.base[k], state.probed[k]
        told.currents.append(current)
        state.total.add_(current.sum())
        spikes = changed = moved = shares = reached = None
        if k < last:
            spikes = base.trace.new_empty(num_steps, *base.trace.shape)
            if follow:
                changed = torch.empty(num_steps, *probed.trace.shape, dtype=torch.int8)
                moved = torch.empty(probed.trace.shape, dtype=torch.bool)
            if state.reached:
                shares, reached = plan.slopes[k][1][steps], state.reached[k]
        counted = decay == 1.0
        num_neurons = len(base.trace)
        given: tuple[Any, ...] = (
            *constant,
            current.numpy(),
            *arrays(base),
            None if counted else base.trace.numpy().dtype.type(decay),
        )
        given += (None if counted else state.counts[k].numpy(), array(spikes))
        given += (probing[k].shift[steps], probing[k].where, *arrays(probed), array(changed), array(moved))
        split(layer_block, num_neurons, *given, array(shares), array(reached), grain=_GRAIN)
        if spikes is not None:
            told.spikes.append(spikes)
            if changed is not None and moved is not None:
                told.changed.append(changed)
                told.moved.append(moved)
            if not probing[k + 1].whole:
                _gather(state.activity[k + 1], plan.probes[k + 1].windows[steps], spikes)
            current = currents(plan.wirings[k + 1], plan.weights[k + 1], plan.biases[k + 1], spikes)
    return told


def _gather(activity: Tensor | None, windows: Tensor, spikes: Tensor) -> None:
    """Add what arrives in each window to ``activity [M, B, N]``, of ``spikes [U, N, B]``."""
    assert activity is not None
    activity += torch.tensordot(windows.T, spikes, 1).transpose(1, 2)
