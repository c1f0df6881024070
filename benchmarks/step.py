"""Milliseconds a training step, optimizer included: PolyStep and BPTT, compiled and eager, alternating in one run.

    python benchmarks/step.py
    python benchmarks/step.py --hidden 512 --num-steps 30 --threads 2

The first step of a compiled method holds its compilation, or what the cache of an earlier run left to do.
"""

import argparse
import statistics
import sys
import time
from itertools import product

import torch
from common import report

from polystep_snn import DirectCurrent, MembraneReadout, PolyStep, SpikeCountReadout, SpikingNetwork
from polystep_snn.baselines.bptt import SurrogateBPTT


def make(method: str, hidden: int, readout: str, batch: int, num_steps: int, compile: bool):
    """A step on a batch that looks like MNIST: a fifth of the pixels on."""
    generator = torch.Generator().manual_seed(0)
    end = MembraneReadout() if readout == "membrane" else SpikeCountReadout()
    network = SpikingNetwork([784, hidden, 10], readout=end, generator=generator)
    image = torch.rand(batch, 784, generator=generator) * (torch.rand(batch, 784, generator=generator) < 0.2)
    target = torch.randint(10, (batch,), generator=generator)
    probing = method == "polystep"
    residual = 0.5 if readout == "count" else None
    filler = PolyStep(network, residual=residual, compile=compile) if probing else SurrogateBPTT(network, "superspike", compile=compile)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    encoder = DirectCurrent(num_steps)

    def step():
        filler.step(encoder(image), target)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--num-steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30, help="alternations; each method takes 10 steps a round")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    steps, first = {}, {}
    for method, readout, compile in product(("polystep", "bptt"), ("membrane", "count"), (True, False)):
        name = f"{method}, {readout}, {'compiled' if compile else 'eager'}"
        steps[name] = make(method, arguments.hidden, readout, arguments.batch_size, arguments.num_steps, compile)
        started = time.perf_counter()
        steps[name]()
        first[name] = time.perf_counter() - started
        for _ in range(5):
            steps[name]()
        print(f"{name}: first step after {first[name]:.1f} s", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(10):
                step()
            seconds[name].append((time.perf_counter() - started) / 10)

    results = {
        name: {
            "ms_per_step": round(1e3 * statistics.median(values), 3),
            "ms_quartiles": [round(1e3 * q, 3) for q in statistics.quantiles(values, n=4)[::2]],
            "first_step_seconds": round(first[name], 1),
        }
        for name, values in seconds.items()
    }
    title = f"step-784-{arguments.hidden}-10-T{arguments.num_steps}-B{arguments.batch_size}-threads{arguments.threads}"
    report(title, results, [{"method": name, **result} for name, result in results.items()], {"arguments": vars(arguments)}, arguments.json)


if __name__ == "__main__":
    main()
