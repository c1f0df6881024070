"""The first layer: what the input drives it with, and the gradients of its parameters."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.entries import Entries, turned_over
from polystep_snn.engine.loops import padded, turned
from polystep_snn.engine.products import affine
from polystep_snn.engine.threads import split
from polystep_snn.engine.workspace import Workspace
from polystep_snn.snn.frames import Constant, EventBlock, EventFrames, Frames, check_block, checked_frames
from polystep_snn.snn.layer import Layer
from polystep_snn.spaces.node.currents import currents
from polystep_snn.spaces.node.loops.arrays import Probing
from polystep_snn.spaces.node.loops.gradients import flat, of_weights
from polystep_snn.spaces.node.pulled_back import placed

# Samples that are worth a thread.
_GRAIN = 64


class FirstLayer:
    """What arrives at the first layer in one step of training.

    Args:
        layer: the first one.
        probing: of its neurons.
        constant: whether every frame is the same.
        batch_size: B, of samples without padding.
        longest: steps of a block at most.
        workspace: kept from step to step.
    """

    def __init__(self, layer: Layer, probing: Probing, constant: bool, batch_size: int, longest: int, workspace: Workspace):
        self._layer, self._probing, self._constant, self._batch_size = layer, probing, constant, batch_size
        self._workspace = workspace
        self._longest = 1 if constant else longest
        self._padded = padded(batch_size)
        self._columns: np.ndarray | None = None
        self._entries: Entries | None = None
        self._activity: Tensor | None = None

    def of_events(self, events: EventBlock) -> Tensor:
        """Currents ``[U, N, B]`` of a block's events."""
        num_steps, batch_size, num_inputs = events.shape
        out = self._currents(num_steps)
        entries = Entries.of_events(events.places, events.values, num_steps * batch_size, num_inputs)
        entries.times(self._turned(), self._layer.bias, batch_size, out)
        return out

    def of_frames(self, frames: Iterable[Tensor], num_steps: int, start: int) -> Tensor:
        """Currents ``[U, N, B]`` of a block's frames ``[B, M]``, which begins with step ``start``."""
        if not self._layer.wiring.is_matrix:
            return self._of_maps(torch.stack(list(frames)), start)
        out = self._currents(1 if self._constant else num_steps)
        for t, frame in enumerate(frames):
            entries = self._drive(frame, out[t : t + 1])
            if self._constant:
                self._activity, self._entries = frame[None], entries
            else:
                self._gather(frame[None], start + t)
        return out

    def _drive(self, frame: Tensor, out: Tensor) -> Entries | None:
        entries = Entries.of(frame, self._workspace)
        if entries is not None:
            entries.times(self._turned(), self._layer.bias, self._batch_size, out)
            return entries
        found = affine(frame, self._layer.weight, self._layer.bias)
        split(turned, self._batch_size, found.numpy(), out.numpy()[0], grain=_GRAIN)
        return None

    def _of_maps(self, frames: Tensor, start: int) -> Tensor:
        if self._constant:
            self._activity = frames
        else:
            self._gather(frames, start)
        out = self._currents(len(frames))
        out[..., : self._batch_size] = currents(self._layer.wiring, self._layer.weight, self._layer.bias, frames.transpose(1, 2))
        return out

    def _gather(self, frames: Tensor, start: int) -> None:
        """Add frames ``[U, B, M]`` to what arrived in each window."""
        if self._activity is None:
            self._activity = frames.new_zeros(len(self._probing.points[0]), *frames.shape[1:])
        windows = self._probing.windows[start : start + len(frames)]
        if self._probing.apart:
            for frame, window in zip(frames, windows.argmax(1).tolist(), strict=True):
                self._activity[window] += frame
        else:
            self._activity += torch.tensordot(windows.T, frames, 1)

    def _currents(self, num_steps: int) -> Tensor:
        """Currents, 0 in the padding."""
        longest = self._workspace.take(
            "currents", self._longest, self._layer.wiring.num_neurons, self._padded, dtype=self._layer.weight.dtype
        )
        return longest[:num_steps]

    def _turned(self) -> np.ndarray:
        if self._columns is None:
            self._columns = turned_over(self._layer.weight, self._workspace, "weight")
        return self._columns

    def gradients(self, inputs: object, displacement: Tensor, bias: Tensor, neurons: Tensor | None) -> list[Tensor]:
        """Of weights and biases.

        Args:
            displacement: ``[M, K, B]``.
            bias: ``[K]``.
            neurons: as of ``LayerProbes``.
        """
        wiring = self._layer.wiring
        if self._padded > self._batch_size:
            displacement = displacement[..., : self._batch_size].contiguous()
        if isinstance(inputs, EventFrames) and wiring.is_matrix:
            num_steps, batch_size, num_inputs = inputs.shape
            entries = Entries.of_events(inputs.places, inputs.values, num_steps * batch_size, num_inputs)
            # Every step belongs to one window.
            window = self._probing.windows.numpy().argmax(1)
            row_of = (window[:, None] * batch_size + np.arange(batch_size)).astype(np.uint32).reshape(-1)
            found = entries.outer(flat(displacement), self._workspace, row_of)
        else:
            assert self._activity is not None
            if len(self._activity) < len(displacement):
                displacement = displacement.sum(0, keepdim=True)
            known = self._entries
            if known is None and not self._constant and wiring.is_matrix:
                known = Entries.of(self._activity.flatten(0, 1), self._workspace)
            if known is None:
                return of_weights(wiring, displacement, bias, self._activity, neurons)
            found = known.outer(flat(displacement), self._workspace)
        return [placed(x, neurons, wiring.num_neurons) for x in (found, bias)]


def frames_of(inputs: Frames | Tensor, layer: Layer, batch_size: int) -> Iterator[Tensor]:
    """Frames ``[B, N]`` for a first layer, checked; one of a constant input."""
    if isinstance(inputs, Constant):
        # ``NodeStep`` has looked at it.
        return iter((inputs.current.flatten(1),))
    return _checked(inputs, layer, batch_size)


def _checked(inputs: Frames | Tensor, layer: Layer, batch_size: int) -> Iterator[Tensor]:
    for frame in checked_frames(inputs):
        check_block(frame[None], batch_size, layer.wiring.num_inputs, layer.weight.dtype)
        yield frame
