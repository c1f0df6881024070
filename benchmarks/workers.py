"""Samples a second of training by two processes under torchrun, and by one, on the same global batch, one thread each.

    python benchmarks/workers.py
    python benchmarks/workers.py --rounds 5 --compile

One process and two take turns, each a fresh start; what is timed is the whole step of the trainer on MNIST: encoding, probes, the
exchange of gradients, the optimizer, averages. A step counts from the end of the step before to its own end, in the process that speaks.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from common import report

from polystep_snn.datasets import load
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.observer import Observer
from polystep_snn.training.trainer import Trainer

PROCESSES = 2
# Of a Trainer; the first ones are slower.
_STEPS, _WARM = 60, 10


class _Clock(Observer):
    """Stops a run after some steps; knows when each was done."""

    def __init__(self):
        self.trainer: Trainer | None = None
        self.done: list[float] = []

    def step_done(self):
        self.done.append(time.perf_counter())
        if len(self.done) == _STEPS:
            self.trainer.stop_requested = True


def time_steps(shapes: list[tuple[int, int]], compile: bool) -> None:
    """In one process or as one of several: the median milliseconds of a step for every shape (width, batch); rank 0 prints them."""
    dataset = load("mnist")
    found = []
    for hidden, batch_size in shapes:
        clock = _Clock()
        config = TrainConfig("mnist", hidden=(hidden,), batch_size=batch_size, threads=1, compile=compile)
        with tempfile.TemporaryDirectory() as folder:
            clock.trainer = Trainer(config, Path(folder), dataset, observer=clock)
            clock.trainer.fit()
        times = [b - a for a, b in pairwise(clock.done[_WARM:])]
        found.append(1e3 * statistics.median(times))
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(found), flush=True)


def launch(processes: int, arguments: argparse.Namespace) -> list[float]:
    """Start this script anew in that many processes."""
    inside = [__file__, "--inside", "--hidden", *arguments.hidden, "--batch-sizes", *arguments.batch_sizes]
    inside += ["--compile" if arguments.compile else "--no-compile"]
    command = [sys.executable]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--master-addr=127.0.0.1", f"--master-port={port}"]
    done = subprocess.run(
        [*command, *map(str, inside)], env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 512], help="widths of the hidden layer")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 512], help="samples a step, of all processes together")
    parser.add_argument("--rounds", type=int, default=3, help="turns that one process and two take")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False, help="with torch.compile")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shapes = list(product(arguments.hidden, arguments.batch_sizes))
    if arguments.inside:
        time_steps(shapes, arguments.compile)
        return

    runs: dict[int, list[list[float]]] = {1: [], PROCESSES: []}
    for _ in range(arguments.rounds):
        for processes, own in runs.items():
            own.append(launch(processes, arguments))
            print(f"{processes} processes: {[round(ms, 2) for ms in own[-1]]} ms", file=sys.stderr)
    results: dict[str, dict[str, Any]] = {}
    rows = []
    for k, (hidden, batch_size) in enumerate(shapes):
        one, several = (statistics.median(turn[k] for turn in own) for own in runs.values())
        ratios = [a[k] / b[k] for a, b in zip(*runs.values(), strict=True)]
        result = {
            "ms_one_process": round(one, 3),
            f"ms_{PROCESSES}_processes": round(several, 3),
            "samples_per_second": round(1e3 * batch_size / several),
            "speedup": round(statistics.median(ratios), 3),
        }
        results[f"784-{hidden}-10, batch {batch_size}"] = result
        rows.append({"network": f"784-{hidden}-10", "batch": batch_size, **result, "each turn": " ".join(f"{r:.2f}" for r in ratios)})
    name = "workers" + ("-compiled" if arguments.compile else "")
    report(name, results, rows, {"processes": PROCESSES, "turns_ms": runs}, arguments.json)


if __name__ == "__main__":
    main()
