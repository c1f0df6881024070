"""Seconds from the start of ``polystep-snn train mnist`` to the end of its first training step: the first time, and ever after.

    python benchmarks/start.py
    python benchmarks/start.py --repeats 5 -- --hidden 512 --readout count

Every start is a fresh process that runs the command itself, with an observer that reports and stops it. The cold start has an empty
cache of compiled code; the others find what it left. ``ready`` is the time at which data, network and thresholds stand.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import report

# Observes the command that follows on its command line, and ends it as Ctrl-C would.
_CHILD = """
import json, sys, time
from polystep_snn.cli import main, train

class Observer(train.ConsoleObserver):
    def epoch_begins(self, epoch, step, num_steps):
        self.ready = time.time()

    def step_done(self):
        print(json.dumps({"ready": self.ready, "first_step": time.time()}), flush=True)
        raise KeyboardInterrupt

train.ConsoleObserver = Observer
sys.exit(main.main(sys.argv[1:]))
"""
_INTERRUPTED = 130


def start(cache: Path, options: list[str]) -> dict[str, float]:
    """Seconds from the start of a process to the two marks."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _CHILD, "train", "mnist", "--out", f"{folder}/run", "--epochs", "1", *options]
        begun = time.time()
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != _INTERRUPTED:
        sys.exit(f"start.py: the command failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    marks = json.loads(done.stdout.splitlines()[-1])
    return {name: at - begun for name, at in marks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", metavar="OPTION", help="further options of the command, after --")
    parser.add_argument("--repeats", type=int, default=3, help="starts that find the cache filled")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()

    runs: dict[str, list[dict[str, float]]] = {"cold": [], "again": []}
    with tempfile.TemporaryDirectory() as cache:
        for k in range(1 + arguments.repeats):
            kind = "again" if k else "cold"
            runs[kind].append(start(Path(cache), arguments.options))
            print(f"{kind}: first step after {runs[kind][-1]['first_step']:.1f} s", file=sys.stderr)
    results: dict[str, dict[str, Any]] = {}
    for kind, own in runs.items():
        middle = {f"{mark}_seconds": round(statistics.median(r[mark] for r in own), 2) for mark in ("ready", "first_step")}
        results[kind] = {**middle, "worst_first_step_seconds": round(max(r["first_step"] for r in own), 2), "starts": len(own)}
    rows = [{"start": kind, **values} for kind, values in results.items()]
    report("start", results, rows, {"options": arguments.options}, arguments.json)


if __name__ == "__main__":
    main()
