"""Candidates of any module: a forward pass for each, as many at a time as memory allows.

The module is called through ``torch.func.functional_call`` with one parameter replaced: tied parameters follow, frozen ones stay, and
nothing of the module is touched. Buffers that a forward pass changes advance once a batch, by the unprobed pass; every candidate
starts from the buffers that this pass started from, and what it makes of them is dropped.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polystep_snn.engine.memory import peak_bytes
from polystep_snn.spaces.weight.candidates import (
    Loss,
    Many,
    RandomNumbers,
    as_arguments,
    log,
    materialise,
    mean_loss,
    num_samples,
    tiles,
)
from polystep_snn.spaces.weight.directions import Part

# Samples in the forward passes that measure memory: what does not grow from the first to the second is there once.
_SOME, _MORE = 8, 16


class WholeModule:
    """Evaluates candidates of any module.

    Args:
        module: whose candidates.
        loss: what an output costs.
        memory: bytes that candidates may take at once.
        dim: batch dimension of the inputs; that of the target is the first.
    """

    def __init__(self, module: nn.Module, loss: Loss, memory: int, dim: int = 0):
        self.module = module
        self.loss = loss
        self.memory = memory
        self.dim = dim
        self.many = Many(type(module).__name__)
        self._bytes: dict[tuple, tuple[float, float]] = {}
        self._told: set[int] = set()

    def batch(self, inputs: Any, target: Any) -> "WholeBatch":
        return WholeBatch(self, inputs, target)

    def call(self, inputs: Any, target: Any, replaced: dict[str, Tensor]) -> Tensor:
        """The cost of the module with some parameters and buffers replaced."""
        output = functional_call(self.module, replaced, as_arguments(inputs))
        return mean_loss(self.loss(output, target), num_samples(inputs, target, self.dim))

    def copied_buffers(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.module.named_buffers()}

    def bytes_of_pass(self, inputs: Any, target: Any) -> int:
        """What a candidate's forward pass on this batch holds at once."""
        once, per_sample = self._bytes_of(inputs, target)
        return int(once + per_sample * (num_samples(inputs, target, self.dim) or 1))

    def _bytes_of(self, inputs: Any, target: Any) -> tuple[float, float]:
        """The same, apart from the batch and for each of its samples, from measurements on a few of them."""
        samples = num_samples(inputs, target, self.dim)
        shapes = tuple(
            (tuple(n for d, n in enumerate(a.shape) if d != self.dim), a.dtype) for a in as_arguments(inputs) if isinstance(a, Tensor)
        )

        def measured(count: int) -> int:
            few = (
                (inputs, target) if samples is None else tuple(_cut(v, 0, count, samples, d) for v, d in ((inputs, self.dim), (target, 0)))
            )
            with torch.random.fork_rng():
                return peak_bytes(self.call, *few, self.copied_buffers())

        if shapes not in self._bytes:
            if samples is None or samples < _MORE:
                self._bytes[shapes] = 0.0, measured(samples or 1) / (samples or 1)
            else:
                some, more = measured(_SOME), measured(_MORE)
                per_sample = max((more - some) / (_MORE - _SOME), 1.0)
                self._bytes[shapes] = max(some - _SOME * per_sample, 0.0), per_sample
        return self._bytes[shapes]

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        samples = num_samples(inputs, target, self.dim)
        largest = max((p.numel() * p.element_size() for p in self.module.parameters()), default=0)
        needed, room = self.bytes_of_pass(inputs, target), max(self.memory - 2 * largest, 0)
        if samples is None or needed <= room:
            yield 1.0, inputs, target
            return
        once, per_sample = self._bytes_of(inputs, target)
        size = max(1, int((room - once) / per_sample))
        if size not in self._told:
            self._told.add(size)
            log.info(
                "a candidate on %d samples takes about %.0f MB, memory is %.0f MB: costs are added up over slices of %d samples",
                samples,
                (needed + 2 * largest) / 2**20,
                self.memory / 2**20,
                size,
            )
        for start in range(0, samples, size):
            stop = min(start + size, samples)
            yield (stop - start) / samples, _cut(inputs, start, stop, samples, self.dim), _cut(target, start, stop, samples)


def device_of(module: nn.Module) -> torch.device:
    return next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))


def _cut(value: Any, start: int, stop: int, samples: int | None, dim: int = 0) -> Any:
    """Samples ``start`` to ``stop`` of everything that has a batch."""
    if isinstance(value, tuple):
        return tuple(_cut(v, start, stop, samples, dim) for v in value)
    if isinstance(value, Tensor) and value.ndim > dim and value.shape[dim] == samples:
        return value.narrow(dim, start, stop - start)
    return value


class WholeBatch:
    """A module on one batch; see ``candidates.Batch``."""

    def __init__(self, of: WholeModule, inputs: Any, target: Any):
        self._of, self._inputs, self._target = of, inputs, target
        self.rates: list[Tensor] = []
        self._buffers = of.copied_buffers()
        self._numbers = RandomNumbers(device_of(of.module))
        with self._numbers.first():
            self.output = of.module(*as_arguments(inputs))
            self.loss = mean_loss(of.loss(self.output, target), num_samples(inputs, target, of.dim))
        self._parameters = dict(of.module.named_parameters())

    def costs(self, part: Part, offsets: Tensor) -> Tensor:
        parameter = self._parameters[part.name]
        num_vertices, num_particles, dim = offsets.shape

        def cost(value: Tensor) -> Tensor:
            buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
            return self._of.call(self._inputs, self._target, {part.name: value, **buffers})

        # Directions, their sum in the coordinates' dtype, and the changed parameter are there at once.
        bytes_each = parameter.numel() * (dim / num_vertices + 2) * 4 + self._of.bytes_of_pass(self._inputs, self._target)
        at_once = max(1, int(self._of.memory / bytes_each))
        found = offsets.new_empty(num_vertices, num_particles, dtype=self.loss.dtype)
        for vertices, particles in tiles(offsets, at_once):
            values = materialise(part, offsets[vertices], particles, parameter)
            found[vertices, particles] = self._of.many(cost, self._numbers, values).view(found[vertices, particles].shape)
        return found
