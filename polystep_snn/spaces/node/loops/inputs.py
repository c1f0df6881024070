"""The first layer: what the input drives it with, and the gradients of its parameters."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from polystep_snn.engine.entries import Entries
from polystep_snn.engine.loops import padded
from polystep_snn.engine.products import product
from polystep_snn.snn.frames import EventBlock, EventFrames
from polystep_snn.snn.network import Layer
from polystep_snn.spaces.node.currents import currents
from polystep_snn.spaces.node.loops.arrays import Probing
from polystep_snn.spaces.node.loops.gradients import flat, of_weights
from polystep_snn.spaces.node.pulled_back import placed


class FirstLayer:
    """What arrives at the first layer in one step of training.

    Args:
        layer: the first one.
        probing: of its neurons.
        constant: whether every frame is the same.
        batch_size: B, of samples without padding.
    """

    def __init__(self, layer: Layer, probing: Probing, constant: bool, batch_size: int):
        self._layer, self._probing, self._constant = layer, probing, constant
        self._missing = padded(batch_size) - batch_size
        self._columns: Tensor | None = None
        self._entries: Entries | None = None
        self._activity: Tensor | None = None

    def current(self, arriving: Tensor | EventBlock, start: int) -> Tensor:
        """``[U, N, B]`` of a block's frames ``[U, B, M]``, or of its events; ``[1, N, B]`` of a constant input."""
        layer = self._layer
        if isinstance(arriving, EventBlock):
            if self._columns is None:
                self._columns = layer.weight.T.contiguous()
            found = arriving.times(self._columns) + layer.bias
            return pad(found, (0, 0, 0, self._missing)).transpose(1, 2).contiguous()
        if self._missing:
            arriving = pad(arriving, (0, 0, 0, self._missing))
        num_samples = arriving.shape[1]
        entries = Entries.of(arriving.view(-1, arriving.shape[2])) if layer.wiring.is_matrix else None
        if self._constant:
            self._activity, self._entries = arriving, entries
        else:
            self._gather(arriving, start)
        if entries is not None:
            return entries.times(layer.weight, layer.bias, num_samples)
        if self._constant and layer.wiring.is_matrix:
            return product(layer.weight, arriving[0].T).add_(layer.bias[:, None])[None]
        return currents(layer.wiring, layer.weight, layer.bias, arriving.transpose(1, 2))

    def _gather(self, frames: Tensor, start: int) -> None:
        windows = self._probing.windows[start : start + len(frames)]
        found = frames.sum(0, keepdim=True) if self._probing.whole else torch.tensordot(windows.T, frames, 1)
        self._activity = found if self._activity is None else self._activity.add_(found)

    def gradients(self, inputs: object, displacement: Tensor, bias: Tensor, neurons: Tensor | None) -> list[Tensor]:
        """Of weights and biases.

        Args:
            displacement: ``[M, K, B]``.
            bias: ``[K]``.
            neurons: as of ``LayerProbes``.
        """
        wiring = self._layer.wiring
        if self._columns is not None:
            assert isinstance(inputs, EventFrames)
            real = displacement[..., : displacement.shape[2] - self._missing]
            arrived = inputs.windowed(self._probing.windows)
            found = arrived.transposed_times(flat(real).T.contiguous()).T.contiguous()
        elif self._entries is not None:
            found = self._entries.outer(flat(displacement if len(displacement) == 1 else displacement.sum(0, keepdim=True)))
        else:
            assert self._activity is not None
            return of_weights(wiring, displacement, bias, self._activity, neurons)
        return [placed(x, neurons, wiring.num_neurons) for x in (found, bias)]
