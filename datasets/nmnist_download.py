"""The full N-MNIST from its publisher: whole or not there."""

import contextlib
import http.client
import os
import socket
import sys
import tempfile
import zipfile
from pathlib import Path

from polystep_snn.datasets.nmnist import list_folder
from polystep_snn.errors import InputError
from polystep_snn.files import make_folder

_HOME = "https://www.garrickorchard.com/datasets/n-mnist"
_TIMEOUT_S = 20


def download_nmnist(target: Path) -> None:
    """Download, verify and extract both archives, about 1.2 GB, in a folder beside ``target``; rename it once every class is complete.

    Raises:
        InputError: no network, a damaged archive, no space, an archive without all recordings.
    """
    from tonic.datasets import NMNIST

    make_folder(target.parent)
    timeout = socket.getdefaulttimeout()
    # tonic waits for ever, prints to standard output, and writes to the final name: each is put right here.
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".nmnist.") as temporary, contextlib.redirect_stdout(sys.stderr):
            for train in (True, False):
                extracted = Path(NMNIST(temporary, train=train).location_on_system)
            if list_folder(extracted).subset:
                raise InputError("the archives do not hold all recordings")
            for archive in extracted.glob("*.zip"):
                archive.unlink()
            # Another process may have been faster.
            if not target.is_dir():
                os.replace(extracted, target)
    # InputError, a failed MD5 (RuntimeError), a broken archive, no network, no space.
    except (OSError, RuntimeError, ValueError, http.client.HTTPException, zipfile.BadZipFile) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"N-MNIST was not found and could not be downloaded ({reason}): fetch the training and the test archive from {_HOME} "
            f"and extract them, so that {target / 'Train'} and {target / 'Test'} are there, or so that an NMNIST folder below "
            f"--data-dir or $POLYSTEP_SNN_DATA holds both"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
