"""A layer that spikes: its neurons and their probes, in arrays that are kept from step to step."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import layer_block, padded
from polystep_snn.engine.threads import split
from polystep_snn.snn.neurons import LIFState
from polystep_snn.snn.wiring import Wiring
from polystep_snn.spaces.node.loops.arrays import Constants, Probing, array
from polystep_snn.spaces.node.populations import Population

# Neurons that are worth a thread.
_GRAIN = 16


class LoopLayer:
    """States of N neurons, of which K are probed at V vertices, for B samples; B is padded to whole lanes.

    Args:
        wiring: what arrives.
        constants: of its neurons; those of every step may differ in numbers, but not in kind.
        num_vertices, num_probed, batch_size: V, K, B.
        decay: what the traces keep from one step to the next.
        num_steps: of a block, if spikes are wanted one by one; else 0.
        follow: whether what probes change is wanted one by one too.
        num_windows: of the next layer, if what probes change in them is wanted; else 0.
        dtype: of all.

    Attributes:
        base, probed: ``[N, B]`` and ``[V, K, B]``, after the last block.
        counts: ``[N, B]``, spikes so far.
        spikes: ``[U, N, B]`` of a block; ``changed: [U, V, K, B]`` int8, how those of the probed differ; None where not wanted.
        decay: of the traces, as loops take it: None for 1.
        reached: ``[M, V, K, B]``, see ``chained.py``; None where not wanted.
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
        dtype: torch.dtype,
    ):
        def make(*shape: int, kind: torch.dtype = dtype) -> Tensor:
            return torch.empty(*shape, padded(batch_size), dtype=kind)

        def population(*shape: int) -> Population:
            return Population(LIFState(make(*shape), make(*shape) if constants.has_synapse else None), make(*shape))

        own, probed = (wiring.num_neurons,), (num_vertices, num_probed)
        self.wiring = wiring
        self.base, self.probed = population(*own), population(*probed)
        self.counts = self.base.trace if decay == 1.0 else make(*own)
        self.spikes = make(num_steps, *own) if num_steps else None
        self.changed = make(num_steps, *probed, kind=torch.int8) if follow else None
        self.reached = make(num_windows, *probed) if num_windows else None
        self.costs = make(*probed)
        self.decay = None if decay == 1.0 else self.base.trace.numpy().dtype.type(decay)
        self._own = (*arrays(self.base), self.decay, None if decay == 1.0 else self.counts.numpy(), array(self.spikes))
        self._probed = (*arrays(self.probed), array(self.changed))
        self._reached = array(self.reached)
        self._sums = np.empty(wiring.num_neurons, self.base.trace.numpy().dtype)

    def through(self, constants: Constants, probing: Probing, current: Tensor, start: int, num_steps: int, shares: Tensor | None) -> float:
        """Through a block of steps that begins with step ``start``.

        Args:
            current: ``[U, N, B]``, or ``[1, N, B]`` where it is constant.
            shares: ``[T, M]``, how much of each step counts in each window of the next layer; with ``reached``.

        Returns:
            The sum of all currents: finite where they are.
        """
        steps = slice(start, start + num_steps)
        shift = probing.shift if probing.whole else probing.shift[steps]
        given: tuple[Any, ...] = start == 0, num_steps, *constants, current.numpy(), *self._own, shift, probing.place, *self._probed
        share = None if shares is None else shares[steps].numpy()
        split(layer_block, self.wiring.num_neurons, *given, share, self._reached, self._sums, grain=_GRAIN)
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
