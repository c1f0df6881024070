"""What a step of training holds in memory, against the number of inner iterations."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polystep_snn.transport_maps.convex import ConvexNetwork
from polystep_snn.transport_maps.proximal import solve
from polystep_snn.transport_maps.semi_dual import dual

ITERATIONS = (10, 100, 1_000)


class _Counter(TorchDispatchMode):
    """Counts the bytes of all storages that operations have made and that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    self.live += storage.nbytes()
                    self.peak = max(self.peak, self.live)
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return found

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def peak_bytes(function: Callable[[], object]) -> int:
    """The most bytes that tensors made by a function hold at the same time."""
    with _Counter() as counter:
        function()
    return counter.peak


def _unrolled(network: ConvexNetwork, z: Tensor, labels: Tensor, step: float, iterations: int) -> Tensor:
    """The same fixed point with a step that stays, every iteration of it in the graph: what is compared with."""
    y = z.clone()
    for _ in range(iterations):
        y = y - step * (network.gradient(y, labels) - z)
    return y


def measure(dim: int = 16, batch: int = 256) -> list[dict[str, Any]]:
    """Peak bytes of a step's gradient with the proximal point held, and with its iterations in the graph."""
    generator = torch.Generator().manual_seed(0)
    network = ConvexNetwork(dim, (64, 64), 1, 0.05, generator)
    x, z = (torch.randn(batch, dim, generator=generator) for _ in range(2))
    labels = torch.zeros(batch, dtype=torch.int64)
    curvature = network.largest_curvature(z, labels, 20)

    def held(iterations: int) -> None:
        # No residual is below zero: all iterations take place.
        y = solve(network, z, labels, z, curvature, -1.0, iterations).points
        dual(network, x, z, labels, y).backward()

    def unrolled(iterations: int) -> None:
        y = _unrolled(network, z, labels, 1 / curvature, iterations)
        (network(x, labels).mean() + ((y * z).sum(1) - network(y, labels)).mean()).backward()

    rows = []
    for iterations in ITERATIONS:
        row = {"iterations": iterations}
        for name, step in (("held", held), ("unrolled", unrolled)):
            network.zero_grad(set_to_none=True)
            row[f"{name}_bytes"] = peak_bytes(lambda step=step, iterations=iterations: step(iterations))
        rows.append(row)
    return rows
