"""Candidates of any module: a forward pass for each, as many at a time as memory allows.

The module is called through ``torch.func.functional_call`` with one parameter replaced: tied parameters follow, frozen ones stay.
Buffers that a forward pass changes advance once a batch, by the unprobed pass; every candidate starts from the buffers that this pass
started from, and what it makes of them is dropped. Whatever else a pass changes is put back (``same_start.py``).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from polystep_snn.engine.memory import peak_bytes
from polystep_snn.engine.state.module_state import ModuleState
from polystep_snn.engine.state.repeats import RepeatCheck
from polystep_snn.engine.state.same_start import SameStart, untouched
from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.candidates import (
    Loss,
    Many,
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
        self.check = RepeatCheck(module)
        self._bytes: dict[tuple, tuple[float, float]] = {}
        # Shapes of inputs of which a few samples alone are refused, and why.
        self._indivisible: dict[tuple, str] = {}
        self._told: set[int | str] = set()
        self._state: ModuleState | None = None

    def batch(self, inputs: Any, target: Any) -> "WholeBatch":
        return WholeBatch(self, inputs, target)

    def start(self) -> SameStart:
        """Where the module's passes on a batch start: as it is now."""
        if self._state is None:
            self._state = ModuleState(self.module, self.loss)
        else:
            self._state.renew()
        return SameStart(self.module, self._state)

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
        shapes = self._shapes(inputs)

        def measured(count: int) -> int:
            few = (
                (inputs, target) if samples is None else tuple(_cut(v, 0, count, samples, d) for v, d in ((inputs, self.dim), (target, 0)))
            )
            with untouched(self.module, self.loss):
                return peak_bytes(self.call, *few, self.copied_buffers())

        if shapes not in self._bytes and samples is not None and samples >= _MORE:
            try:
                some, more = measured(_SOME), measured(_MORE)
                per_sample = max((more - some) / (_MORE - _SOME), 1.0)
                self._bytes[shapes] = max(some - _SOME * per_sample, 0.0), per_sample
            except InputError:
                raise
            except Exception as error:
                # A membrane may have the shape of a whole batch. An error of the module's own comes again below.
                self._indivisible[shapes] = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        if shapes not in self._bytes:
            self._bytes[shapes] = 0.0, measured(samples or 1) / (samples or 1)
        return self._bytes[shapes]

    def _shapes(self, inputs: Any) -> tuple:
        """Shapes and dtypes of the inputs, apart from the batch."""
        return tuple(
            (tuple(n for d, n in enumerate(a.shape) if d != self.dim), a.dtype) for a in as_arguments(inputs) if isinstance(a, Tensor)
        )

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        samples = num_samples(inputs, target, self.dim)
        largest = max((p.numel() * p.element_size() for p in self.module.parameters()), default=0)
        needed, room = self.bytes_of_pass(inputs, target), max(self.memory - 2 * largest, 0)
        if samples is None or needed <= room:
            yield 1.0, inputs, target
            return
        wanted = (
            f"a candidate on {samples} samples takes about {(needed + 2 * largest) / 2**20:.0f} MB, memory is {self.memory / 2**20:.0f} MB"
        )
        if self._shapes(inputs) in self._indivisible:
            raise InputError(
                f"{wanted}, and {type(self.module).__name__} refuses a part of the batch ({self._indivisible[self._shapes(inputs)]:.120}): "
                f"choose memory={needed + 2 * largest}, smaller batches, or reset its state before the step"
            )
        once, per_sample = self._bytes_of(inputs, target)
        size = max(1, int((room - once) / per_sample))
        if size not in self._told:
            self._told.add(size)
            log.info("%s: costs are added up over slices of %d samples", wanted, size)
        for start in range(0, samples, size):
            stop = min(start + size, samples)
            yield (stop - start) / samples, _cut(inputs, start, stop, samples, self.dim), _cut(target, start, stop, samples)

    def tell_kept(self, name: str | None) -> None:
        """Say once that a module keeps state."""
        if name is not None and "kept" not in self._told:
            self._told.add("kept")
            log.info("%s keeps state from pass to pass in %s: it is put back for every candidate", type(self.module).__name__, name)


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
        self._start = of.start()
        with self._start.first():
            output = of.module(*as_arguments(inputs))
            self.loss = mean_loss(of.loss(output, target), num_samples(inputs, target, of.dim))
            # A copy: the output may be a part of the state that is put back.
            self.output = tree_map_only(Tensor, torch.clone, output)
        of.tell_kept(self._start.keeps)
        self._parameters = dict(of.module.named_parameters())
        self._check(0)

    def costs(self, part: Part, offsets: Tensor) -> Tensor:
        kept = self._start.keeps
        found = self._costs_from_start(part, offsets)
        if self._start.keeps != kept:
            # The unprobed pass changed nothing, but a candidate did: now each of them starts anew.
            self._of.tell_kept(self._start.keeps)
            found = self._costs_from_start(part, offsets)
        self._check(found.numel())
        return found

    def _costs_from_start(self, part: Part, offsets: Tensor) -> Tensor:
        """Costs, after which the module is again what the unprobed pass left."""
        try:
            return self._costs(part, offsets)
        finally:
            changed = self._start.end()
            self._start.keeps = self._start.keeps or changed

    def _costs(self, part: Part, offsets: Tensor) -> Tensor:
        parameter = self._parameters[part.name]
        num_vertices, num_particles, dim = offsets.shape
        # Directions, their sum in the coordinates' dtype, and the changed parameter are there at once.
        bytes_each = parameter.numel() * (dim / num_vertices + 2) * 4 + self._of.bytes_of_pass(self._inputs, self._target)
        at_once = max(1, int(self._of.memory / bytes_each))
        found = offsets.new_empty(num_vertices, num_particles, dtype=self.loss.dtype)
        for vertices, particles in tiles(offsets, at_once):
            values = materialise(part, offsets[vertices], particles, parameter)
            costs = self._of.many(lambda value: self._cost({part.name: value}), self._start, values)
            found[vertices, particles] = costs.view(found[vertices, particles].shape)
        return found

    def _cost(self, replaced: dict[str, Tensor]) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        return self._of.call(self._inputs, self._target, replaced | buffers)

    def _check(self, count: int) -> None:
        """Look now and then whether the unprobed weights cost the same again."""

        def again() -> Tensor:
            try:
                with self._start.again():
                    return self._cost({})
            finally:
                self._start.end()

        if self._of.check.due(count, not self._of.many.vectorised):
            self._of.check.compare(self.loss, again)
