"""Probes that changed a spike, followed through dense layers on the CPU: the numbers of ``followed``, by compiled loops."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import entropy_of_values, rows_block, values_of_sums
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import CrossEntropy
from polystep_snn.spaces.node.followed import Judge
from polystep_snn.spaces.node.last_hop import LinearEnd
from polystep_snn.spaces.node.loop_arrays import Constants, arrays
from polystep_snn.spaces.node.loop_pass import Told
from polystep_snn.spaces.node.pass_state import Plan, State
from polystep_snn.spaces.node.populations import Population

# Numbers of the widest layer that are held at a time in the last block, and rows that are worth a thread.
_NUMBERS, _GRAIN = 2**19, 64

Arrays = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...] | None, tuple[np.ndarray, ...]]


def can_follow(plan: Plan, of: list[Constants], layer: int) -> bool:
    """Whether the layers behind are dense, and their neurons of one kind."""
    kinds = {(c.cuba is None, tuple(x is None for x in c.lif), tuple(x is None for x in c.cuba or ())) for c in of[layer + 1 :]}
    return len(kinds) == 1 and all(wiring.is_matrix for wiring in plan.wirings[layer + 1 :])


class LoopRows:
    """The probes of one layer that have changed a spike so far.

    Args:
        plan: of the pass.
        of: the constants of each layer that spikes.
        layer: whose probes they are.
        chunk: rows at a time in the last block; None to choose.
    """

    def __init__(self, plan: Plan, of: list[Constants], layer: int, chunk: int | None):
        behind = range(layer + 1, len(plan.neurons))
        self._layer, self._behind = layer, behind
        probes = plan.probes[layer]
        self._shape = len(probes.offsets), plan.wirings[layer].num_neurons if probes.neurons is None else len(probes.neurons)
        self._fan = plan.wirings[layer + 1].fan(plan.weights[layer + 1], probes.neurons).values.contiguous().numpy()
        some = [of[k] for k in behind]
        integer = some[0].cuba is not None
        self._neurons: tuple[Any, ...] = (
            tuple(c.lif for c in some),
            tuple(c.cuba for c in some) if integer else None,
            tuple(c.bias for c in some) if integer else None,
            tuple(c.threshold for c in some) if integer else None,
        )
        decay, kind = plan.decays[-1], self._fan.dtype.type
        self._decay = None if decay == 1.0 else kind(decay)
        # What arrives at the first of them is in the fan.
        self._weights = (self._fan, *(plan.weights[k].T.contiguous().numpy() for k in behind[1:]))
        self._sizes = [plan.wirings[k].num_neurons for k in behind]
        self._chunk = chunk or max(_GRAIN, _NUMBERS // max(self._sizes))
        self._which = np.empty(0, np.int64)
        cuba = some[0].cuba
        self._has_synapse = some[0].lif[1] is not None or (cuba is not None and cuba[0] is not None)
        self._states = self._room(0)

    def before(self, state: State) -> Arrays:
        """The unprobed layers behind, samples as rows, as they are now."""
        found = [arrays(_rows_of(state.base[k])) for k in self._behind]
        return _joined(found)

    def through_block(self, before: Arrays, told: Told) -> None:
        """To the end of a block that began with ``before``."""
        which = self._entered(told.moved[self._layer])
        states = self._room(len(which))
        self._run(which, len(self._which), before, self._states, self._unprobed(told), states)
        self._which, self._states = which, states

    def costs(self, before: Arrays, told: Told, judge: Judge) -> Tensor:
        """Costs ``[V, K, B]`` after a last block: of every probe that is no row that of the unprobed network."""
        which, begun = self._entered(told.moved[self._layer]), len(self._which)
        costs = judge.own.expand(*self._shape, -1).contiguous()
        unprobed = self._unprobed(told)
        for start in range(0, len(which), self._chunk):
            tile = which[start : start + self._chunk]
            states = self._room(len(tile))
            earlier = _cut(self._states, start, start + len(tile))
            self._run(tile, min(max(begun - start, 0), len(tile)), before, earlier, unprobed, states)
            self._judge(tile, states, judge, costs)
        return costs

    def _entered(self, moved: Tensor) -> np.ndarray:
        """All rows: those that were some already, then those that moved for the first time, sample after sample."""
        *_, num_samples = moved.shape
        moved = moved.clone()
        moved.view(-1)[torch.from_numpy(self._which)] = False
        sample, probe = moved.flatten(0, 1).T.nonzero(as_tuple=True)
        return np.concatenate([self._which, (probe * num_samples + sample).numpy()])

    def _room(self, count: int) -> Arrays:
        def make() -> tuple[np.ndarray, ...]:
            return tuple(np.empty((count, n), self._fan.dtype) for n in self._sizes)

        return make(), make() if self._has_synapse else None, make()

    def _unprobed(self, told: Told) -> tuple[Any, ...]:
        """What probes changed in their own spikes, and currents and spikes of the layers behind, samples as rows."""
        currents = tuple(told.currents[k].transpose(1, 2).contiguous().numpy() for k in self._behind)
        spikes = tuple(told.spikes[k].transpose(1, 2).contiguous().numpy() for k in self._behind[:-1]) or currents
        return told.changed[self._layer].flatten(1).numpy(), currents, spikes

    def _run(self, which: np.ndarray, begun: int, before: Arrays, earlier: Arrays, unprobed: tuple[Any, ...], states: Arrays) -> None:
        own, currents, spikes = unprobed
        given = (which, begun, self._fan, own, *self._neurons, self._decay, self._weights, currents, spikes)
        split(rows_block, len(which), *given, *before, *earlier, *states, grain=_GRAIN)

    def _judge(self, which: np.ndarray, states: Arrays, judge: Judge, costs: Tensor) -> None:
        end, cost = judge.end, judge.cost
        v, e = torch.from_numpy(states[0][-1]), torch.from_numpy(states[2][-1])
        if isinstance(end, LinearEnd):
            values = e.new_empty(len(which), len(judge.value))
            weight = (judge.weight.T * end.unit).contiguous()
            given: tuple[Any, ...] = (
                which,
                e.numpy(),
                judge.last.trace.T.contiguous().numpy(),
                weight.numpy(),
                judge.value.T.contiguous().numpy(),
            )
            split(values_of_sums, len(which), *given, values.numpy(), grain=_GRAIN)
        else:
            seen = end.membrane * v
            values = e + seen if end.counts else seen
        if isinstance(cost, CrossEntropy):
            exact = None if values.dtype == torch.float32 else True
            scale = values.numpy().dtype.type(cost.scale)
            given = (values.numpy(), judge.target.numpy(), scale, exact, which, costs.view(-1).numpy())
            split(entropy_of_values, len(which), *given, grain=_GRAIN)
        else:
            place = torch.from_numpy(which)
            costs.view(-1)[place] = cost(values.T, judge.target[place % len(judge.target)])


def _rows_of(population: Population) -> Population:
    (v, i), trace = population
    state = type(population.state)(v.T.contiguous(), None if i is None else i.T.contiguous())
    return Population(state, trace.T.contiguous())


def _joined(found: list[tuple[np.ndarray, np.ndarray | None, np.ndarray]]) -> Arrays:
    synapses = tuple(i for _, i, _ in found if i is not None)
    return tuple(v for v, *_ in found), synapses or None, tuple(e for *_, e in found)


def _cut(states: Arrays, start: int, end: int) -> Arrays:
    v, i, e = (None if part is None else tuple(x[start:end] for x in part) for part in states)
    assert v is not None
    assert e is not None
    return v, i, e
