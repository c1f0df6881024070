"""What a module keeps from one forward pass to the next, in whatever attributes, and how it is put back.

A ``state_dict`` holds parameters and buffers. Modules keep more: SpikingJelly's neurons keep a membrane in ``self.v``, others keep
lists, counters, generators of random numbers, or objects that hold any of these. ``ModuleState`` records all that is reached from a
module's attributes, hooks and closures, and puts it back in place: objects that are shared stay shared.

What it does not see are global variables, attributes of classes, and objects that are written in C: ``repeats.py`` finds modules
whose costs depend on those.
"""

import functools
import io
import sys
from array import array
from collections import deque
from collections.abc import Iterator
from enum import Enum
from types import BuiltinMethodType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.records import (
    RANDOM,
    ArrayRecord,
    CellRecord,
    CopyRecord,
    DictRecord,
    MemoryRecord,
    RandomRecord,
    Record,
    SequenceRecord,
    SlotsRecord,
    TensorRecord,
    entry,
)

# Nothing within these changes.
_FIXED = (type(None), bool, int, float, complex, str, bytes, type, ModuleType, Enum, torch.Size, torch.dtype, torch.device, range, slice)
# Objects of these packages are tools, such as loggers, locks, paths and optimizers: they are left alone.
_TOOLS = (sys.stdlib_module_names | {"torch", "numpy"}) - {"types", "argparse", "collections", "queue", "__main__"}
# A module's own dictionaries of members: their entries are called like attributes.
_MEMBERS = {"_parameters", "_buffers", "_modules"}


