"""What ties the worker to its client, and Lava's processes to the worker: none outlives the one that it works for."""

import ctypes
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.5


def tie_to_parent(folder: Path) -> None:
    """End this process's whole group, and delete ``folder``, once the parent of now is its parent no more.

    The client's end of the socket tells sooner, unless a process that the client forked still holds it open.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        end(folder)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def end(folder: Path) -> None:
    """End this process's group, this process with it. Shared memory is given back by Python's tracker, which ignores SIGTERM."""
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGTERM)


def tie_children(descriptor: int) -> None:
    """From now on every process forked here closes ``descriptor`` and, on Linux, is killed when this one dies, however that happens."""
    worker = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def in_child() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != worker:  # it died before that
            os._exit(1)
        os.close(descriptor)

    os.register_at_fork(after_in_child=in_child)
