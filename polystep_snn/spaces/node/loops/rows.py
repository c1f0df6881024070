"""Probes that changed a spike, followed through the layers behind: the numbers of ``followed``, of dense layers by compiled loops."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels
from polystep_snn.engine.loops import entropy_of_rows, rows_block, values_of_sums
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import CrossEntropy
from polystep_snn.snn.neurons import LIFState
from polystep_snn.snn.wiring import Fan
from polystep_snn.spaces.node.followed import Judge, Layers, Rows, Unprobed, advance_rows, row_costs, tile_size
from polystep_snn.spaces.node.last_hop import LinearEnd
from polystep_snn.spaces.node.loops.arrays import Constants
from polystep_snn.spaces.node.loops.layer import LoopLayer, arrays
from polystep_snn.spaces.node.loops.readout import Readout
from polystep_snn.spaces.node.populations import Neuron, Population

# Numbers of the widest layer that are held at a time in the last block, and rows that are worth a thread.
_NUMBERS, _GRAIN = 2**19, 64

Arrays = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...] | None, tuple[np.ndarray, ...]]


class Behind(NamedTuple):
    """What lies behind a probed layer, and that layer itself; samples are padded.

    Attributes:
        probed: the layer whose probes are followed.
        fan: weights from its probed neurons to the next layer.
        layers: those that spike behind it, the next first.
        constants, neurons, weights, decays: theirs.
        batch_size: samples without padding.
        chunk: rows at a time in the last block; None to choose.
    """

    probed: LoopLayer
    fan: Fan
    layers: Sequence[LoopLayer]
    constants: Sequence[Constants]
    neurons: Sequence[Neuron]
    weights: Sequence[Tensor]
    decays: Sequence[float]
    batch_size: int
    chunk: int | None

    def moved(self, num_steps: int) -> Tensor:
        """``[V, K, B]``, which probes changed a spike in a block; none of the padding did."""
        assert self.probed.changed is not None
        found = (self.probed.changed[:num_steps] != 0).any(0)
        found[..., self.batch_size :] = False
        return found


class Follower(Protocol):
    """The probes of one layer through a pass: ``before`` each block and after it, in the end ``costs``."""

    def before(self) -> Any:
        """The unprobed layers behind, as they are now."""
        ...

    def through_block(self, before: Any, currents: list[Tensor], num_steps: int) -> None:
        """To the end of a block that began with ``before``; ``currents [U, N, B]`` of the layers behind."""
        ...

    def costs(self, before: Any, currents: list[Tensor], num_steps: int, readout: Readout) -> None:
        """To the end of the last block, and into ``costs`` of the probed layer: of every probe that is no row those of the network."""
        ...


def follower(behind: Behind) -> Follower:
    """By loops where the layers are dense, and their neurons of one kind."""
    dense = behind.fan.targets is None and all(layer.wiring.is_matrix for layer in behind.layers)
    return LoopRows(behind) if dense and len({c.kind for c in behind.constants}) == 1 else EagerRows(behind)


class LoopRows:
    """The probes of one layer that have changed a spike so far."""

    def __init__(self, behind: Behind):
        self._behind = behind
        self._fan = behind.fan.values.contiguous().numpy()
        some = behind.constants
        integer = some[0].cuba is not None
        self._neurons: tuple[Any, ...] = (
            tuple(c.lif for c in some),
            tuple(c.cuba for c in some) if integer else None,
            tuple(c.bias for c in some) if integer else None,
            tuple(c.threshold for c in some) if integer else None,
        )
        decay, kind = behind.decays[-1], self._fan.dtype.type
        self._decay = None if decay == 1.0 else kind(decay)
        # What arrives at the first of them is in the fan.
        self._weights = (self._fan, *(weight.T.contiguous().numpy() for weight in behind.weights[1:]))
        self._sizes = [layer.wiring.num_neurons for layer in behind.layers]
        self._chunk = behind.chunk or max(_GRAIN, _NUMBERS // max(self._sizes))
        self._which = np.empty(0, np.int64)
        self._states = self._new_states(0)

    def before(self) -> Arrays:
        found = [arrays(_rows_of(layer.base)) for layer in self._behind.layers]
        synapses = tuple(i for _, i, _ in found if i is not None)
        return tuple(v for v, *_ in found), synapses or None, tuple(e for *_, e in found)

    def through_block(self, before: Arrays, currents: list[Tensor], num_steps: int) -> None:
        which = self._entered(num_steps)
        states = self._new_states(len(which))
        self._run(which, len(self._which), before, self._states, self._unprobed(currents, num_steps), states)
        self._which, self._states = which, states

    def costs(self, before: Arrays, currents: list[Tensor], num_steps: int, readout: Readout) -> None:
        which, begun = self._entered(num_steps), len(self._which)
        costs = self._behind.probed.costs
        costs[:] = readout.own
        unprobed = self._unprobed(currents, num_steps)
        for start in range(0, len(which), self._chunk):
            tile = which[start : start + self._chunk]
            states = self._new_states(len(tile))
            earlier = _cut(self._states, start, start + len(tile))
            self._run(tile, min(max(begun - start, 0), len(tile)), before, earlier, unprobed, states)
            self._judge(tile, states, readout, costs.view(-1))

    def _entered(self, num_steps: int) -> np.ndarray:
        """All rows: those that were some already, then those that moved for the first time, sample after sample."""
        moved = self._behind.moved(num_steps)
        moved.view(-1)[torch.from_numpy(self._which)] = False
        sample, probe = moved.flatten(0, 1).T.nonzero(as_tuple=True)
        return np.concatenate([self._which, (probe * moved.shape[2] + sample).numpy()])

    def _new_states(self, count: int) -> Arrays:
        def make() -> tuple[np.ndarray, ...]:
            return tuple(np.empty((count, n), self._fan.dtype) for n in self._sizes)

        return make(), make() if self._behind.constants[0].has_synapse else None, make()

    def _unprobed(self, currents: list[Tensor], num_steps: int) -> tuple[Any, ...]:
        """What probes changed in their own spikes, and currents and spikes of the layers behind, samples as rows."""
        driven = tuple(x.transpose(1, 2).contiguous().numpy() for x in currents)
        spikes = tuple(x.transpose(1, 2).contiguous().numpy() for x in _spikes(self._behind, num_steps)) or driven
        assert self._behind.probed.changed is not None
        return self._behind.probed.changed[:num_steps].flatten(1).numpy(), driven, spikes

    def _run(self, which: np.ndarray, begun: int, before: Arrays, earlier: Arrays, unprobed: tuple[Any, ...], states: Arrays) -> None:
        own, currents, spikes = unprobed
        given = (which, begun, self._fan, own, *self._neurons, self._decay, self._weights, currents, spikes)
        split(rows_block, len(which), *given, *before, *earlier, *states, grain=_GRAIN)

    def _judge(self, which: np.ndarray, states: Arrays, readout: Readout, costs: Tensor) -> None:
        end, cost, last = readout.direct, readout.cost, self._behind.layers[-1]
        v, e = torch.from_numpy(states[0][-1]), torch.from_numpy(states[2][-1])
        if isinstance(end, LinearEnd):
            values = e.new_empty(len(which), len(readout.value))
            weight, unprobed = (readout.weight.T * end.unit).contiguous().numpy(), last.base.trace.T.contiguous().numpy()
            value = readout.value.T.contiguous().numpy()
            split(values_of_sums, len(which), which, e.numpy(), unprobed, weight, value, values.numpy(), grain=_GRAIN)
        else:
            seen = end.membrane * v
            values = e + seen if end.counts else seen
        if type(cost) is CrossEntropy:
            scale = values.numpy().dtype.type(cost.scale)
            split(entropy_of_rows, len(which), values.numpy(), readout.classes, scale, readout.quick, which, costs.numpy(), grain=_GRAIN)
        else:
            place = torch.from_numpy(which)
            costs[place] = cost(values.T, readout.target[place % readout.value.shape[1]])


class EagerRows:
    """``followed``'s rows: for convolutions, and neurons of several kinds."""

    def __init__(self, behind: Behind):
        self._behind = behind
        wirings = [layer.wiring for layer in behind.layers]
        fan = Fan(behind.fan.values.contiguous(), behind.fan.targets)
        self._layers = Layers(fan, wirings, list(behind.weights), list(behind.neurons), list(behind.decays))
        *_, num_samples = behind.probed.costs.shape
        self._tile = tile_size(self._layers, len(behind.probed.costs) * len(fan.values) * num_samples, behind.chunk)
        self._rows: Rows | None = None
        self._run = Kernels(compile=False)

    def before(self) -> list[Population]:
        def copied(population: Population) -> Population:
            (v, i), trace = population
            return Population(LIFState(v.clone(), None if i is None else i.clone()), trace.clone())

        return [copied(layer.base) for layer in self._behind.layers]

    def through_block(self, before: list[Population], currents: list[Tensor], num_steps: int) -> None:
        spikes: list[Tensor | None] = [x.transpose(1, 2).contiguous() for x in _spikes(self._behind, num_steps)]
        unprobed = Unprobed([x.transpose(1, 2).contiguous() for x in currents], [*spikes, None])
        changed = self._behind.probed.changed
        assert changed is not None
        moved = self._behind.moved(num_steps)
        self._rows = advance_rows(self._rows, self._layers, unprobed, before, changed[:num_steps], moved, self._tile, self._run)

    def costs(self, before: list[Population], currents: list[Tensor], num_steps: int, readout: Readout) -> None:
        self.through_block(before, currents, num_steps)
        assert self._rows is not None
        last = self._behind.layers[-1].base
        judge = Judge(readout.direct, readout.weight, last, readout.value, readout.own, readout.target, readout.cost)
        probed = self._behind.probed
        probed.costs[:] = row_costs(self._rows, self._layers, judge, probed.costs.shape, self._tile, self._run)


def _spikes(behind: Behind, num_steps: int) -> list[Tensor]:
    """Of the layers behind, but for the last."""
    return [layer.spikes[:num_steps] for layer in behind.layers[:-1] if layer.spikes is not None]


def _rows_of(population: Population) -> Population:
    (v, i), trace = population
    return Population(LIFState(v.T.contiguous(), None if i is None else i.T.contiguous()), trace.T.contiguous())


def _cut(states: Arrays, start: int, end: int) -> Arrays:
    v, i, e = (None if part is None else tuple(x[start:end] for x in part) for part in states)
    assert v is not None
    assert e is not None
    return v, i, e
