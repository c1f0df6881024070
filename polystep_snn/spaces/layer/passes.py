"""Passes of a module on one batch, all from the same start."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from polystep_snn.engine.state.module_state import ModuleState
from polystep_snn.engine.state.same_start import SameStart
from polystep_snn.spaces.layer.buffers import Buffers
from polystep_snn.spaces.layer.watch import Call, Watch


class Passes:
    """Used as ``with passes.first(): unprobed pass``, then ``passes.again(...)`` any number of times, then ``passes.end()``.

    Args:
        module, arguments: what runs, on what.
        watch: of its layers.
        state: of the module, recorded now.
    """

    def __init__(self, module: nn.Module, arguments: tuple[Any, ...], watch: Watch, state: ModuleState):
        self._module, self._arguments, self._watch = module, arguments, watch
        self._start, self._buffers = SameStart(module, state), Buffers(module)

    def first(self) -> Any:
        """The unprobed pass: the module's output."""
        with self._start.first(), self._watch.on():
            output = self._module(*self._arguments)
        self._buffers.keep()
        return output

    def again(self, shifts: list[Tensor | None] | None = None, known: Call | None = None, held: dict[int, Tensor] | None = None) -> Any:
        """Another pass, as of ``Watch.on``."""
        with self._repeated(shifts, known, held):
            return self._module(*self._arguments)

    def on_other(self, arguments: tuple[Any, ...]) -> Any:
        """A pass on other arguments."""
        with self._repeated():
            return self._module(*arguments)

    @contextmanager
    def _repeated(self, *watched: Any) -> Iterator[None]:
        self._buffers.rewind()
        with self._start.again(), self._watch.on(*watched):
            yield

    def end(self) -> None:
        """Buffers stand where the unprobed pass has left them, everything else is as it was."""
        self._buffers.advance()
        self._start.end()
