"""A Norse ``SequentialState`` with a recurrent cell, as it is: forward passes alone beside backpropagation through time.

    python benchmarks/norse_cell.py                                                     # digits, all methods, three seeds, ten minutes
    python benchmarks/norse_cell.py mnist --epochs 3 --methods layers bptt-fixed bptt   # to results of its own

An image is shown for 21 steps to a linear layer, a ``LIFRecurrentCell``, a linear layer and a ``LICell``, whose membranes are summed. The
cell's two matrices are plain parameters, no layers, so methods differ in what they do with them:

    layers        LayerStep: they stay as they are drawn
    hybrid        HybridStep: all weights of each are probed in weight space, in one random direction a step
    linear        LayerStep, of a network that computes the same with a ``LIFCell`` and two linear layers in the place of the matrices
    bptt-fixed    backpropagation with Norse's surrogate gradient; they stay as they are drawn
    bptt          the same; they are trained

All take the same steps on the same batches from the same weights, and hand what they find to Adam. Validation chooses each method's
learning rate among three, with seed 0, and the epoch whose weights are tested. The radius of all forward-only methods is 0.6: validation
preferred it to 0.3 and 0.1. Time is processor time of one thread.
"""

import argparse
import copy
import json
import statistics
import sys
import time
import warnings
from typing import Any

import torch
from common import positive, report, require, spread
from torch import Tensor, nn

from polystep_snn import HybridStep, LayerSpace, LayerStep, WeightSpace
from polystep_snn.datasets import load
from polystep_snn.polystep.budget import Budget
from polystep_snn.spaces.weight.subspaces import SparseProjection
from polystep_snn.training.feed import to_tensors

_NUM_STEPS, _CURRENT, _CLASSES, _AT_ONCE = 21, 4.0, 10, 1000
_RATES = (1e-3, 3e-3, 1e-2)
_METHODS = ("layers", "hybrid", "linear", "bptt-fixed", "bptt")
# Of a set: hidden neurons, images of a batch.
_SIZES = {"digits": (64, 32), "mnist": (128, 128)}

Parts = dict[str, tuple[Tensor, Tensor]]


class Norse(nn.Module):
    """Of images ``[B, N]`` makes sums of membranes ``[B, C]``."""

    def __init__(self, num_inputs: int, num_hidden: int):
        import norse.torch as norse

        super().__init__()
        first, second = nn.Linear(num_inputs, num_hidden), nn.Linear(num_hidden, _CLASSES)
        self.layers = norse.SequentialState(first, norse.LIFRecurrentCell(num_hidden, num_hidden), second, norse.LICell())

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The cell's own parameters."""
        return [self.layers[1].input_weights, self.layers[1].recurrent_weights]

    def forward(self, x: Tensor) -> Tensor:
        state, total = None, torch.zeros(())
        for _ in range(_NUM_STEPS):
            output, state = self.layers(_CURRENT * x, state)
            total = total + output
        return total


class Linear(nn.Module):
    """The same function of the same weights, with linear layers in the place of the cell's matrices."""

    def __init__(self, other: Norse):
        import norse.torch as norse

        super().__init__()
        (self.first, _, self.second, self.readout), self.cell = other.layers, norse.LIFCell()
        self.given, self.recurrent = (nn.Linear(*weights.shape, bias=False) for weights in other.matrices)
        self.given.weight, self.recurrent.weight = other.matrices

    def forward(self, x: Tensor) -> Tensor:
        state = membrane = None
        spikes, total = x.new_zeros(len(x), self.recurrent.in_features), torch.zeros(())
        for _ in range(_NUM_STEPS):
            spikes, state = self.cell(self.given(self.first(_CURRENT * x)) + self.recurrent(spikes), state)
            output, membrane = self.readout(self.second(spikes), membrane)
            total = total + output
        return total


