"""Records of objects that a forward pass may change: each says whether its object has changed, and puts it back in place.

``changed()`` returns the name of what has changed, such as ``layer.v``, or None. ``put_back()`` may be called any number of times.
"""

import random
from collections import deque
from collections.abc import Callable
from operator import is_not
from types import CellType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

# Numbers from which on numpy compares faster than torch.
_MANY = 4096
# Compared by value where they are other objects.
_VALUES = (bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


def same_value(a: Any, b: Any) -> bool:
    """Whether two entries of a container are the same object, or equal numbers or strings."""
    return a is b or (type(a) is type(b) and isinstance(a, _VALUES) and a == b)


class Record(Protocol):
    """One object, as it was when the record was made."""

    def changed(self) -> str | None:
        """The name of what has changed since, or None."""
        ...

    def put_back(self) -> None:
        """Make the object what it was."""
        ...


class DictRecord:
    """A dictionary's entries, also the attributes of an object: ``attributes`` decides how a changed one is named."""

    def __init__(self, path: str, mapping: dict, attributes: bool = False):
        self.path, self.mapping, self.attributes = path, mapping, attributes
        self.first = self.saved = dict(mapping)

    def changed(self) -> str | None:
        now, saved = self.mapping, self.saved
        if len(now) == len(saved) and not any(map(is_not, now, saved)) and not any(map(is_not, now.values(), saved.values())):
            return None
        for key in (*saved, *now):
            if key not in now or key not in saved or not same_value(now[key], saved[key]):
                return entry(self.path, key, self.attributes)
        return None

    def put_back(self) -> None:
        self.mapping.clear()
        self.mapping.update(self.saved)


def entry(path: str, key: Any, attribute: bool) -> str:
    """The name of an entry: ``layer.v`` or ``layer.memory['v']``."""
    if attribute:
        return f"{path}.{key}" if path else str(key)
    return f"{path}[{key!r}]" if isinstance(key, int | str) else f"{path}[{type(key).__name__}]"


class SequenceRecord:
    """The entries of a list or a deque."""

    def __init__(self, path: str, sequence: list | deque):
        self.path, self.sequence = path, sequence
        self.saved = list(sequence)

    def changed(self) -> str | None:
        now = self.sequence
        if len(now) == len(self.saved) and all(map(same_value, now, self.saved)):
            return None
        return self.path

    def put_back(self) -> None:
        self.sequence.clear()
        self.sequence.extend(self.saved)


class CopyRecord:
    """A set, a bytearray or an ``array.array``: compared with a copy."""

    def __init__(self, path: str, value: Any):
        self.path, self.value = path, value
        self.saved = value.copy() if isinstance(value, set) else value[:]

    def changed(self) -> str | None:
        return self.path if self.value != self.saved else None

    def put_back(self) -> None:
        if isinstance(self.value, set):
            self.value.clear()
            self.value.update(self.saved)
        else:
            self.value[:] = self.saved


class SlotsRecord:
    """Attributes of an object that has ``__slots__``."""

    def __init__(self, path: str, owner: Any, names: list[str]):
        self.path, self.owner, self.names = path, owner, names
        self.saved = self._now()

    def _now(self) -> dict[str, Any]:
        return {name: getattr(self.owner, name) for name in self.names if hasattr(self.owner, name)}

    def changed(self) -> str | None:
        now = self._now()
        for name in self.names:
            if (name in now) != (name in self.saved) or (name in now and not same_value(now[name], self.saved[name])):
                return entry(self.path, name, True)
        return None

    def put_back(self) -> None:
        for name in self._now().keys() - self.saved.keys():
            object.__delattr__(self.owner, name)
        for name, value in self.saved.items():
            # Not the owner's own way of setting attributes, which a frozen dataclass refuses.
            object.__setattr__(self.owner, name, value)


class CellRecord:
    """A variable that a function closes over."""

    def __init__(self, path: str, cell: CellType):
        self.path, self.cell = path, cell
        self.saved = cell.cell_contents

    def changed(self) -> str | None:
        return None if same_value(self.cell.cell_contents, self.saved) else self.path

    def put_back(self) -> None:
        self.cell.cell_contents = self.saved


class TensorRecord:
    """What a tensor looks at: its storage, shape and strides. What stands there is a ``MemoryRecord``'s."""

    def __init__(self, path: str, tensor: Tensor):
        self.path, self.tensor = path, tensor
        self.saved = tensor.detach()

    def changed(self) -> str | None:
        a, b = self.tensor, self.saved
        return None if a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() else self.path

    def put_back(self) -> None:
        self.tensor.data = self.saved


class MemoryRecord:
    """The bytes of a tensor's storage, whatever views of it there are."""

    def __init__(self, path: str, tensor: Tensor):
        self.path = path
        self._tensor = tensor
        self._storage = tensor.untyped_storage()
        # Eight bytes at a time compare faster.
        kind = torch.int64 if self._storage.nbytes() % 8 == 0 and self._storage.data_ptr() % 8 == 0 else torch.uint8
        self._bytes = torch.empty(0, dtype=kind, device=tensor.device).set_(self._storage)
        self._saved = self._bytes.clone()
        self._version = _version(tensor)

    def renew(self) -> None:
        """Record the bytes as they are now."""
        self._saved.copy_(self._bytes)
        self._version = _version(self._tensor)

    def written(self) -> bool:
        """Whether torch has counted a change of the tensor, which takes no time to find out; through ``.data`` it counts none."""
        return self._version is None or self._version != _version(self._tensor)

    def changed(self) -> str | None:
        same_size = self._storage.nbytes() == self._saved.untyped_storage().nbytes()
        return None if same_size and _same_bytes(self._bytes, self._saved) else self.path

    def put_back(self) -> None:
        if self._storage.nbytes() != self._saved.untyped_storage().nbytes():
            self._storage.resize_(self._saved.untyped_storage().nbytes())
        self._bytes.copy_(self._saved)


def _same_bytes(a: Tensor, b: Tensor) -> bool:
    """Of many numbers on a CPU numpy takes half of torch's time."""
    if a.device.type != "cpu" or a.numel() < _MANY:
        return torch.equal(a, b)
    return a.numel() == b.numel() and bool((a.numpy() == b.numpy()).all())


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


class ArrayRecord:
    """The numbers of a numpy array."""

    def __init__(self, path: str, array: np.ndarray):
        self.path, self.array = path, array
        self.saved = array.copy()

    def changed(self) -> str | None:
        same = self.array.shape == self.saved.shape and self.array.tobytes() == self.saved.tobytes()
        return None if same else self.path

    def put_back(self) -> None:
        if self.array.shape != self.saved.shape:
            self.array.resize(self.saved.shape, refcheck=False)
        self.array[...] = self.saved


RANDOM = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)


class RandomRecord:
    """The position of a generator of random numbers: torch's, numpy's, Python's."""

    def __init__(self, path: str, generator: Any):
        self.path = path
        self._get, self._set = _state_of(generator)
        self._saved = self._get()

    def changed(self) -> str | None:
        return None if _equal(self._get(), self._saved) else self.path

    def put_back(self) -> None:
        self._set(self._saved)


def _state_of(generator: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """How a generator's state is read and set."""
    if isinstance(generator, random.Random):
        return generator.getstate, generator.setstate
    if isinstance(generator, torch.Generator | np.random.RandomState):
        return generator.get_state, lambda state: generator.set_state(state)
    bits = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    return lambda: bits.state, lambda state: setattr(bits, "state", state)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple) and len(a) < 10:
        return all(map(_equal, a, b))
    return a == b
