"""What a module keeps from one forward pass to the next, in whatever attributes, and how it is put back.

A ``state_dict`` holds parameters and buffers. Modules keep more: SpikingJelly's neurons keep a membrane in ``self.v``, others keep
lists, counters, or objects that hold any of these. ``ModuleState`` records all that is reached from a module (``reached.py``), and puts
it back in place: objects that are shared stay shared.
"""

from itertools import chain
from operator import is_not
from typing import Any

import torch
from torch import Tensor, nn

from polystep_snn.engine.state.reached import Reached
from polystep_snn.engine.state.records import Record, SequenceRecord


class ModuleState:
    """A record of a module's state, made now.

    Parameters, buffers and tensors in attributes are copied, so this takes as much memory as they do.

    Args:
        module: whose state.
        loss: recorded too where it is a module or another object with attributes; functions are not entered.

    Attributes:
        device: where the module computes.

    Raises:
        InputError: a generator or another iterator in an attribute: it cannot be wound back.
    """

    def __init__(self, module: nn.Module, loss: Any = None):
        self._module, self._loss = module, loss
        self._record()

    def _record(self) -> None:
        self.device = device_of(self._module)
        self._reached = Reached(self._module, self._loss)
        self._dicts = [r.mapping for r in self._reached.entries if not isinstance(r, SequenceRecord)]
        self._sequences = [r.sequence for r in self._reached.entries if isinstance(r, SequenceRecord)]
        self._remember_entries()

    def renew(self) -> None:
        """Record the state as it is now. Cheaper than a new record where only tensors have changed, as between two steps."""
        reached = self._reached
        others = (*reached.others, *reached.views, *reached.generators)
        if self._entries_differ() or any(record.changed() is not None for record in others):
            self._record()
            return
        for record in (*reached.memory, *reached.buffers):
            record.renew()
        for names in reached.buffer_names:
            names.first = names.saved

    def drawn(self) -> str | None:
        """The name of a generator of random numbers that has been used since, or None."""
        return next((name for record in self._reached.generators if (name := record.changed()) is not None), None)

    def accept_buffers(self) -> None:
        """Let buffers stand as they are now, unless their shape or dtype has changed: that of a membrane, when its first batch comes."""
        if self._reached.buffer_names and self._entries_differ():
            for record in self._reached.buffer_names:
                record.saved = {name: _accepted(old, record.mapping.get(name)) for name, old in record.saved.items()}

    def put_back(self, thorough: bool = True) -> str | None:
        """Make everything what it was, but for the values of buffers, and say what had changed first, such as ``layer.v``, or None.

        Args:
            thorough: False to look only into those tensors of which torch has counted a change.
        """
        differ, first = self._entries_differ(), None
        for record in self._suspects(differ, thorough):
            name = record.changed()
            if name is not None:
                record.put_back()
                first = first or name
        if differ:
            self._remember_entries()
        return first

    def changed(self) -> str | None:
        """What ``put_back(thorough=False)`` would say."""
        suspects = self._suspects(self._entries_differ(), thorough=False)
        return next((name for record in suspects if (name := record.changed()) is not None), None)

    def _suspects(self, entries_differ: bool, thorough: bool) -> list[Record]:
        """Records of what may have changed."""
        reached = self._reached
        records: list[Record] = [*(reached.entries if entries_differ else ()), *reached.others, *reached.generators]
        return records + ([*reached.views, *reached.memory] if thorough else [m for m in reached.memory if m.written()])

    def put_back_buffers(self) -> None:
        """Make also buffers what they were."""
        for names in self._reached.buffer_names:
            names.saved = names.first
        records: list[Record] = [*self._reached.buffer_names, *self._reached.buffers]
        for record in records:
            if record.changed() is not None:
                record.put_back()
        self._remember_entries()

    def _remember_entries(self) -> None:
        self._sizes, self._entries = self._sizes_now(), list(self._entries_now())

    def _sizes_now(self) -> list[int]:
        return [*map(len, self._dicts), *map(len, self._sequences)]

    def _entries_now(self) -> chain:
        """All keys and values, one after the other: comparing them at once is faster than record by record."""
        return chain(chain.from_iterable(self._dicts), *map(dict.values, self._dicts), chain.from_iterable(self._sequences))

    def _entries_differ(self) -> bool:
        return self._sizes_now() != self._sizes or any(map(is_not, self._entries_now(), self._entries))


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes."""
    return next((t.device for t in chain(module.parameters(), module.buffers())), torch.device("cpu"))


def _accepted(old: Any, new: Any) -> Any:
    """Which of a buffer's tensors stays."""
    both = isinstance(old, Tensor) and isinstance(new, Tensor)
    return new if both and new.shape == old.shape and new.dtype == old.dtype else old
