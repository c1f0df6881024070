"""Arrays that were expensive to make, kept on disk under a key made of everything that decides them.

A file is named by a hash of its key: another transform, another version or other recordings are another file. It appears whole or
not at all, so several processes may make it at once (the last one wins, with the same content), and one that was killed leaves nothing
that would be read. What is damaged later is noticed by its checksum and made anew.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import polystep_snn
from polystep_snn.checksum import checksum
from polystep_snn.datasets.download import cache_dir
from polystep_snn.errors import InputError
from polystep_snn.files import make_folder, write_atomically

SCHEMA = 4
_log = logging.getLogger("polystep_snn")


class _DamagedError(Exception):
    pass


def cached(name: str, key: dict[str, Any], make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What ``make`` returns, from the cache folder if it has been made before.

    Args:
        name: the first part of the file's name.
        key: everything that decides the arrays, as JSON can hold it. The versions of this package and of the format are added.
        make: makes the arrays.

    Raises:
        InputError: the cache folder cannot be written.
    """
    key = {**key, "version": polystep_snn.__version__, "schema": SCHEMA}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "frames" / f"{name}-{digest[:20]}.safetensors"
    try:
        return _read(path, digest)
    except FileNotFoundError:
        pass
    except _DamagedError as error:
        _log.warning("%s is damaged (%s): making it anew", path, error)
    try:
        # Before the work, so that a folder that cannot be written is known at once.
        make_folder(path.parent)
        arrays = make()
        _write(path, digest, arrays)
    except InputError as error:
        if str(path.parent) not in str(error):
            raise
        raise InputError(f"{error}, through $XDG_CACHE_HOME") from None
    return arrays


def fingerprint(path: Path, files: Sequence[str]) -> str:
    """Stands for files below a folder as they are now: a hash of names, sizes and times of change. None of them is read."""
    identity = hashlib.sha256(str(path.resolve()).encode())
    for name in files:
        status = os.stat(path / name)
        identity.update(f"\n{name} {status.st_size} {status.st_mtime_ns}".encode())
    return identity.hexdigest()


def _write(path: Path, digest: str, arrays: dict[str, np.ndarray]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    metadata = {"key": digest, "crc32": str(checksum({}, arrays))}

    def write(temporary: Path) -> None:
        try:
            save_file(arrays, temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomically(path, write)


def _read(path: Path, digest: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError) as error:
        raise _DamagedError(error) from None
    if metadata.get("key") != digest:
        raise _DamagedError("it was made under another key")
    if metadata.get("crc32") != str(checksum({}, arrays)):
        raise _DamagedError("its checksum is another one")
    return arrays
