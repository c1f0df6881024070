"""The client's side of a worker: finds its Python, starts it, asks, and ends it with everything that it started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import numpy as np

from polystep_snn import __version__
from polystep_snn.errors import BackendError, InputError
from polystep_snn.folder_lock import FolderLock
from polystep_snn.hardware.lava import protocol
from polystep_snn.hardware.lava.process_group import end_group

# 11 days; sockets wait for 24 at most.
_LONGEST_S = 1_000_000
_PREFIX = "polystep-snn-lava-"
_SETTLED_S = 60.0
PYTHON_VARIABLE = "POLYSTEP_SNN_LAVA_PYTHON"
# Beside hardware/, where the project is installed from its repository.
_ENVIRONMENT = Path(__file__).parents[2] / ".venv-lava"
_FIX = (
    f"run `make lava-env`, or set ${PYTHON_VARIABLE} to a Python 3.10 that has lava-nc and polystep-snn {__version__}, or install "
    "'polystep-snn[lava]' with Python 3.10"
)


def find_python() -> Path:
    """The Python that has Lava: ``$POLYSTEP_SNN_LAVA_PYTHON``, or that of ``make lava-env``, or this one.

    Raises:
        InputError: there is none.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise InputError(f"${PYTHON_VARIABLE} is {named}, which is no program: {_FIX}")
        return Path(named).absolute()
    python = _ENVIRONMENT / "bin" / "python"
    if not python.exists() and find_spec("lava"):
        return Path(sys.executable)
    if not python.exists():
        raise InputError(f"there is no Python with Lava: {_FIX}")
    return python


class LavaWorker:
    """One OS process that runs Lava, in a session of its own, so that Ctrl-C reaches the client alone.

    It ends with ``close``, with any error, and with the process that made it, however that ends; its children, its shared memory
    and its folder go with it.

    Attributes:
        folder: private to the worker.
        has_loihi2: whether Intel's extension for the chip is installed where it runs.
    """

    def __init__(self, timeout_s: float = 60.0):
        """
        Args:
            timeout_s: longest silence, up to 1e6. A run tells of its steps several times a second while it makes any.

        Raises:
            InputError: no such time; no Python with Lava, or one that cannot run it.
            BackendError: it does not start.
        """
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= _LONGEST_S:
            raise InputError(f"timeout_s is {shown(timeout_s)}: give seconds, more than 0 and at most {_LONGEST_S}")
        python = find_python()
        self._timeout_s = timeout_s
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(timeout_s)
        remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Held by both ends, so that the folder is known to be left behind when both were killed.
        lock = FolderLock(self.folder)
        command = [str(python), "-I", "-u", "-m", "polystep_snn.hardware.lava.worker", str(theirs.fileno()), str(self.folder)]
        try:
            with theirs, (self.folder / "worker.log").open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                    pass_fds=[theirs.fileno(), lock.descriptor],
                    start_new_session=True,
                )
        except OSError as error:
            self._socket.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise InputError(f"{python} cannot be started ({error.strerror}): {_FIX}") from None
        self._end = weakref.finalize(self, _end, os.getpid(), self._socket, self._process, self.folder, lock)
        self._greet(python)

    @property
    def is_open(self) -> bool:
        return self._end.alive

    def check_open(self) -> None:
        """BackendError unless it can still be asked."""
        if not self.is_open:
            raise BackendError("the Lava worker is closed, by an error before or by close(): start another one")

    def close(self) -> None:
        """End the worker, and return when nothing is left of it. Closing twice does nothing."""
        self._end()

    def request(
        self,
        fields: dict[str, Any],
        arrays: dict[str, np.ndarray],
        on_step: Callable[[int], None] = lambda step: None,
        on_arrays: Callable[[dict[str, np.ndarray]], None] = lambda arrays: None,
    ) -> dict[str, np.ndarray]:
        """Have something run; see ``worker.py``. One request at a time.

        Args:
            fields, arrays: the request.
            on_step: called with the time step, a few times a second.
            on_arrays: called with what is told while it runs.

        Raises:
            InputError: the request is larger than a message may be.
            BackendError: it failed, and why. The worker is closed then, as after any other exception. Or it was closed before.
        """
        self.check_open()
        step = 0
        try:
            self._send(fields, arrays)
            while (answer := self._receive(f"at step {step}")).fields["kind"] == "progress":
                step = answer.fields["step"]
                on_step(step)
                if answer.arrays:
                    on_arrays(answer.arrays)
            if answer.fields["kind"] != "done":
                raise BackendError(f"Lava failed: {answer.fields['message']}")
        except BaseException:
            self.close()
            raise
        return answer.arrays

    def _greet(self, python: Path) -> None:
        try:
            try:
                hello = self._receive("while it started").fields
            except BackendError as error:
                if self._process.returncode == 1:  # an exception before it could speak
                    raise InputError(f"{python} cannot run Lava ({error}): {_FIX}") from None
                raise
            if hello["kind"] != "ready":
                raise InputError(f"{python} cannot run Lava ({hello['message']}): {_FIX}")
            if hello["version"] != __version__:
                raise InputError(f"{python} has polystep-snn {hello['version']}: {_FIX}")
        except BaseException:
            self.close()
            raise
        self.has_loihi2 = hello["loihi2"]

    def _send(self, fields: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        try:
            protocol.send(self._socket, fields, arrays)
        except protocol.ProtocolError as error:
            raise InputError(f"Lava is asked for too much ({error}): give fewer samples, or a smaller network") from None
        except TimeoutError:
            raise BackendError(f"the Lava worker took nothing in for {self._timeout_s:g} s") from None
        except OSError:
            raise BackendError(self._why_it_ended()) from None

    def _receive(self, when: str) -> protocol.Message:
        try:
            return protocol.receive(self._socket)
        except TimeoutError:
            raise BackendError(
                f"nothing was heard from Lava for {self._timeout_s:g} s {when}: it hangs, or needs a larger timeout_s"
            ) from None
        except (EOFError, OSError):
            raise BackendError(self._why_it_ended()) from None
        except protocol.ProtocolError as error:
            raise BackendError(f"the Lava worker sent what is no message: {error}") from None

    def _why_it_ended(self) -> str:
        """Its end of the socket is closed: what of, and the last that it said."""
        end_group(self._process.pid)
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        try:
            said = (self.folder / "worker.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            said = []
        # The last words of a killed process are those of the tracker of shared memory, about what it left behind.
        return f"the Lava worker {how}" + (f": {said[-1][:300]}" if said and code > 0 else "")


def remove_leftovers() -> None:
    """Delete the folders of workers that were killed together with their clients."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, InputError):
            status = folder.stat()
            # One that another client has just made may not be locked yet.
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > _SETTLED_S:
                with FolderLock(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _end(owner: int, client: socket.socket, process: subprocess.Popen, folder: Path, lock: FolderLock) -> None:
    client.close()
    if os.getpid() == owner:  # not in a process forked from it
        if process.returncode is None:  # else it is gone with its group, and the number may be another's
            end_group(process.pid)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    lock.release()
