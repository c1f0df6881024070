"""How much memory a computation holds at once, measured by doing it."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Watch(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations return, for as long as they live."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # An argument that comes back, worked on in place or as a view, is no new memory.
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self._count(tensor)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if not address or address in self._seen:
            return
        self._seen.add(address)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(tensor, self._forget, address, storage.nbytes())

    def _forget(self, address: int, nbytes: int) -> None:
        self._seen.discard(address)
        self.live -= nbytes


def peak_bytes(fn: Callable[..., Any], *args: Any) -> int:
    """The most bytes that tensors made by ``fn(*args)`` held at once.

    Inputs do not count, nor does memory that an operation uses inside.
    """
    with torch.no_grad(), _Watch() as watch:
        fn(*args)
    return watch.peak
