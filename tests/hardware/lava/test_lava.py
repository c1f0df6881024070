"""Lava computes what the simulator computes; whatever ends, raises or hangs is told soon, and leaves nothing behind.

On the real Lava. Without it (`make lava-env`) these tests are skipped, or fail where $POLYSTEP_SNN_REQUIRE_LAVA is set.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.backend import BackendError
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.lava.process_group import members
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE, LavaWorker
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.test_simulator import DU, DV, KINDS, dense, make_network, random_network

SOON_S = 5.0


@pytest.fixture(scope="module")
def worker(lava_python):
    """One for many networks: starting it takes longer than a network."""
    shared = LavaWorker()
    yield shared
    shared.close()


def assert_equal(found, expected):
    for k, (one, other) in enumerate(zip(found.layers, expected.layers, strict=True)):
        for name in "zuv":
            a, b = getattr(one, name), getattr(other, name)
            assert a.dtype == b.dtype
            assert np.array_equal(a, b), f"{name} of layer {k}"
    assert found.values.dtype == expected.values.dtype
    assert np.array_equal(found.values, expected.values)


# Same numbers


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_spike_current_and_membrane_of_random_networks(worker, kind):
    """36 of a kind, 252 in all: 1 to 4 layers, every du with every dv, per-neuron thresholds and biases, five samples each."""
    rng = np.random.default_rng(KINDS.index(kind))
    fired = 0
    for du in DU:
        for dv in DV:
            for seed in range(4):
                network, spikes = random_network(kind, du, dv, seed)
                more = rng.random((len(spikes), 3, network.sizes[0])) < rng.random((1, 3, 1))
                spikes = np.concatenate([spikes, more.astype(np.uint8)], axis=1)
                expected = Simulator(network).record(spikes)
                assert_equal(LavaBackend(network, worker=worker).record(spikes), expected)
                fired += sum(int(layer.z.sum()) for layer in expected.layers)
    assert fired > 0


def test_a_trace_by_hand(worker):
    """As the simulator's: du = 2047 halves the current, dv = 1024 takes a quarter of the membrane; 10 << 6 = 640."""
    network = make_network([dense([[10, 5]], vth=12, bias=3, du=2047, dv=1024), dense([[2]], vth=2**17 - 1)], 3)
    spikes = np.array([[[1, 0], [0, 0]], [[0, 0], [1, 1]], [[1, 1], [0, 0]]], np.uint8)
    found = LavaBackend(network, worker=worker).record(spikes)
    assert found.layers[0].u[:, 0, 0].tolist() == [640, 320, 160 + 960]
    assert found.layers[0].v[:, 0, 0].tolist() == [643, 0, 0]
    assert found.layers[0].z[:, 0, 0].tolist() == [False, True, True]
    assert found.layers[1].v[:, 0, 0].tolist() == [0, 128, 256]
    # The second sample starts from nothing: 3; 2 + 960 + 3 = 965 > 768; 0 + 480 + 3 = 483.
    assert found.layers[0].v[:, 1, 0].tolist() == [3, 0, 483]
    assert found.values.tolist() == [[256], [128]]


@pytest.mark.parametrize("readout", ["membrane", "count"])
@pytest.mark.parametrize(("num_steps", "num_samples"), [(1, 1), (1, 7), (2, 5), (16, 1), (16, 6)])
def test_values_of_whole_streams(worker, readout, num_steps, num_samples):
    rng = np.random.default_rng(num_steps)
    sizes = [13, 9, 8, 4]
    layers = [dense(rng.integers(-128, 128, (n, m)), vth=60, bias=40, dv=300) for m, n in pairwise(sizes)]
    network = make_network(layers, num_steps, readout)
    spikes = rng.random((num_steps, num_samples, 13)) < 0.4
    found = LavaBackend(network, worker=worker).run(spikes)
    assert found.dtype == np.int32
    assert np.array_equal(found, Simulator(network).run(spikes))
    assert found.any()


def test_no_samples_and_no_spikes(worker):
    backend = LavaBackend(make_network([dense([[1, 2, 3]], bias=7)], 2), worker=worker)
    assert backend.run(np.zeros((2, 0, 3), np.uint8)).shape == (0, 1)
    assert backend.record(np.zeros((2, 0, 3), np.uint8)).layers[0].u.shape == (2, 0, 1)
    with pytest.raises(InputError, match="a spike is 2"):
        backend.run(np.full((2, 1, 3), 2, np.uint8))
    with pytest.raises(InputError, match="2 steps of 4 channels"):
        backend.record(np.zeros((2, 1, 4), np.uint8))
    assert backend.run(np.zeros((2, 1, 3), np.uint8)).tolist() == [[0]]  # 7 > 0 fires, twice


def test_currents_beyond_32_bits_are_refused(lava_python):
    with pytest.raises(InputError, match="32 bits"):
        LavaBackend(make_network([dense(np.full((1, 262_144), -128), du=4095)]))