def cost(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each sample, ``[B]``."""
    return nn.functional.cross_entropy(output, target, reduction="none")


class Backward:
    """Backpropagation through time, in the place of ``LayerStep``; a pass of each step is a forward pass."""

    def __init__(self, network: nn.Module, budget: Budget):
        self.network, self.budget = network, budget

    def step(self, inputs: Tensor, target: Tensor) -> None:
        self.budget.spend(1)
        self.network.zero_grad()
        cost(self.network(inputs), target).mean().backward()


def make(name: str, num_inputs: int, num_hidden: int, budget: Budget, seed: int) -> tuple[nn.Module, Any]:
    """The network and what fills its gradients."""
    torch.manual_seed(seed)
    network: nn.Module = Norse(num_inputs, num_hidden)
    if name == "bptt-fixed":
        for matrix in network.matrices:
            matrix.requires_grad_(False)
    if name.startswith("bptt"):
        return network, Backward(network, budget)
    if name == "linear":
        network = Linear(network)
    network.requires_grad_(False)
    space = LayerSpace(radius=0.6)
    if name == "hybrid":
        weights = WeightSpace(2.0, SparseProjection(num_hidden**2), particle_dim=1)
        return network, HybridStep(network, cost, space, weights=weights, budget=budget, seed=seed)
    return network, LayerStep(network, cost, space, budget=budget, seed=seed)


@torch.no_grad()
def accuracy(network: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """Percent of right decisions."""
    right = sum(int((network(x).argmax(1) == y).sum()) for x, y in zip(*(p.split(_AT_ONCE) for p in part), strict=True))
    return 100 * right / len(part[1])


def run(name: str, sizes: tuple[int, int], epochs: int, seed: int, lr: float, data: Parts, test: bool = True) -> dict[str, Any]:
    """Train once; the accuracies (%) on validation and test of the weights that were best on validation."""
    images, labels = data["train"]
    num_hidden, size = sizes
    steps = epochs * (len(labels) // size)
    budget = Budget(100 * steps)
    network, method = make(name, images.shape[1], num_hidden, budget, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(seed)
    best, kept, curve, seconds = -1.0, network.state_dict(), [], 0.0
    for _ in range(epochs):
        started = time.process_time()
        for batch in torch.randperm(len(labels), generator=order).split(size)[: len(labels) // size]:
            method.step(images[batch], labels[batch])
            optimizer.step()
            rates.step()
        seconds += time.process_time() - started
        curve.append(accuracy(network, data["validation"]))
        if curve[-1] > best:
            best, kept = curve[-1], copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return {
        "method": name,
        "seed": seed,
        "lr": lr,
        "validation": round(best, 2),
        "test": round(accuracy(network, data["test"]), 2) if test else None,
        "forward_passes": budget.spent,
        "backward_passes": steps if name.startswith("bptt") else 0,
        "seconds": round(seconds, 1),
        "curve": [round(v, 2) for v in curve],
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one method's runs: mean and standard deviation over seeds."""
    tests = [r["test"] for r in runs]
    return {
        **spread("test", tests, 2, None),
        "validation_mean": round(statistics.mean(r["validation"] for r in runs), 2),
        "lr": runs[0]["lr"],
        "forward_passes": runs[0]["forward_passes"],
        "backward_passes": runs[0]["backward_passes"],
        "seconds": round(statistics.median(r["seconds"] for r in runs), 1),
        "seeds": len(runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=_SIZES, default="digits")
    parser.add_argument("--methods", nargs="+", choices=_METHODS, default=list(_METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=positive, default=15)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    require(parser, "norse")
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    images, sizes = load(arguments.data), _SIZES[arguments.data]
    data = {part: to_tensors(getattr(images, part), torch.device("cpu")) for part in ("train", "validation", "test")}
    tuning: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    methods: dict[str, dict[str, Any]] = {}
    for name in arguments.methods:
        found = [run(name, sizes, arguments.epochs, 0, lr, data, test=False) for lr in _RATES]
        tuning += found
        lr = max(found, key=lambda r: r["validation"])["lr"]
        own = [run(name, sizes, arguments.epochs, seed, lr, data) for seed in arguments.seeds]
        runs += own
        methods[name] = summary(own)
        print(name, methods[name], file=sys.stderr, flush=True)
        # After every method: what stands is kept.
        details = {"data": arguments.data, "epochs": arguments.epochs, "hidden": sizes[0], "batch_size": sizes[1], "steps": _NUM_STEPS}
        rows = [{"method": n, **m} for n, m in methods.items()]
        report(f"norse-cell-{arguments.data}", methods, rows, details | {"tuning": tuning, "runs": runs}, False)
    if arguments.json:
        print(json.dumps(methods))


if __name__ == "__main__":
    main()
