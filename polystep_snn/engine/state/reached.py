"""What is reached from a module: its attributes, hooks, closures, and the objects in them, each with a record of how it is now.

What is not reached are global variables, attributes of classes, and objects that are written in C: ``repeats.py`` finds modules whose
costs depend on those.
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

from polystep_snn.engine.state.records import (
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
from polystep_snn.errors import InputError

# Nothing within these changes.
_FIXED = (type(None), bool, int, float, complex, str, bytes, type, ModuleType, Enum, torch.Size, torch.dtype, torch.device, range, slice)
_FIXED_TYPES = {type(None), bool, int, float, str, torch.Size, torch.dtype, torch.device}
# Objects of these packages are tools, such as loggers, locks, paths and optimizers: they are left alone.
_TOOLS = (sys.stdlib_module_names | {"torch", "numpy"}) - {"types", "argparse", "collections", "queue", "__main__"}
# A module's own dictionaries of members: their entries are called like attributes.
_MEMBERS = {"_parameters", "_buffers", "_modules"}
# What torch keeps in every module, and no forward pass changes.
_HOOKS = {"_forward_hooks", "_forward_pre_hooks"}
_INTERNALS = set(vars(nn.Module())) - _MEMBERS - _HOOKS


class Reached:
    """Records of everything that is reached from a module.

    Args:
        module: where to begin.
        loss: another beginning, where it is a module or another object with attributes; functions are not entered.

    Attributes:
        entries: records of dictionaries, attributes, lists.
        others: records of everything else but what follows.
        views: of all tensors, at what they look.
        memory: what stands in parameters, and in tensors that are no buffers.
        generators: of random numbers.
        buffers: of the module's buffers, what stands in them.
        buffer_names: those of ``entries`` that say which tensors are a module's buffers.

    Raises:
        InputError: a generator or another iterator in an attribute: it cannot be wound back.
    """

    def __init__(self, module: nn.Module, loss: Any = None):
        self._owner = type(module).__name__
        self.entries: list[DictRecord | SequenceRecord] = []
        self.others: list[Record] = []
        self.views: list[TensorRecord] = []
        self.memory: list[MemoryRecord] = []
        self.generators: list[RandomRecord] = []
        self.buffers: list[MemoryRecord] = []
        self.buffer_names: list[DictRecord] = []
        self._seen: dict[int, Any] = {}
        self._storages: set[int] = set()
        for name, buffer in module.named_buffers():
            self._tensor(name, buffer, self.buffers)
        self._walk(module, "")
        if not isinstance(loss, FunctionType | MethodType | BuiltinMethodType | functools.partial):
            self._walk(loss, "loss")
        self._seen.clear()

    def _tensor(self, path: str, tensor: Tensor, memory: list[MemoryRecord]) -> None:
        self._seen[id(tensor)] = tensor
        if tensor.layout != torch.strided or tensor.device.type == "meta":
            return
        self.views.append(TensorRecord(path, tensor))
        address = tensor.untyped_storage().data_ptr()
        if address and address not in self._storages:
            self._storages.add(address)
            memory.append(MemoryRecord(path, tensor))

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
        if isinstance(value, nn.Module):
            yield from self._object(path, value)
        elif isinstance(value, Tensor):
            self._tensor(path, value, self.memory)
        elif isinstance(value, RANDOM):
            self.generators.append(RandomRecord(path, value))
        elif isinstance(value, np.ndarray):
            if value.flags.writeable and not value.dtype.hasobject:
                self.others.append(ArrayRecord(path, value))
        elif isinstance(value, set | bytearray | array):
            self.others.append(CopyRecord(path, value))
        elif isinstance(value, list | deque):
            self.entries.append(SequenceRecord(path, value))
            yield from ((entry(path, k, False), x) for k, x in enumerate(value))
        elif isinstance(value, tuple | frozenset):
            yield from ((entry(path, k, False), x) for k, x in enumerate(value))
        elif isinstance(value, dict):
            self.entries.append(DictRecord(path, value))
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
                self.others.append(record)
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
        slots = [] if is_module else [n for c in type(value).__mro__ for n in _slots_of(c)]
        if slots:
            record = SlotsRecord(path, value, slots)
            self.others.append(record)
            yield from ((entry(path, name, True), x) for name, x in record.saved.items())
        if attributes is None:
            return
        self.entries.append(DictRecord(path, attributes, attributes=True))
        for name, x in attributes.items():
            if type(x) in _FIXED_TYPES or (is_module and (name in _INTERNALS or (name in _HOOKS and not x))):
                continue
            if is_module and name in _MEMBERS:
                self._seen[id(x)] = x
                members = DictRecord(path, x, attributes=True)
                self.entries.append(members)
                self.buffer_names += [members] if name == "_buffers" else []
                yield from ((entry(path, key, True), member) for key, member in x.items())
            else:
                yield entry(path, name, True), x


def _slots_of(cls: type) -> list[str]:
    """The slots that a class defines, by the names that they are read with."""
    slots = vars(cls).get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else slots
    private = f"_{cls.__name__.lstrip('_')}"
    names = (f"{private}{n}" if n.startswith("__") and not n.endswith("__") else n for n in slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]
