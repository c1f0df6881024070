"""Two ways of one step that take turns: the chip's neuron over one in floating point, one thread over two.

python benchmarks/pairs.py

chip        784-128-10, T = 16, MNIST's images as a rate code, batches of 128: the chip's integer neurons with int8 weights, over
            neurons in floating point
threads     784-512-10, T = 15, batches of 512: one thread over two, and whether every bit of the weights is the same after all steps
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from common import report

from polystep_snn import CubaParameters, DirectCurrent, LIFParameters, NodeSpace, PolyStep, Rate, SpikingNetwork
from polystep_snn.datasets import load
from polystep_snn.engine.threads import taken_from_torch
from polystep_snn.training.adamw import AdamW
from polystep_snn.training.feed import to_tensors


class Steps:
    """Training steps on one batch after the other."""

    def __init__(self, network: SpikingNetwork, encoder: Any, batch_size: int, samples: tuple[torch.Tensor, torch.Tensor], threads: int):
        self.network, self.encoder, self.threads = network, encoder, threads
        self.method = PolyStep(network, NodeSpace())
        self.optimizer = AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
        images, labels = (x.split(batch_size) for x in samples)
        self.batches = itertools.cycle(list(zip(images, labels, strict=True))[: len(images) - 1])

    def __call__(self, count: int) -> float:
        """Seconds a step."""
        torch.set_num_threads(self.threads)
        with taken_from_torch():
            begun = time.perf_counter()
            for _ in range(count):
                images, labels = next(self.batches)
                self.method.step(self.encoder(images), labels)
                self.optimizer.step()
            return (time.perf_counter() - begun) / count


def take_turns(a: Callable[[int], float], b: Callable[[int], float], turns: int, count: int) -> tuple[float, float]:
    """Median milliseconds a step of each."""
    for steps in (a, b):
        steps(count)
    seconds = [(a(count), b(count)) for _ in range(turns)]
    first, second = (1e3 * statistics.median(column) for column in zip(*seconds, strict=True))
    return first, second


def row(pair: str, ms: float, other: float, same_bits: str = "") -> dict[str, Any]:
    return {"pair": pair, "ms": round(ms, 3), "other ms": round(other, 3), "ratio": round(ms / other, 2), "same bits": same_bits}


def network(sizes: list[int], chip: bool = False) -> SpikingNetwork:
    neuron = CubaParameters() if chip else LIFParameters()
    return SpikingNetwork(sizes, neuron, generator=torch.Generator().manual_seed(0), weight_bits=8 if chip else 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, help="that each of a pair has")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    images, labels = to_tensors(load("mnist").train, torch.device("cpu"))
    samples = images[:8192].clone(), labels[:8192]
    rows = []

    code = Rate(16)
    chip, plain = (Steps(network([784, 128, 10], on_chip), code, 128, samples, 1) for on_chip in (True, False))
    mine, other = take_turns(chip, plain, arguments.turns, 5)
    rows.append(row("chip over float", mine, other))
    print(rows[-1], file=sys.stderr)

    one, two = (Steps(network([784, 512, 10]), DirectCurrent(15), 512, samples, threads) for threads in (1, 2))
    mine, other = take_turns(one, two, arguments.turns, 5)
    same = all(map(torch.equal, one.network.parameters(), two.network.parameters()))
    rows.append(row("one thread over two", mine, other, str(same)))
    print(rows[-1], file=sys.stderr)
    report("pairs", {x["pair"]: x for x in rows}, rows, {"turns": arguments.turns}, arguments.json)


if __name__ == "__main__":
    main()
