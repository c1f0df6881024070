"""HDF5 files of strangers are read in a process of their own, with a deadline and little memory; so are files of event cameras.

The C library does not survive every damaged file: of some thousand, one keeps it busy for ever. The child calls a function that reads
the file and returns bytes; whatever happens to it, the caller gets those bytes or an ``InputError``. Used for networks
(``hardware.formats``) and for recordings (``datasets.shd``, ``datasets.own.event_files``), which know nothing of each other.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from polystep_snn.errors import InputError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# The filters that HDF5 and h5py bring along: gzip, shuffle, Fletcher's checksum, LZF.
FILTERS = (1, 2, 3, 32000)
_REFUSED = 3


class Library(NamedTuple):
    """What reads a file.

    Attributes:
        name: for messages.
        package: that must be installed.
        signature: how its files begin.
    """

    name: str
    package: str
    signature: bytes


HDF5 = Library("HDF5", "h5py", SIGNATURE)


class Limits(NamedTuple):
    """What a file, and reading it, may take.

    Attributes:
        file_bytes: size of the file.
        memory_bytes: address space of the child.
        cpu_s: seconds of computing.
        deadline_s: seconds on the clock.
    """

    file_bytes: int
    memory_bytes: int
    cpu_s: int
    deadline_s: float


def require(name: str) -> Any:
    """A module that reads files of others.

    Raises:
        InputError: not installed; says how.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name} cannot be imported ({error}): pip install {name}") from None


def read_in_child(module: str, path: Path, limits: Limits, kind: str, remedy: str, library: Library = HDF5) -> bytes:
    """What the function ``pack(path: str) -> bytes`` of a module makes of a file.

    Args:
        module: where ``pack`` stands; what it refuses with an ``InputError`` is said after the file's name.
        path: of the file.
        limits: of the file and of the child.
        kind: what to give instead of another file, for messages.
        remedy: what to do about a damaged file, for messages.
        library: what ``pack`` reads it with.

    Raises:
        InputError: no such file, not of this format, damaged, larger than the limits, or refused.
    """
    require(library.package)
    path = path.absolute()
    _check_file(path, limits.file_bytes, kind, library)
    # The child searches where this process does. Of the working folder it must import nothing, so the path comes first.
    code = f"import sys; sys.path[:] = sys.argv[6:]; from {__name__} import serve; serve(*sys.argv[1:6])"
    own = (module, path, limits.memory_bytes, limits.cpu_s, remedy)
    # Plugins for filters stay out of the way; a file that cannot be locked, on a read-only disk, can still be read.
    quiet = {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            [sys.executable, "-c", code, *map(str, own), *sys.path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.deadline_s,
            env={**os.environ, **quiet},
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{path} is damaged ({library.name} was not through with it after {limits.deadline_s:g} s): {remedy}") from None
    if child.returncode == _REFUSED:
        raise InputError(f"{path} {child.stdout.decode(errors='replace')}")
    if child.returncode:
        reason = (child.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{path} is damaged ({library.name} ended with code {child.returncode}: {reason}): {remedy}")
    return child.stdout


def serve(module: str, path: str, memory_bytes: str, cpu_s: str, remedy: str) -> None:
    """What the child process does: the file's content to standard output, or why not."""
    _limit_itself(int(memory_bytes), int(cpu_s))
    try:
        answer, code = importlib.import_module(module).pack(path), 0
    except InputError as error:
        answer, code = str(error).encode(errors="replace"), _REFUSED
    except Exception as error:  # whatever HDF5 and h5py make of a damaged file
        answer, code = f"is damaged ({one_line(error)}): {remedy}".encode(errors="replace"), _REFUSED
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    # HDF5's own clearing up may stumble over a damaged file once more.
    os._exit(code)


def filters_of(item: Any, place: str) -> list[int]:
    """The filters of an h5py data set; InputError where its data lie in another file, or need a filter from disk."""
    layout = item.id.get_create_plist()
    filters = [layout.get_filter(k)[0] for k in range(layout.get_nfilters())]
    if item.is_virtual or layout.get_external_count() or not set(filters) <= set(FILTERS):
        raise InputError(f"has data at {place!r} that lie in another file or need a plugin: copy them into the file, with gzip or none")
    return filters


def one_line(error: BaseException) -> str:
    """What an exception says, in a line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _limit_itself(memory_bytes: int, cpu_s: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the file's own limits and the deadline alone
        return
    for limit, wanted in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_s)):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _check_file(path: Path, largest: int, kind: str, library: Library) -> None:
    try:
        # A pipe would block, a device might never end.
        if not path.is_file():
            raise InputError(f"{path} is not a file: give {kind}")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(library.signature))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if start != library.signature:
        raise InputError(f"{path} is not {'an HDF5' if library is HDF5 else f'a {library.name}'} file: give {kind}")
    if size > largest:
        raise InputError(f"{path} has {size} bytes: at most {largest} are read")
