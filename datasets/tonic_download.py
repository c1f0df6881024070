"""A full set of recordings from its publisher, through tonic: whole or not there."""

import contextlib
import http.client
import os
import socket
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from polystep_snn.datasets.optional import tonic
from polystep_snn.datasets.recordings import EventSet
from polystep_snn.errors import InputError
from polystep_snn.files import make_folder

_TIMEOUT_S = 20
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error)


def download(source: EventSet, home: str, check: Callable[[Path], None], target: Path) -> None:
    """Download, verify and extract both archives in a folder beside ``target``; rename it once it has been checked.

    Args:
        source: the set; tonic's class has the name of its folder.
        home: the publisher's page, for the message of an error.
        check: raises ``InputError`` where the extracted folder is not complete.
        target: where the folder goes.

    Raises:
        InputError: no network, a damaged archive, no space, an archive without all recordings.
    """
    sets = tonic("datasets")
    make_folder(target.parent)
    timeout = socket.getdefaulttimeout()
    # tonic waits for ever, prints to standard output, and writes to the final name: each is put right here.
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{source.name}.") as temporary, contextlib.redirect_stdout(sys.stderr):
            for train in (True, False):
                extracted = Path(getattr(sets, source.folder)(temporary, train=train).location_on_system)
            check(extracted)
            for archive in (*extracted.glob("*.zip"), *extracted.glob("*.tar.gz")):
                archive.unlink()
            # Another process may have been faster.
            if not target.is_dir():
                os.replace(extracted, target)
    # InputError, a failed MD5 (RuntimeError), a broken archive, a file without what belongs into it, no network, no space.
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, http.client.HTTPException, *_BROKEN) as error:
        reason = getattr(error, "reason", None) or error
        first, second = (target / part for part in source.parts)
        raise InputError(
            f"{source.title} was not found and could not be downloaded ({reason}): fetch the training and the test archive from {home} "
            f"and extract them, so that {first} and {second} are there, or so that a folder {source.folder} below "
            f"--data-dir or $POLYSTEP_SNN_DATA holds both"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
