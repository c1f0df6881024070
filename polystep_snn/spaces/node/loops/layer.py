"""A layer that spikes: its neurons and their probes, in arrays that are kept from step to step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import layer_block, padded
from polystep_snn.engine.threads import split
from polystep_snn.snn.layer import Layer
from polystep_snn.snn.neurons import LIFState
from polystep_snn.snn.wiring import Wiring
from polystep_snn.spaces.node.last_hop import End, LinearEnd, chosen
from polystep_snn.spaces.node.loops.arrays import Constants, Probing, array
from polystep_snn.spaces.node.memory import arrival_shares, moving_shares
from polystep_snn.spaces.node.over_time import OverTimeEnd
from polystep_snn.spaces.node.pass_state import LayerProbes
from polystep_snn.spaces.node.populations import Population

# Neurons that are worth a thread.
_GRAIN = 16


class LayerShares(NamedTuple):
    """What spikes of each step count.

    Attributes:
        reached: ``[T, 1, M]`` or ``[T, K, M]``, in each window of the next layer; None where nobody asks.
        own_reached: ``[T, 1, M]``, in the layer's own windows, a step later.
        traced: ``[T, N]``, in the traces; None where these decay.
        moving: as of ``memory.moving_shares``.
    """

    reached: Tensor | None = None
    own_reached: Tensor | None = None
    traced: Tensor | None = None
    moving: Tensor | None = None


def shares_of(
    k: int,
    probes: Sequence[LayerProbes],
    layers: Sequence[Layer],
    num_layers: int,
    end: End,
    num_steps: int,
    chained: bool,
    recurrent_credit: bool,
) -> LayerShares:
    """What spikes of layer k count, of ``num_layers`` that spike; the rest as of ``one_pass.run_probes``."""
    reached = own = traced = None
    if (k + 1 < num_layers and chained) or isinstance(end, OverTimeEnd):
        delays = layers[k + 1].delays
        lag = 0 if delays is None else chosen(delays, probes[k].neurons, 0)
        reached = arrival_shares(torch.linalg.pinv(probes[k + 1].windows).T, lag)
        reached = (reached[:, None] if reached.ndim == 2 else reached).contiguous()
    if layers[k].recurrent is not None and recurrent_credit:
        own = arrival_shares(torch.linalg.pinv(probes[k].windows).T, 1)[:, None].contiguous()
    if k + 1 == num_layers and isinstance(end, LinearEnd):
        traced = end.trace_shares(num_steps, layers[-1].delays)
    moving = None
    if k + 1 < len(layers):
        moving = moving_shares(layers[k + 1], end, probes[k + 1], num_steps, k + 1 == num_layers)
    return LayerShares(reached, own, traced, moving)


class LoopLayer:
    """States of N neurons, of which K are probed at V vertices, for B samples; B is padded to whole lanes.

    Args:
        wiring: what arrives.
        constants: of its neurons; those of every step may differ in numbers, but not in kind.
        num_vertices, num_probed, batch_size: V, K, B.
        decay: what the traces keep from one step to the next.
        num_steps: of a block, if spikes are wanted one by one; else 0.
        follow: whether what probes change is wanted one by one too.
        num_windows: of the next layer, or of a readout that decides over time, if what probes change in them is wanted; else 0.
        own_windows: of the layer itself, if what probes change in them a step later is wanted; else 0.
        num_past: spikes of so many steps before a block are kept.
        traced: whether spikes add to the traces by shares, not by ``decay``.
        dtype: of all.

    Attributes:
        base, probed: ``[N, B]`` and ``[V, K, B]``, after the last block.
        counts: ``[N, B]``, spikes so far.
        spikes: ``[U, N, B]`` of a block; ``changed: [U, V, K, B]`` int8, how those of the probed differ; None where not wanted.
        sent: ``[P + U, N, B]``, the spikes and those of the steps before.
        decay: of the traces, as loops take it: None for 1.
        reached, own_reached: ``[M, V, K, B]``, see ``chained.py`` and ``memory.py``; None where not wanted.
        costs: ``[V, K, B]``, of whoever computes them.
    """

    def __init__(
        self,
        wiring: Wiring,
        constants: Constants,
        num_vertices: int,
        num_probed: int,
        batch_size: int,
        decay: float,
        num_steps: int,
        follow: bool,
        num_windows: int,
        own_windows: int,
        num_past: int,
        traced: bool,
        dtype: torch.dtype,
    ):
        def make(*shape: int, kind: torch.dtype = dtype) -> Tensor:
            return torch.empty(*shape, padded(batch_size), dtype=kind)

        def population(*shape: int) -> Population:
            return Population(LIFState(make(*shape), make(*shape) if constants.has_synapse else None), make(*shape))

        own, probed = (wiring.num_neurons,), (num_vertices, num_probed)
        self.wiring = wiring
        self.base, self.probed = population(*own), population(*probed)
        counted = decay == 1.0 and not traced
        self.counts = self.base.trace if counted else make(*own)
        self.sent = make(num_past + num_steps, *own) if num_steps else None
        self.spikes = None if self.sent is None else self.sent[num_past:]
        self.changed = make(num_steps, *probed, kind=torch.int8) if follow else None
        self.reached = make(num_windows, *probed) if num_windows else None
        self.own_reached = make(own_windows, *probed) if own_windows else None
        self.costs = make(*probed)
        self.decay = None if decay == 1.0 else self.base.trace.numpy().dtype.type(decay)
        self._own, self._counts = (*arrays(self.base), self.decay), None if counted else self.counts.numpy()
        self._spikes = array(self.spikes)
        self._probed = (*arrays(self.probed), array(self.changed))
        self._reached, self._own_reached = array(self.reached), array(self.own_reached)
        self._sums = np.empty(wiring.num_neurons, self.base.trace.numpy().dtype)

    def through(self, constants: Constants, probing: Probing, current: Tensor, start: int, num_steps: int, shares: "LayerShares") -> float:
        """Through a block of steps that begins with step ``start``.

        Args:
            current: ``[U, N, B]``, or ``[1, N, B]`` where it is constant.
            shares: what spikes of each step count.

        Returns:
            The sum of all currents: finite where they are.
        """
        steps = slice(start, start + num_steps)
        shift = probing.shift if probing.whole else probing.shift[steps]
        reached, own_reached, traced = (None if x is None else x[steps].numpy() for x in shares[:3])
        given: tuple[Any, ...] = start == 0, num_steps, *constants, current.numpy(), *self._own, traced, self._counts, self._spikes
        probes = shift, probing.starts - start, probing.place, *self._probed, reached, self._reached, own_reached, self._own_reached
        split(layer_block, self.wiring.num_neurons, *given, *probes, self._sums, grain=_GRAIN)
        return float(np.add.reduce(self._sums))

    def to_rest(self) -> None:
        """The unprobed neurons; ``through`` does it by itself in the first block."""
        (v, i), trace = self.base
        for x in (v, i, trace):
            if x is not None:
                x.zero_()


def arrays(population: Population) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Membranes, synapses and traces."""
    (v, i), trace = population
    return v.numpy(), array(i), trace.numpy()
