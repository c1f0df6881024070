"""Layers whose spikes arrive later, by compiled loops: what is on its way, and what a layer's own spikes add to its current."""

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import drive_step, priced_by_later_windows, priced_by_own_window
from polystep_snn.engine.products import product
from polystep_snn.engine.threads import split
from polystep_snn.spaces.node.loops.arrays import Constants, Probing
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.memory import REPETITIONS, delayed, moved_by_delays

# Neurons that are worth a thread.
_GRAIN = 32


class LoopMemory:
    """The spikes of one layer that are asked for later.

    Args:
        layer: whose spikes they are.
        num_past: for how many steps.
        has_synapse: whether its neurons keep a current.

    Attributes:
        activity: of a recurrent layer its own spikes as they arrived in each window, ``[M, B, N]``.
        moved: of spikes that leave with learned delays, ``memory.moved_by_delays``.
    """

    def __init__(self, layer: LoopLayer, num_past: int, has_synapse: bool):
        self._layer, self._num_past = layer, num_past
        like = layer.base.trace
        self._states = like.numpy().copy(), like.numpy().copy() if has_synapse else None
        self.activity: Tensor | None = None
        self.moved: Tensor | None = None

    @property
    def _sent(self) -> Tensor:
        assert self._layer.sent is not None
        return self._layer.sent

    def begin(self) -> None:
        """Before the first step of a batch."""
        self._sent[: self._num_past] = 0
        self.activity = self.moved = None

    def driven(self, constants: Constants, current: Tensor, recurrent: Tensor, begins: bool, num_steps: int) -> Tensor:
        """The currents ``[U, N, B]`` of a block, with what the layer's own spikes add; ``current`` may be ``[1, N, B]``, where constant."""
        current = current.repeat(num_steps, 1, 1) if len(current) < num_steps else current
        arrays, sent = current.numpy(), self._sent
        for t in range(num_steps):
            own = product(recurrent, sent[self._num_past + t - 1]).numpy()
            given = begins and t == 0, *constants, arrays[t], own, *self._states, sent[self._num_past + t].numpy()
            split(drive_step, len(recurrent), *given, grain=_GRAIN)
        return current

    def gather(self, probing: Probing, start: int, num_steps: int) -> None:
        """Add the own spikes that arrive in a block to the windows in which they do."""
        spikes = self._sent[self._num_past - 1 : self._num_past - 1 + num_steps]
        found = windowed(probing, spikes, start)
        self.activity = found if self.activity is None else self.activity + found

    def arriving(self, delays: Tensor, num_steps: int) -> Tensor:
        """What the layer behind sees in a block, ``[U, N, B]``."""
        sent = self._sent
        return delayed(sent[self._num_past : self._num_past + num_steps], sent[: self._num_past], delays)

    def gradients(self, probing: Probing, displacement: Tensor, num_steps: int) -> Tensor:
        """Of the recurrent weights of the probed neurons, ``[K, N]``.

        Args:
            displacement: ``[M, K, B]``, weighed as input weights see it.
            num_steps: T.
        """
        assert self.activity is not None
        # A spike is one of T steps, whatever an input counts.
        factor = torch.from_numpy(1 / (num_steps * probing.share)).to(displacement.dtype)[:, None, None]
        return product((displacement * factor).transpose(0, 1).flatten(1), self.activity.flatten(0, 1))

    def end_block(self, start: int, num_steps: int, moving: Tensor | None) -> None:
        """Keep the last spikes for the next block, and what other delays would change; ``moving``: ``LayerShares.moving``."""
        if moving is not None:
            spikes = self._sent[self._num_past : self._num_past + num_steps]
            self.moved = moved_by_delays(self.moved, moving[start : start + num_steps], spikes)
        self._sent[: self._num_past] = self._sent[num_steps : num_steps + self._num_past].clone()


def price_own_spikes(layer: LoopLayer, fitted: Tensor, offsets: Tensor, recurrent: Tensor, neurons: Tensor | None) -> None:
    """``spaces.node.memory.recurrent_costs``, into the layer's costs."""
    costs, reached = layer.costs.numpy(), layer.own_reached
    assert reached is not None
    num_windows, _, num_probed, padded = reached.shape
    worth, slopes = layer.costs.new_empty(num_windows, num_probed, padded), layer.costs.new_empty(num_probed, padded)
    window_of, back = (offsets != 0).numpy().argmax(1), recurrent.T.contiguous()
    # K of N neurons stand for all.
    back, share = (back, 1.0) if neurons is None else (back[neurons][:, neurons].contiguous(), len(recurrent) / num_probed)

    for m in reversed(range(num_windows)):
        given = m, np.flatnonzero(window_of == m), fitted[m].numpy(), costs, reached.numpy(), worth.numpy()
        split(priced_by_later_windows, num_probed, *given, slopes.numpy(), grain=_GRAIN)
        for repetition in range(REPETITIONS + 1):
            worth[m] = product(back, slopes)
            if neurons is not None:
                worth[m] *= share
            if repetition < REPETITIONS:
                split(priced_by_own_window, num_probed, *given, repetition + 1 == REPETITIONS, slopes.numpy(), grain=_GRAIN)


def windowed(probing: Probing, spikes: Tensor, start: int) -> Tensor:
    """What arrives in each window, ``[M, B, N]``, of the spikes ``[U, N, B]`` of a block."""
    if probing.whole:
        return spikes.sum(0).T[None]
    return torch.tensordot(probing.windows[start : start + len(spikes)].T, spikes, 1).transpose(1, 2)
