"""Milliseconds a training step, optimizer included, of PolyStep and BPTT, and how far PolyStep is from what the machine can do.

    python benchmarks/step.py
    python benchmarks/step.py default count --eager

Each point changes one thing about 784-128-10, T = 15, batches of 128 of MNIST's images, membrane readout, all neurons probed. ``dense``
has random inputs instead, none of them zero. PolyStep runs by numba's loops, BPTT by ``torch.compile``, both with the optimizer of
``train``; they take turns in one process, so that drift hits both.
``over_limit`` is PolyStep's median time over the machine's limit for the arithmetic that its step cannot do without, and the last four
columns are that limit's parts, in ms, each at the best speed measured here:

    products        matrix products of the step's very shapes, by the fastest of torch, numpy and oneDNN
    updates         LIF updates of all neurons and probes, at the speed of a fused loop over T steps in registers
    exponentials    one a class, probe and sample, for the costs, at the speed of a fused exp and sum
    optimizer       torch's fused AdamW on these parameters

A ``published`` column appears where the package ``polystep`` is installed; see ``published.py``. Compiling BPTT anew takes about half a
minute a point; torch's cache keeps what it made for the next run.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from common import report
from limit import Limit, work
from published import Point as PublishedPoint
from published import available, measure_published

from polystep_snn import DirectCurrent, MembraneReadout, NodeSpace, PolyStep, SpikeCountReadout, SpikingNetwork
from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.datasets import load
from polystep_snn.training.adamw import AdamW
from polystep_snn.training.feed import to_tensors


@dataclass(frozen=True)
class Point:
    """A network, a batch, and how its hidden neurons are probed.

    Attributes:
        num_probed: hidden neurons a layer; None for all.
        images: MNIST's, or "random".
    """

    hidden: tuple[int, ...] = (128,)
    num_steps: int = 15
    batch_size: int = 128
    num_probed: int | None = None
    readout: str = "membrane"
    credit: str = "exact"
    images: str = "mnist"

    @property
    def sizes(self) -> list[int]:
        return [784, *self.hidden, 10]


POINTS = {
    "default": Point(),
    "width-512": Point(hidden=(512,)),
    "dense": Point(images="random"),
    "depth-2": Point(hidden=(128, 128)),
    "chained": Point(hidden=(128, 128), credit="chained"),
    "steps-60": Point(num_steps=60),
    "batch-512": Point(batch_size=512),
    "probed-32": Point(num_probed=32),
    "count": Point(readout="count"),
}
# Seconds for which a method is timed before the other one has its turn.
_TURN_S = 0.02


@cache
def samples(images: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs ``[n, 784]`` and their classes."""
    if images == "random":
        generator = torch.Generator().manual_seed(0)
        return torch.rand(8192, 784, generator=generator), torch.randint(10, (8192,), generator=generator)
    inputs, labels = to_tensors(load("mnist").train, torch.device("cpu"))
    return inputs[:8192].clone(), labels[:8192]


def make(method: str, point: Point, compile: bool, device: str) -> tuple[Callable[[], None], torch.optim.Optimizer]:
    """A step on one batch after the other, and the optimizer that it ends with."""
    generator = torch.Generator().manual_seed(0)
    readout = MembraneReadout() if point.readout == "membrane" else SpikeCountReadout()
    network = SpikingNetwork(point.sizes, readout=readout, generator=generator).to(device)
    images, labels = samples(point.images)
    images, labels = (x.to(device).split(point.batch_size) for x in (images, labels))
    batches = itertools.cycle(list(zip(images, labels, strict=True))[: len(images) - 1])
    filler: PolyStep | SurrogateBPTT
    if method == "polystep":
        residual = 0.5 if point.readout == "count" else None
        filler = PolyStep(network, NodeSpace(num_probed=point.num_probed, credit=point.credit), residual=residual, compile=compile)
    else:
        filler = SurrogateBPTT(network, "superspike", compile=compile)
    optimizer = AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    encoder = DirectCurrent(point.num_steps)

    def step() -> None:
        image, target = next(batches)
        filler.step(encoder(image), target)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    # The first step holds the compilation, or what a cache left to do.
    step()
    if (filler.kernels.compile or filler.kernels.loops) != compile:
        sys.exit("step.py: nothing can be compiled here: install a C++ compiler, or give --eager")
    return step, optimizer


