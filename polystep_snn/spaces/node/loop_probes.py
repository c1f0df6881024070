"""``run_probes`` on the CPU, by compiled loops."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels
from polystep_snn.polystep.cost import Cost
from polystep_snn.snn.frames import Frames, check_block, time_blocks
from polystep_snn.snn.network import Layer
from polystep_snn.snn.neurons import LIFState
from polystep_snn.spaces.node.followed import Judge, Layers, Rows, Unprobed, advance_rows, row_costs, tile_size
from polystep_snn.spaces.node.last_hop import LinearEnd, NeuronEnd
from polystep_snn.spaces.node.loop_arrays import Constants, constants, prepared
from polystep_snn.spaces.node.loop_pass import FirstLayer, Told, advance
from polystep_snn.spaces.node.loop_rows import LoopRows, can_follow
from polystep_snn.spaces.node.pass_state import Pass, Plan, State, at_start, layers_behind
from polystep_snn.spaces.node.populations import Population


def run_by_loops(
    plan: Plan,
    layers: Sequence[Layer],
    end: LinearEnd | NeuronEnd,
    inputs: Frames | Tensor,
    target: Tensor,
    cost: Cost,
    chunk: int | None,
) -> Pass:
    """Take a network and its probes through time; see ``run_probes``, whose ``plan`` and ``end`` these are."""
    weight, num_samples, last = plan.weights[0], len(target), len(plan.neurons) - 1
    of = [constants(p, wiring.num_neurons, weight.dtype) for p, wiring in zip(plan.neurons, plan.wirings, strict=False)]
    probing = [prepared(p, wiring.num_neurons) for p, wiring in zip(plan.probes, plan.wirings, strict=True)]
    # What arrives in a window that is the whole sequence is known in the end.
    known = {k for k, p in enumerate(probing) if p.whole and (k or plan.constant)}
    state, first = at_start(plan, num_samples, known), FirstLayer(plan)
    follow = last > 0 and not plan.slopes
    followed = [_followed(plan, layers, of, k, num_samples, chunk) for k in range(last if follow else 0)]
    for start, num_steps, arriving in time_blocks(inputs, sparse=plan.columns is not None):
        check_block(arriving, num_samples, plan.wirings[0].num_inputs, weight.dtype)
        begins = [x.before(state) for x in followed]
        told = advance(plan, state, of, probing, first.current(arriving), start, num_steps, follow)
        if isinstance(arriving, Tensor):
            _arrived(plan, state, arriving, start, probing[0].whole)
        if start + num_steps < len(inputs):
            for x, before in zip(followed, begins, strict=True):
                x.through_block(before, told)
    for k, decay in enumerate(plan.decays):
        if decay == 1.0:
            state.counts[k] = state.base[k].trace
        if k < last and probing[k + 1].whole:
            state.activity[k + 1] = state.counts[k].T[None]
    costs = []
    if followed:
        value = end.value(plan.weights, state.base[-1])
        judge = Judge(end, plan.weights[-1], state.base[-1], value, cost(value, target), target, cost)
        costs = [x.costs(before, told, judge) for x, before in zip(followed, begins, strict=True)]
    return Pass(plan, state, end, len(inputs), costs, first.entries)


def _arrived(plan: Plan, state: State, frames: Tensor, start: int, whole: bool) -> None:
    """Add a block's frames ``[U, B, N]`` to what arrived at the first layer."""
    activity = state.activity[0]
    if plan.constant:
        state.activity[0] = frames
        return
    assert activity is not None
    if whole:
        activity[0] += frames.sum(0)
    else:
        activity += torch.tensordot(plan.probes[0].windows[start : start + len(frames)].T, frames, 1)


def _followed(plan: Plan, layers: Sequence[Layer], of: list[Constants], layer: int, num_samples: int, chunk: int | None) -> Any:
    if can_follow(plan, of, layer):
        return LoopRows(plan, of, layer, chunk)
    return _EagerRows(layers_behind(plan, layers, layer), plan, layer, num_samples, chunk)


class _EagerRows:
    """``followed``'s rows behind the interface of ``LoopRows``: for convolutions, and neurons of several kinds."""

    def __init__(self, behind: Layers, plan: Plan, layer: int, num_samples: int, chunk: int | None):
        self._behind, self._layer = behind, layer
        self._tile = tile_size(behind, len(plan.probes[layer].offsets) * len(behind.fan.values) * num_samples, chunk)
        self._rows: Rows | None = None
        self._run = Kernels(compile=False)

    def before(self, state: State) -> list[Population]:
        def copied(population: Population) -> Population:
            (v, i), trace = population
            return Population(LIFState(v.clone(), None if i is None else i.clone()), trace.clone())

        return [copied(population) for population in state.base[self._layer + 1 :]]

    def through_block(self, before: list[Population], told: Told) -> None:
        k = self._layer
        # All steps of a constant current: every layer behind a spiking one has its own in each step.
        currents = [x.transpose(1, 2).contiguous() for x in told.currents[k + 1 :]]
        spikes: list[Tensor | None] = [x.transpose(1, 2).contiguous() for x in told.spikes[k + 1 :]]
        unprobed = Unprobed(currents, [*spikes, None])
        self._rows = advance_rows(self._rows, self._behind, unprobed, before, told.changed[k], told.moved[k], self._tile, self._run)

    def costs(self, before: list[Population], told: Told, judge: Judge) -> Tensor:
        self.through_block(before, told)
        assert self._rows is not None
        return row_costs(self._rows, self._behind, judge, told.moved[self._layer].shape, self._tile, self._run)
