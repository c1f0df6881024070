"""The last layer that is simulated, under the probes of the layer before: samples side by side, those that no probe changed too."""

from typing import Any

import torch
from torch import Tensor

from polystep_snn.engine.loops import hop_block
from polystep_snn.engine.threads import split
from polystep_snn.spaces.node.last_hop import LinearEnd
from polystep_snn.spaces.node.loops.arrays import Constants, Probing
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.loops.readout import Readout

# Numbers of states that are kept from block to block at most, and of readouts that are made at a time; neurons that are worth a thread.
_STATES, _READOUTS, _GRAIN = 2**23, 2**19, 4


def hops(before: LoopLayer, last: LoopLayer, num_blocks: int) -> bool:
    """Whether a layer is dense, and small enough to be simulated under every probe of the one before."""
    *probed, num_samples = before.costs.shape
    return last.wiring.is_matrix and (num_blocks == 1 or probed[0] * probed[1] * len(last.base.trace) * num_samples <= _STATES)


class Hop:
    """The last layer under the probes of the one before, through a pass.

    Args:
        before, last: the two layers.
        weight: ``[N, N']`` of the last one.
        constants: of its neurons.
        probing: of the neurons before it.
        num_blocks: of the pass.
    """

    def __init__(self, before: LoopLayer, last: LoopLayer, weight: Tensor, constants: Constants, probing: Probing, num_blocks: int):
        self._before, self._last = before, last
        chosen = weight if probing.all_probed else weight[:, torch.from_numpy(probing.chosen)]
        self._columns = chosen.T.contiguous().numpy()
        self._constants = constants
        shape = (*before.costs.shape[:2], *last.base.trace.shape)
        wanted = (num_blocks > 1, num_blocks > 1 and constants.has_synapse, num_blocks > 1)
        self._states = [torch.empty(shape, dtype=weight.dtype).numpy() if x else None for x in wanted]
        self._current: Tensor | None = None
        self._start = self._num_steps = 0

    def through_block(self, current: Tensor, start: int, num_steps: int) -> None:
        """Through a block that is not the last one; ``current [U, N, B]`` of the last layer."""
        self._remember(current, start, num_steps)
        nothing = current.new_empty(0, 0, 0, 0).numpy()
        self._run(0, len(self._columns), False, None, 0.0, 0.0, nothing)

    def costs(self, current: Tensor, start: int, num_steps: int, readout: Readout) -> None:
        """Through the last block, and into ``costs`` of the layer before."""
        self._remember(current, start, num_steps)
        end = readout.direct
        weight, per_spike, per_membrane = None, 0.0, 0.0
        if isinstance(end, LinearEnd):
            weight = (readout.weight * end.unit).numpy()
        else:
            per_spike, per_membrane = float(end.counts), end.membrane.item()
        num_vertices, num_probed, _ = self._before.costs.shape
        # A multiple of what is worked on side by side.
        chunk = max(_GRAIN, _READOUTS // (num_vertices * readout.value.numel()) // _GRAIN * _GRAIN)
        for first in range(0, num_probed, chunk):
            behind = min(first + chunk, num_probed)
            values = readout.value.expand(num_vertices, behind - first, -1, -1).contiguous()
            self._run(first, behind, True, weight, per_spike, per_membrane, values.numpy())
            self._before.costs[:, first:behind] = readout.priced(values)

    def _remember(self, current: Tensor, start: int, num_steps: int) -> None:
        self._current, self._start, self._num_steps = current, start, num_steps

    def _run(self, first: int, behind: int, ends: bool, weight: Any, per_spike: float, per_membrane: float, values: Any) -> None:
        assert self._current is not None
        assert self._before.changed is not None
        kind = self._columns.dtype.type
        decay, base = self._last.decay, self._last.base.trace.numpy()
        given: tuple[Any, ...] = (first, self._start == 0, ends, *self._constants, decay, self._current.numpy(), self._columns)
        changed = self._before.changed[: self._num_steps].numpy()
        given += (changed, *self._states, base, weight, kind(per_spike), kind(per_membrane), values)
        split(hop_block, behind - first, *given, grain=_GRAIN)