@pytest.mark.slow
def test_a_data_set_through_a_worker_of_its_own(lava_python):
    """784-128-10, 200 samples of 16 steps: equal values, and a first result within five seconds of the start."""
    network, spikes = large_stream(200)
    told = []
    started = time.perf_counter()
    with LavaBackend(network, on_progress=told.append) as backend:
        first = backend.run(spikes[:, :1])
        assert time.perf_counter() - started < SOON_S
        values = backend.run(spikes)
    assert np.array_equal(values, Simulator(network).run(spikes))
    assert np.array_equal(values[:1], first)
    assert told == sorted(told)
    assert told[-1] <= 200


def large_stream(num_samples, num_steps=16):
    rng = np.random.default_rng(0)
    sizes = [784, 128, 10]
    layers = [dense(rng.integers(-60, 60, (n, m)), vth=500, dv=128, du=1000) for m, n in pairwise(sizes)]
    return make_network(layers, num_steps), rng.random((num_steps, num_samples, 784)) < 0.1


def test_two_workers_side_by_side(lava_python):
    network, spikes = small()
    with nothing_left() as made, LavaBackend(network) as one, LavaBackend(network) as other:
        made += [identify(one), identify(other)]
        for backend in (one, other, one):
            assert np.array_equal(backend.run(spikes), Simulator(network).run(spikes))
        one.close()
        assert members(made[0][0]) == []
        assert np.array_equal(other.run(spikes), Simulator(network).run(spikes))


# What goes wrong


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


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (["if self.time_step == 9: raise ValueError('out of tune')"], r"layer [01] \(PyNeurons\) raised ValueError: out of tune"),
        (["if self.time_step == 1: raise ValueError('stillborn')"], r"layer [01] \(PyNeurons\) raised ValueError: stillborn"),
        (["if self.time_step == 9: os._exit(7)"], r"layer [01] \(PyNeurons\) ended with exit code 7"),
        (["if self.time_step == 9: os.kill(os.getpid(), 11)"], r"layer [01] \(PyNeurons\) ended, killed by SIGSEGV"),
        (["self.a_in.recv()"], r"nothing was heard from Lava for 3 s at step \d+: it hangs"),
    ],
)
def test_models_that_fail(sabotaged, monkeypatch, lines, cause):
    """The message names the model and what it raised; the next call starts a worker that works."""
    network, spikes = small()
    sabotaged(lines)
    with nothing_left() as made, LavaBackend(network, timeout_s=3) as backend:
        made.append(identify(backend))
        started = time.monotonic()
        with pytest.raises(BackendError, match=cause):
            backend.run(spikes)
        assert time.monotonic() - started < SOON_S
        assert members(made[0][0]) == []
        monkeypatch.undo()
        assert np.array_equal(backend.run(spikes), Simulator(network).run(spikes))
        made.append(identify(backend))


