"""Runs connected Processes: compiles them, makes their steps, and raises when one of Lava's processes ends.

Lava itself waits for ever then.
"""

import logging
import mmap
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess, ProcessServer
from lava.magma.core.process.variable import VarServer
from lava.magma.core.run_conditions import RunSteps
from lava.magma.runtime.mgmt_token_enums import MGMT_RESPONSE, enum_equal

from polystep_snn.errors import BackendError

# Between two looks at a run. A look takes microseconds.
_LOOK_S = 0.002
# What a model raised reaches us through a pipe, as its process ends.
_CAUSE_S = 1.0
# Messages that a channel holds. Lava's 64 of a large matrix would fill the shared memory; two wait at once at most.
_CHANNEL_SIZE = 4


def run(process: AbstractProcess, configuration: Any, num_steps: int, look: Callable[[], None]) -> None:
    """Compile a graph, run all steps, and take everything down.

    Args:
        process: one of the graph's.
        configuration: which models to take.
        num_steps: of Lava's time.
        look: called every few milliseconds.

    Raises:
        BackendError: a model raised, or its process ended. Nothing more can be run in this process then.
    """
    executable = process.compile(configuration, {"pypy_channel_size": _CHANNEL_SIZE})
    with _ended_processes_raise(process, list(executable.proc_builders)):
        process.create_runtime(executable=executable)
        runtime = process.runtime
        runtime.start(RunSteps(num_steps, blocking=False))
        answer = runtime.service_to_runtime[0]
        while not answer.probe():
            time.sleep(_LOOK_S)
            look()
        if not enum_equal(answer.peek(), MGMT_RESPONSE.DONE):
            time.sleep(_CAUSE_S)  # until the process that failed has ended, which raises
    runtime.wait()
    process.stop()
    _forget()


def shared(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros in memory without a name that forked processes share; it goes with the last of them."""
    count = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize)), dtype, count).reshape(shape)


@contextmanager
def _ended_processes_raise(process: AbstractProcess, built: list[AbstractProcess]) -> Iterator[None]:
    """Within, BackendError is raised wherever this process is, or waits, when one of Lava's processes ends.

    Without it Lava waits for ever.

    Args:
        process: one of the graph's.
        built: those of the graph in the order in which Lava starts a process for each; what it starts further is its own.
    """

    looking = again = False

    def look(*_: Any) -> None:
        nonlocal looking, again
        # A second process may end while one looks: a look within a look would find what the first has half read.
        again = True
        if looking:
            return
        looking = True
        try:
            while again:
                again = False
                actors = _actors(process)
                for actor, name in zip(actors, _names(actors, built), strict=True):
                    if not actor.is_alive():
                        raise BackendError(_cause(actors, built) or f"{name} ended{_how(actor.exitcode)}")
        finally:
            looking = False

    before = signal.signal(signal.SIGCHLD, look)
    try:
        yield
        look()
    finally:
        signal.signal(signal.SIGCHLD, before)


def _actors(process: AbstractProcess) -> list[Any]:
    runtime = process.runtime
    infrastructure = runtime and runtime._messaging_infrastructure
    return list(infrastructure.actors) if infrastructure else []


def _names(actors: list[Any], built: list[AbstractProcess]) -> list[str]:
    return [f"{p.name} ({p.model_class.__name__})" for p in built][: len(actors)] + ["Lava's service"] * (len(actors) - len(built))


def _cause(actors: list[Any], built: list[AbstractProcess]) -> str | None:
    """What a model raised: first in time is not known, so the first in the order of the graph."""
    deadline = time.monotonic() + _CAUSE_S
    while time.monotonic() < deadline:
        for actor, name in zip(actors, _names(actors, built), strict=True):
            if actor.exception:
                error, _ = actor.exception
                return f"{name} raised {type(error).__name__}: {error}"
        if all(actor.exitcode != 0 for actor in actors if not actor.is_alive()):
            return None  # killed: no pipe has anything to say
        time.sleep(_LOOK_S)
    return None


def _how(code: int | None) -> str:
    return f", killed by {signal.Signals(-code).name}" if code and code < 0 else f" with exit code {code}"


def _forget() -> None:
    """Lava keeps every Process and Var there ever was, and adds a handler to the log for each."""
    ProcessServer().reset_server()
    VarServer().reset_server()
    for name in (None, "lava.magma.compiler.compiler"):
        logging.getLogger(name).handlers.clear()