class ModuleState:
    """A record of a module's state, made now.

    Parameters, buffers and tensors in attributes are copied, so this takes as much memory as they do.

    Args:
        module: whose state.
        loss: recorded too where it is a module or another object with attributes; functions are not entered.

    Raises:
        InputError: a generator or another iterator in an attribute: it cannot be wound back.
    """

    def __init__(self, module: nn.Module, loss: Any = None):
        self._owner = type(module).__name__
        self._records: list[Record] = []
        self._generators: list[RandomRecord] = []
        # What stands in buffers, and under which names: a forward pass may write into them, or put other tensors there.
        self._buffers: list[Record] = []
        self._buffer_names: list[DictRecord] = []
        self._seen: dict[int, Any] = {}
        self._storages: set[int] = set()
        for name, buffer in module.named_buffers():
            self._tensor(name, buffer, self._buffers)
        self._walk(module, "")
        if not isinstance(loss, FunctionType | MethodType | BuiltinMethodType | functools.partial):
            self._walk(loss, "loss")
        self._seen.clear()

    def changed(self) -> str | None:
        """The name of what has changed since, such as ``layer.v``, or None. Neither buffers nor generators of random numbers count."""
        return next((name for record in self._records if (name := record.changed()) is not None), None)

    def drawn(self) -> str | None:
        """The name of a generator of random numbers that has been used since, or None."""
        return next((name for record in self._generators if (name := record.changed()) is not None), None)

    def accept_buffers(self) -> None:
        """Let buffers stand as they are now, unless their shape or dtype has changed: that of a membrane, when its first batch comes."""
        for record in self._buffer_names:
            record.saved = {name: _accepted(old, record.mapping.get(name)) for name, old in record.saved.items()}

    def put_back(self) -> str | None:
        """Make everything what it was, but for the values of buffers, and say what had changed first, or None."""
        first = None
        for record in (*self._records, *self._generators):
            name = record.changed()
            if name is not None:
                record.put_back()
                first = first or name
        return first

    def put_back_buffers(self) -> None:
        """Make also buffers what they were."""
        for record in self._buffer_names:
            record.saved = record.first
        for other in (*self._buffer_names, *self._buffers):
            if other.changed() is not None:
                other.put_back()

    def _tensor(self, path: str, tensor: Tensor, records: list[Record]) -> None:
        self._seen[id(tensor)] = tensor
        if tensor.layout != torch.strided or tensor.device.type == "meta":
            return
        records.append(TensorRecord(path, tensor))
        address = tensor.untyped_storage().data_ptr()
        if address and address not in self._storages:
            self._storages.add(address)
            records.append(MemoryRecord(path, tensor))

    def _walk(self, root: Any, path: str) -> None:
        """Record what is reached from an object, nearest first."""
        queue = deque([(path, root)])
        while queue:
            path, value = queue.popleft()
            if isinstance(value, _FIXED) or id(value) in self._seen:
                continue
            # Also what needs no record is kept until the end, so that no other object gets its id.
            self._seen[id(value)] = value
            queue.extend(self._record(path, value))

    def _record(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Record one object, and return what is reached from it."""
        if isinstance(value, Tensor):
            self._tensor(path, value, self._records)
        elif isinstance(value, RANDOM):
            self._generators.append(RandomRecord(path, value))
        elif isinstance(value, np.ndarray):
            if value.flags.writeable and not value.dtype.hasobject:
                self._records.append(ArrayRecord(path, value))
        elif isinstance(value, set | bytearray | array):
            self._records.append(CopyRecord(path, value))
        elif isinstance(value, list | deque):
            self._records.append(SequenceRecord(path, value))
            yield from ((entry(path, k, False), x) for k, x in enumerate(value))
        elif isinstance(value, tuple | frozenset):
            yield from ((entry(path, k, False), x) for k, x in enumerate(value))
        elif isinstance(value, dict):
            self._records.append(DictRecord(path, value))
            yield from ((entry(path, key, False), x) for key, x in value.items())
        elif isinstance(value, MappingProxyType):
            yield from ((entry(path, key, False), x) for key, x in value.items())
        elif isinstance(value, functools.partial):
            yield from ((path, value.func), (f"{path}.args", value.args), (f"{path}.keywords", value.keywords))
        elif isinstance(value, MethodType | BuiltinMethodType):
            yield path, value.__self__
            yield path, getattr(value, "__func__", None)
        elif isinstance(value, FunctionType):
            yield from self._closure(path, value)
        else:
            yield from self._object(path, value)
        if isinstance(value, list | dict | deque | set) and hasattr(value, "__dict__"):
            yield from self._object(path, value)

    def _closure(self, path: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
        """The variables that a function closes over, and its defaults."""
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                record = CellRecord(f"{path}: {name}", cell)
            except ValueError:  # a variable that has no value yet
                continue
            if id(cell) not in self._seen:
                self._seen[id(cell)] = cell
                self._records.append(record)
            yield record.path, record.saved
        yield from ((path, x) for x in (function.__defaults__, function.__kwdefaults__, vars(function)))

    def _object(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        """The attributes of an object."""
        is_module = isinstance(value, nn.Module)
        package = (type(value).__module__ or "").partition(".")[0]
        attributes = getattr(value, "__dict__", None)
        if not is_module and attributes is None and isinstance(value, Iterator) and not isinstance(value, io.IOBase):
            raise InputError(
                f"{path} of {self._owner} is a {type(value).__name__}, which cannot be wound back for every candidate: keep a list and "
                "a position in its place, or a buffer"
            )
        if not is_module and package in _TOOLS and not isinstance(value, list | dict | deque | set):
            return
        slots = [n for c in type(value).__mro__ for n in _slots_of(c)]
        if slots:
            record = SlotsRecord(path, value, slots)
            self._records.append(record)
            yield from ((entry(path, name, True), x) for name, x in record.saved.items())
        if attributes is None:
            return
        self._records.append(DictRecord(path, attributes, attributes=True))
        for name, x in attributes.items():
            if is_module and name in _MEMBERS:
                self._seen[id(x)] = x
                members = DictRecord(path, x, attributes=True)
                self._records.append(members)
                self._buffer_names += [members] if name == "_buffers" else []
                yield from ((entry(path, key, True), member) for key, member in x.items())
            else:
                yield entry(path, name, True), x


def _accepted(old: Any, new: Any) -> Any:
    """Which of a buffer's tensors stays."""
    both = isinstance(old, Tensor) and isinstance(new, Tensor)
    return new if both and new.shape == old.shape and new.dtype == old.dtype else old


def _slots_of(cls: type) -> list[str]:
    """The slots that a class defines, by the names that they are read with."""
    slots = vars(cls).get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else slots
    private = f"_{cls.__name__.lstrip('_')}"
    names = (f"{private}{n}" if n.startswith("__") and not n.endswith("__") else n for n in slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]