def processes_of(group):
    """The worker, Lava's keeper of shared memory, a process for each model, Lava's service; without Python's tracker."""
    return [pid for pid in sorted(members(group)) if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("which", [0, 2, 4, 6, -1])
@pytest.mark.parametrize(("call", "number"), [("run", signal.SIGKILL), ("record", signal.SIGKILL), ("run", signal.SIGSTOP)])
def test_any_process_killed_or_stopped_in_a_run(lava_python, call, which, number):
    """0 is the worker, the others models; the last one is Lava's service in a run, and a model in a recording."""
    network, spikes = large_stream(2000)
    running = threading.Event()
    struck = []
    with nothing_left() as made, LavaBackend(network, timeout_s=3, on_progress=lambda done: done > 2 and running.set()) as backend:
        made.append(identify(backend))

        def strike():
            running.wait(60)
            struck.append(time.monotonic())
            os.kill(processes_of(made[0][0])[which], number)

        thread = threading.Thread(target=strike)
        thread.start()
        with pytest.raises(BackendError) as raised:
            getattr(backend, call)(spikes)
        late = time.monotonic() - struck[0]
        thread.join()
        assert late < SOON_S
        if number == signal.SIGSTOP:
            assert "nothing was heard from Lava for 3 s at step" in str(raised.value)
        elif which == 0:
            assert str(raised.value) == "the Lava worker was killed by SIGKILL"
        else:
            assert "killed by SIGKILL" in str(raised.value)


def test_without_its_keeper_of_shared_memory_a_run_goes_on(lava_python):
    network, spikes = large_stream(60)
    kept = []

    def strike(done):
        if done and not kept:
            kept.append(processes_of(made[0][0])[1])
            os.kill(kept[0], signal.SIGKILL)

    with nothing_left() as made, LavaBackend(network, on_progress=strike) as backend:
        made.append(identify(backend))
        assert np.array_equal(backend.run(spikes), Simulator(network).run(spikes))
        assert kept
        assert kept[0] not in members(made[0][0])


def test_a_worker_killed_while_idle(lava_python):
    network, spikes = small()
    with nothing_left() as made, LavaBackend(network) as backend:
        backend.run(spikes)
        made.append(identify(backend))
        os.kill(made[0][0], signal.SIGKILL)
        with pytest.raises(BackendError, match="was killed by SIGKILL"):
            backend.run(spikes)
        assert np.array_equal(backend.run(spikes), Simulator(network).run(spikes))
        made.append(identify(backend))


CLIENT = """
import os, signal, sys, time
import numpy as np
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.network_file import load
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started with it ignored
{prelude}
network = load(sys.argv[1])
backend = LavaBackend(network, on_progress=lambda done: print("samples", done, flush=True))
print(backend._own._process.pid, backend._own.folder, flush=True)
backend.run(np.random.default_rng(0).random((16, 2000, 784)) < 0.1)
"""
PRELUDES = {
    "plainly": "",
    "ignoring signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "having forked": "import threading; threading.Timer(1, lambda: os.fork() or time.sleep(7)).start()",
}


@pytest.mark.parametrize(
    ("prelude", "number"),
    [
        ("plainly", signal.SIGKILL),
        ("plainly", signal.SIGTERM),
        ("plainly", signal.SIGINT),
        ("ignoring signals", signal.SIGKILL),
        ("ignoring signals", signal.SIGINT),
        ("having forked", signal.SIGKILL),
        ("having forked", signal.SIGTERM),
    ],
)
def test_a_client_that_dies_in_a_run(lava_python, tmp_path, prelude, number):
    network, _ = large_stream(1)
    network_file.save(tmp_path / "network.safetensors", network)
    command = [sys.executable, "-u", "-c", CLIENT.format(prelude=PRELUDES[prelude]), str(tmp_path / "network.safetensors")]
    with nothing_left() as made:
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        group, folder = client.stdout.readline().split()
        made.append((int(group), Path(folder)))
        while int(client.stdout.readline().split()[1]) < 3:
            assert client.poll() is None
        time.sleep(1.2 if prelude == "having forked" else 0)
        assert len(members(int(group))) > 6
        struck = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(client.pid, number)  # as a terminal does
        else:
            client.send_signal(number)
        client.wait(SOON_S)
        assert time.monotonic() - struck < SOON_S
        assert client.returncode in (-number, 1)
    if members(client.pid):
        os.killpg(client.pid, signal.SIGKILL)
    client.stdout.close()
    client.stderr.close()


def test_a_forgotten_backend_leaves_nothing(lava_python):
    network, spikes = small()
    with nothing_left() as made:
        backend = LavaBackend(network)
        backend.run(spikes)
        made.append(identify(backend))
        del backend


def test_a_shared_worker_that_is_closed_is_told(lava_python):
    network, spikes = small()
    worker = LavaWorker()
    backend = LavaBackend(network, worker=worker)
    backend.close()
    assert worker.is_open
    worker.close()
    with pytest.raises(BackendError, match="the Lava worker is closed"):
        LavaBackend(network, worker=worker).run(spikes)


def test_closing_twice_and_going_on(lava_python):
    network, spikes = small()
    with nothing_left() as made:
        backend = LavaBackend(network)
        made.append(identify(backend))
        backend.close()
        backend.close()
        assert np.array_equal(backend.run(spikes), Simulator(network).run(spikes))
        made.append(identify(backend))
        backend.close()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("/nowhere/python", f"\\${PYTHON_VARIABLE} is /nowhere/python, which is no program: run `make lava-env`"),
        (sys.executable, r"cannot run Lava \(No module named 'lava'\): run `make lava-env`"),
        ("/bin/false", r"/bin/false cannot run Lava \(the Lava worker ended with exit code 1\): run"),
        ("/etc", "cannot be started"),
    ],
)
def test_pythons_without_lava(monkeypatch, program, message):
    monkeypatch.setenv(PYTHON_VARIABLE, program)
    with pytest.raises(InputError, match=message):
        LavaBackend(small()[0])


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan"), float("inf"), 1e7, "x", True])
def test_no_time_to_wait(timeout_s):
    with pytest.raises(InputError, match=f"timeout_s is {timeout_s!r}: give seconds, more than 0 and at most 1000000"):
        LavaBackend(small()[0], timeout_s)


def test_a_request_larger_than_a_message(lava_python):
    worker = LavaWorker()
    with pytest.raises(InputError, match=r"Lava is asked for too much .a message has \d+ . 0 bytes: at most 1048576 .* give fewer samples"):
        worker.request({"kind": "x" * 2**20}, {})
    assert not worker.is_open


def test_another_version_in_lavas_environment(sabotaged):
    sabotaged(["pass"], first="import polystep_snn; polystep_snn.__version__ = '0.0.1'")
    with pytest.raises(InputError, match=r"has polystep-snn 0\.0\.1: run `make lava-env`"):
        LavaBackend(small()[0])


def test_no_python_for_lava(monkeypatch, tmp_path):
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr("polystep_snn.hardware.lava.worker_process._ENVIRONMENT", tmp_path)
    with pytest.raises(InputError, match="there is no Python with Lava: run `make lava-env`"):
        LavaBackend(small()[0])
