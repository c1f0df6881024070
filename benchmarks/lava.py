"""Lava through its worker: steps a second, seconds to a first result, and seconds from a failure to its error.

    python benchmarks/lava.py
    python benchmarks/lava.py --samples 500 --num-steps 16 --repeats 5

Random int8 networks whose input is 10 % spikes. A failure is brought about in the middle of a run of the first network; its figure is
the time from there until the call has raised, with every process of the worker gone.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import report

from polystep_snn.hardware.backend import BackendError
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.lava.process_group import members
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE, find_python
from polystep_snn.hardware.network_file import save
from polystep_snn.hardware.simulator import Simulator

SIZES = ([784, 128, 10], [784, 256, 128, 10], [2312, 256, 10])
HANG_S = 2.0
# A model that raises once the run is on its way, and says when.
RAISING = """
import runpy, sys, time
from polystep_snn.hardware.lava.processes.neurons import PyNeurons
run_spk = PyNeurons.run_spk
def raising(self):
    if self.time_step == 800:
        raise ValueError(time.monotonic())
    run_spk(self)
PyNeurons.run_spk = raising
sys.argv = sys.argv[sys.argv.index("-m") + 1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
CLIENT = """
import sys
import numpy as np
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.network_file import load
network = load(sys.argv[1])
backend = LavaBackend(network, on_progress=lambda done: print(done, flush=True))
print(backend._own._process.pid, flush=True)
backend.run(np.zeros((network.num_steps, 5000, network.sizes[0]), np.uint8))
"""


def make(sizes: list[int], num_steps: int, num_samples: int):
    """A network with spikes in all its layers, and an input."""
    rng = np.random.default_rng(0)
    layers = tuple(
        IntegerLayer(rng.integers(-60, 60, (n, m)).astype(np.int8), np.full(n, 500, np.int32), np.zeros(n, np.int16), du=1000, dv=128)
        for m, n in pairwise(sizes)
    )
    network = IntegerNetwork(layers, "membrane", num_steps, "events", (sizes[0],), tuple(map(str, range(sizes[-1]))))
    return network, rng.random((num_steps, num_samples, sizes[0])) < 0.1


def throughput(sizes: list[int], num_steps: int, num_samples: int) -> dict[str, float]:
    """Seconds from nothing to a first result; seconds of a call with one sample; steps a second of whole calls."""
    network, spikes = make(sizes, num_steps, num_samples)
    expected = Simulator(network).run(spikes)
    started = time.perf_counter()
    with LavaBackend(network) as backend:
        backend.run(spikes[:, :1])
        result = {"first_result_seconds": time.perf_counter() - started}
        started = time.perf_counter()
        backend.run(spikes[:, :1])
        result["one_sample_seconds"] = time.perf_counter() - started
        for call in ("run", "record"):
            started = time.perf_counter()
            found = getattr(backend, call)(spikes)
            result[f"{call}_steps_per_second"] = num_steps * num_samples / (time.perf_counter() - started)
            if not np.array_equal(found if call == "run" else found.values, expected):
                raise SystemExit(f"{sizes}: Lava and the simulator differ")
    return result


def struck(strike, network: IntegerNetwork, timeout_s: float = 60.0) -> float:
    """Seconds from ``strike(pids)`` in the middle of a run until the error is here."""
    when: list[float] = []

    def on_progress(done: int) -> None:
        if done > 10 and not when:
            worker = backend._own._process.pid
            pids = sorted(members(worker))
            when.append(time.monotonic())
            strike(pids)

    with LavaBackend(network, timeout_s, on_progress) as backend:
        group = backend._own._process.pid
        try:
            backend.run(np.zeros((network.num_steps, 5000, network.sizes[0]), np.uint8))
        except (BackendError, KeyboardInterrupt):
            late = time.monotonic() - when[0]
    if members(group):
        raise SystemExit("processes are left")
    return late


def raising(network: IntegerNetwork) -> float:
    """Seconds from a ValueError in a model until the error is here."""
    python = find_python()
    with tempfile.TemporaryDirectory() as folder:
        script, program = Path(folder, "raising.py"), Path(folder, "python")
        script.write_text(RAISING)
        program.write_text(f'#!/bin/sh\nexec "{python}" "{script}" "$@"\n')
        program.chmod(0o755)
        before = os.environ.get(PYTHON_VARIABLE)
        os.environ[PYTHON_VARIABLE] = str(program)
        try:
            with LavaBackend(network) as backend:
                backend.run(np.zeros((network.num_steps, 5000, network.sizes[0]), np.uint8))
        except BackendError as error:
            return time.monotonic() - float(str(error).rsplit(" ", 1)[1])
        finally:
            del os.environ[PYTHON_VARIABLE]
            if before is not None:
                os.environ[PYTHON_VARIABLE] = before
    raise SystemExit("no error came")


def dying_client(network: IntegerNetwork) -> float:
    """Seconds from SIGKILL of a client until the last process of its worker is gone."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "network.safetensors"), network)
        command = [sys.executable, "-c", CLIENT, str(Path(folder, "network.safetensors"))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            group = int(client.stdout.readline())
            while int(client.stdout.readline()) < 10:
                pass
            started = time.monotonic()
            client.kill()
            while members(group):
                time.sleep(0.005)
            return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--num-steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()

    network, _ = make(SIZES[0], arguments.num_steps, 1)
    failures = {
        "model raises": lambda: raising(network),
        "model killed": lambda: struck(lambda pids: os.kill(pids[4], signal.SIGKILL), network),
        "worker killed": lambda: struck(lambda pids: os.kill(pids[0], signal.SIGKILL), network),
        f"run hangs, timeout_s={HANG_S:g}": lambda: struck(lambda pids: os.kill(pids[4], signal.SIGSTOP), network, HANG_S),
        "Ctrl-C": lambda: struck(lambda pids: os.kill(os.getpid(), signal.SIGINT), network),
        "client killed": lambda: dying_client(network),
    }
    results, rows, runs = {}, [], {}
    for sizes in SIZES:
        own = [throughput(sizes, arguments.num_steps, arguments.samples) for _ in range(arguments.repeats)]
        name = "-".join(map(str, sizes))
        results[name] = {key: round(statistics.median(r[key] for r in own), 3) for key in own[0]}
        rows.append({"network": name, **results[name]})
        runs[name] = own
        print(f"{name}: {results[name]}", file=sys.stderr)
    for name, measure in failures.items():
        runs[name] = [measure() for _ in range(arguments.repeats)]
        results[name] = {"seconds_to_error": round(statistics.median(runs[name]), 3), "seconds_to_error_max": round(max(runs[name]), 3)}
        print(f"{name}: {results[name]}", file=sys.stderr)
    report("lava", results, rows, {"arguments": vars(arguments), "runs": runs}, arguments.json)


if __name__ == "__main__":
    main()