def alternate(steps: dict[str, Callable[[], None]], budget_s: float) -> dict[str, list[float]]:
    """Seconds a step, one figure for each turn that a method had."""
    calls = {}
    for name, step in steps.items():
        for _ in range(5):
            started = time.perf_counter()
            step()
        calls[name] = max(1, round(_TURN_S / (time.perf_counter() - started)))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    begun = time.perf_counter()
    while time.perf_counter() - begun < budget_s or len(seconds[next(iter(steps))]) < 5:
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(calls[name]):
                step()
            seconds[name].append((time.perf_counter() - started) / calls[name])
    return seconds


def measure(point: Point, limit: Limit, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Everything about one point, by method."""
    steps, first, optimizers = {}, {}, {}
    for method in ("polystep", "bptt"):
        started = time.perf_counter()
        steps[method], optimizers[method] = make(method, point, not arguments.eager, arguments.device)
        first[method] = round(time.perf_counter() - started, 1)
    result: dict[str, dict[str, Any]] = {}
    for method, values in alternate(steps, arguments.seconds).items():
        quartiles = [round(1e3 * q, 3) for q in statistics.quantiles(values, n=4)[::2]]
        result[method] = {
            "ms_per_step": round(1e3 * statistics.median(values), 3),
            "ms_quartiles": quartiles,
            "first_step_seconds": first[method],
        }
    needed = work(point.sizes, point.readout, point.num_steps, point.batch_size, point.num_probed)
    parts = {name: 1e3 * seconds for name, seconds in limit.seconds(needed, optimizers["polystep"]).items()}
    own = result["polystep"]
    own["limit_ms"] = {"total": round(sum(parts.values()), 3), **{name: round(ms, 3) for name, ms in parts.items()}}
    own["over_limit"] = round(own["ms_per_step"] / sum(parts.values()), 2)
    own["needed"] = asdict(needed)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="*", metavar="POINT", help=f"which of {', '.join(POINTS)}; all by default")
    parser.add_argument("--eager", action="store_true", help="without compiled loops")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long the two methods of a point take turns")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    names = arguments.points or list(POINTS)
    if unknown := [name for name in names if name not in POINTS]:
        parser.error(f"there is no point {unknown[0]!r}: choose from {', '.join(POINTS)}")
    torch.set_num_threads(arguments.threads)

    limit = Limit(arguments.device)
    results: dict[str, dict[str, Any]] = {"polystep": {}, "bptt": {}}
    rows = []
    for name in names:
        point = POINTS[name]
        found = measure(point, limit, arguments)
        if available() and name in ("default", "count") and arguments.device == "cpu":
            published = PublishedPoint(point.hidden[0], point.num_steps, point.batch_size, point.readout, arguments.threads)
            found["published"] = measure_published(published)
        for method, values in found.items():
            results.setdefault(method, {})[name] = values
        own = found["polystep"]
        times = {f"{method} ms": values["ms_per_step"] for method, values in found.items()}
        parts = {part: ms for part, ms in own["limit_ms"].items() if part != "total"}
        row = {"point": name, "published ms": "", **times, "ratio": round(own["ms_per_step"] / found["bptt"]["ms_per_step"], 2)}
        rows.append({**row, "over_limit": own["over_limit"], "limit ms": own["limit_ms"]["total"], **parts})
        print(f"{name}: {times}, {own['over_limit']} times the limit", file=sys.stderr)
    if "published" not in results:
        rows = [{key: value for key, value in row.items() if key != "published ms"} for row in rows]
    title = "step" + ("-eager" if arguments.eager else "") + (f"-threads{arguments.threads}" if arguments.threads > 1 else "")
    title += "-cuda" if arguments.device == "cuda" else ""
    # A part of the table does not replace it.
    title += "" if len(names) == len(POINTS) else "-part"
    details = {"points": {name: asdict(POINTS[name]) for name in names}, "speeds": limit.speeds()}
    report(title, results, rows, details, arguments.json)


if __name__ == "__main__":
    main()
