"""A worker that runs Lava, and what may be left of one."""

import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.hardware.lava.process_group import members
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE, LavaWorker
from tests.hardware.test_simulator import dense, make_network

SOON_S = 5.0


@pytest.fixture(scope="module")
def worker(lava_python):
    """One for many networks: starting it takes longer than a network."""
    shared = LavaWorker()
    yield shared
    shared.close()


def large_stream(num_samples, num_steps=16):
    rng = np.random.default_rng(0)
    sizes = [784, 128, 10]
    layers = [dense(rng.integers(-60, 60, (n, m)), vth=500, dv=128, du=1000) for m, n in pairwise(sizes)]
    return make_network(layers, num_steps), rng.random((num_steps, num_samples, 784)) < 0.1


def shared_memory():
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


@contextmanager
def nothing_left():
    """Within, workers come and go; after it, no process of theirs, no shared memory and no folder is there, and that soon."""
    before = shared_memory()
    made = []
    yield made
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        left = [pid for group, _ in made for pid in members(group)]
        if not left and not shared_memory() - before and not any(folder.exists() for _, folder in made):
            break
        time.sleep(0.02)
    assert made
    assert left == []
    assert shared_memory() - before == set()
    assert [folder for _, folder in made if folder.exists()] == []


def identify(backend):
    worker = backend._worker()
    return worker._process.pid, worker.folder


@pytest.fixture
def sabotaged(lava_python, tmp_path, monkeypatch):
    """Workers whose ``PyNeurons.run_spk`` starts with some lines of Python, ``self`` being the model; ``first`` runs before all else."""

    def sabotage(lines, first=""):
        script = tmp_path / "sabotaged.py"
        script.write_text(
            f"import os, runpy, sys, time\n{first}\n"
            "from polystep_snn.hardware.lava.processes.neurons import PyNeurons\n"
            "run_spk = PyNeurons.run_spk\n"
            "def broken(self):\n    " + "\n    ".join(lines) + "\n    run_spk(self)\n"
            "PyNeurons.run_spk = broken\n"
            "sys.argv = sys.argv[sys.argv.index('-m') + 1:]\n"
            "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        )
        program = tmp_path / "python"
        program.write_text(f'#!/bin/sh\nexec "{lava_python}" "{script}" "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv(PYTHON_VARIABLE, str(program))

    yield sabotage
    monkeypatch.undo()


def small():
    network = make_network([dense([[1, 2, 3]] * 4, vth=3), dense([[5] * 4] * 2, vth=9)], 4)
    return network, np.ones((4, 8, 3), np.uint8)


def processes_of(group):
    """The worker, Lava's keeper of shared memory, a process for each model, Lava's service; without Python's tracker."""
    return [pid for pid in sorted(members(group)) if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
