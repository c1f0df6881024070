"""Whatever ends, raises or hangs in Lava is told soon, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
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
from tests.hardware.lava.lava_worker import SOON_S, identify, large_stream, nothing_left, processes_of, sabotaged, small, worker  # noqa: F401 (fixtures)

pytestmark = pytest.mark.alone


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
