"""One training step of the published PolyStep, ``polystep`` on PyPI, beside this one and BPTT: the same network, batch and threads.

    pip install polystep
    python benchmarks/published.py

The network is that of its paper, 784-128-10 with spike counts as logits, and its settings are those of its own experiments on it. It
is given a forward pass that computes the current of the constant image once, which it does not find by itself and which makes it four
times as fast. Every figure comes from a fresh process; memory is what a step needs beyond the process between two steps.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from common import report
from torch import nn

from polystep_snn import DirectCurrent, LIFParameters, MembraneReadout, SpikeCountReadout, SpikingNetwork
from polystep_snn.profiling import _STRICT_ALLOCATOR, _peak_memory, measure
from polystep_snn.training.config import TrainConfig


@dataclass(frozen=True)
class Point:
    """What is measured: "seconds" or "memory" of a step on a network with one hidden layer."""

    hidden: int = 128
    num_steps: int = 15
    batch_size: int = 128
    readout: str = "count"
    threads: int = 1
    quantity: str = "seconds"


class Unrolled(nn.Module):
    """A ``SpikingNetwork`` with one hidden layer as ``torch.vmap`` and the published package can take it: constants, no checks."""

    def __init__(self, network: SpikingNetwork, num_steps: int):
        super().__init__()
        self.first, self.second = network.linears
        self.p = network.neurons[0]
        self.fires = isinstance(network.readout, SpikeCountReadout)
        self.num_steps = num_steps
        self.requires_grad_(True)

    def forward(self, x):
        hidden, last = x.new_zeros(len(x), self.first.out_features), x.new_zeros(len(x), self.second.out_features)
        total = last
        current = self.first(x)
        for _ in range(self.num_steps):
            z, hidden = self._fire(current, hidden)
            out = self.second(z)
            if self.fires:
                out, last = self._fire(out, last)
            total = total + out
        return total

    def _fire(self, x, v):
        v = self.p.beta * v + x
        z = (v > self.p.v_th).to(v.dtype)
        return z, v * (1.0 - z)


def available() -> str | None:
    """The version that is installed; None where there is none."""
    return importlib.metadata.version("polystep") if importlib.util.find_spec("polystep") else None


def measure_published(point: Point) -> dict[str, Any]:
    """Milliseconds and peak memory of a step, and how many candidates it evaluates: one process for the time, one for the memory."""
    result: dict[str, Any] = {"version": available()}
    for quantity, environment in (("seconds", {}), ("memory", _STRICT_ALLOCATOR)):
        command = [sys.executable, __file__, "--point", json.dumps(asdict(replace(point, quantity=quantity)))]
        done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
        result |= json.loads(done.stdout)
    result["ms_per_evaluation"] = round(result["ms_per_step"] / result["evaluations"], 4)
    return result


def _measure_here(point: Point) -> dict[str, Any]:
    from polystep import HybridSubspace, ParamLayout, PolyStepOptimizer

    warnings.filterwarnings("ignore", module=r"polystep\.")
    warnings.filterwarnings("ignore", message="biased_rotation is aligning")  # as its own experiments have it
    torch.set_num_threads(point.threads)
    generator = torch.Generator().manual_seed(0)
    neuron = LIFParameters.from_beta(0.95, reset="zero")
    readout = MembraneReadout() if point.readout == "membrane" else SpikeCountReadout(neuron)
    network = SpikingNetwork([784, point.hidden, 10], neuron, readout, generator)
    images = torch.rand(point.batch_size, 784, generator=generator) * (torch.rand(point.batch_size, 784, generator=generator) < 0.2)
    labels = torch.randint(10, (point.batch_size,), generator=generator)
    expected = network(DirectCurrent(point.num_steps)(images))[0]
    model = Unrolled(network, point.num_steps)
    torch.testing.assert_close(model(images).detach(), expected)

    layout = ParamLayout.from_module(model)
    subspace = HybridSubspace.from_layout(
        layout, rank=4, seed=0, rotation_mode="random", rotation_interval=0, absorb_mode="periodic", absorb_interval=20
    )
    optimizer = PolyStepOptimizer(
        model, subspace=subspace, solver="softmax", epsilon=0.5, step_radius=2.0, probe_radius=1.0, biased_rotation=True, seed=0
    )
    cost = nn.CrossEntropyLoss()

    def step():
        optimizer.step_batch(images, labels, loss_fn=cost)

    if point.quantity == "memory":
        return {"peak_mb": round(_peak_memory(step, model, torch.device("cpu")), 1)}
    step()
    evaluations, times = optimizer.candidate_evals, []
    for _ in range(3):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return {"ms_per_step": round(1e3 * statistics.median(times), 1), "evaluations": evaluations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readout", choices=("count", "membrane"), default="count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(_measure_here(Point(**json.loads(arguments.point)))))
        return
    if available() is None:
        parser.error("the package `polystep` is not installed here: pip install polystep")

    point = Point(readout=arguments.readout, threads=arguments.threads)
    results = {"published": measure_published(point)}
    config = TrainConfig("mnist", hidden=(point.hidden,), batch_size=point.batch_size, readout=point.readout, threads=point.threads)
    for method in ("polystep", "bptt"):
        own = measure(method, point.num_steps, config.to_json(), 10)
        results[method] = {"ms_per_step": round(1e3 * own["seconds_per_step"], 3), "peak_mb": round(own["peak_mb"], 1)}
    columns = ("ms_per_step", "peak_mb", "evaluations", "ms_per_evaluation")
    rows = [{"method": name, **{c: result.get(c, "") for c in columns}} for name, result in results.items()]
    report(f"published-{point.readout}", results, rows, {"point": asdict(point)}, arguments.json)


if __name__ == "__main__":
    main()
