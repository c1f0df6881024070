"""What a training step cannot do without, and how fast this machine does it: the yardstick of ``step.py``."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.benchmark import Timer

from polystep_snn import LIFParameters
from polystep_snn.spaces.node.populations import at_rest, drive

# Of the orthoplex in one window: a shift up and one down.
NUM_VERTICES = 2
# A population whose input and results fit a core's second-level cache, or fill a GPU.
_NEURONS = {"cpu": 256, "cuda": 2**16}
_BATCH, _STEPS, _CLASSES = 128, 15, 10


@dataclass(frozen=True)
class Work:
    """What one step of PolyStep on a constant image computes at the least, every probe counted, whether it changes a spike or not.

    Attributes:
        products: ``[M, N] @ [N, P]`` as ``(M, N, P, how many)``.
        updates: of a membrane, with threshold, reset and count, one neuron and step.
        exponentials: of the costs.
    """

    products: list[tuple[int, int, int, int]]
    updates: int
    exponentials: int


def work(sizes: list[int], readout: str, num_steps: int, batch_size: int, num_probed: int | None) -> Work:
    """Count it, for layers of ``sizes`` and a "membrane" or "count" readout."""
    hidden, classes = sizes[1:-1], sizes[-1]
    spiking = hidden if readout == "membrane" else [*hidden, classes]
    probed = [min(num_probed or n, n) for n in hidden] + [classes]
    products, updates, exponentials = [], 0, 0
    for layer, (incoming, width) in enumerate(pairwise(sizes)):
        # A constant current is computed once, and so is what integrates without a leak.
        times = 1 if layer in (0, len(spiking)) else num_steps
        products.append((width, incoming, batch_size, times))
        products.append((probed[layer], batch_size, incoming, 1))  # displacements times presynaptic activity
        probes = NUM_VERTICES * probed[layer] * batch_size
        exponentials += probes * classes
        if layer == len(spiking):
            continue  # a readout that integrates is not simulated
        updates += width * batch_size * num_steps
        updates += probes * num_steps * (1 + sum(spiking[layer + 1 :]))
        # The next layer's correction has rank one; further layers, and integrators behind any of them, take products.
        for below, above in pairwise(spiking[layer + 1 :]):
            products.append((above, below, probes, num_steps))
        if readout == "membrane" and layer < len(spiking) - 1:
            products.append((classes, spiking[-1], probes, 1))
    return Work(products, updates, exponentials)


def seconds_of(fn: Callable[..., Any], *args: Any) -> float:
    """The best time of a call: what else runs on the machine can only add to it."""
    timer = Timer("fn(*args)", globals={"fn": fn, "args": args}, num_threads=torch.get_num_threads())
    return min(timer.blocked_autorange(min_run_time=0.2).times)


class Limit:
    """The speeds of this machine, with the number of threads that torch has now."""

    def __init__(self, device: str):
        self.device = device
        self._products: dict[tuple[int, int, int], float] = {}
        neurons = _NEURONS[device]
        current = torch.rand(1, neurons, _BATCH, device=device)
        lif = torch.compile(_lif, dynamic=False)
        self.updates = neurons * _BATCH * _STEPS / seconds_of(lif, current)
        probes, logits = torch.rand(NUM_VERTICES, neurons, 1, _BATCH, device=device), torch.rand(_CLASSES, _BATCH, device=device)
        odds = torch.compile(_odds, dynamic=False)
        self.exponentials = probes.numel() * _CLASSES / seconds_of(odds, probes, logits)

    def seconds(self, needed: Work, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """The least time for each part of a step."""
        return {
            "products": sum(count * self._product(*shape) for *shape, count in needed.products),
            "updates": needed.updates / self.updates,
            "exponentials": needed.exponentials / self.exponentials,
            "optimizer": seconds_of(optimizer.step),
        }

    def speeds(self) -> dict[str, Any]:
        """What was measured, for the record."""
        return {
            "updates_per_second": self.updates,
            "exponentials_per_second": self.exponentials,
            "gflops": {"x".join(map(str, shape)): round(2e-9 * _volume(shape) / s, 1) for shape, s in self._products.items()},
        }

    def _product(self, m: int, n: int, p: int) -> float:
        """``[m, n] @ [n, p]`` in float32 by whoever is fastest, with either layout of the right factor."""
        if (m, n, p) not in self._products:
            left, right = torch.rand(m, n, device=self.device), torch.rand(n, p, device=self.device)
            self._products[m, n, p] = min(self._ways(left, right) + self._ways(left, right.T.contiguous().T))
        return self._products[m, n, p]

    def _ways(self, left: Tensor, right: Tensor) -> list[float]:
        found = [seconds_of(torch.mm, left, right)]
        if self.device == "cpu":
            with threadpool_limits(torch.get_num_threads(), user_api="blas"):
                a, b = left.numpy(), right.numpy()
                found.append(seconds_of(lambda: a @ b))
            if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
                found.append(seconds_of(torch.ops.mkldnn._linear_pointwise, left, right.T, None, "none", [], ""))
        return found


def _lif(current: Tensor) -> tuple[Tensor, Tensor]:
    """A population through a sequence: final membranes and spike counts."""
    _, population = drive(current, at_rest(current[0], LIFParameters()), LIFParameters(), 1.0, _STEPS, keep=False)
    return population.state.v, population.trace


def _odds(probes: Tensor, logits: Tensor) -> Tensor:
    return (probes + logits).exp().sum(-2)


def _volume(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]
