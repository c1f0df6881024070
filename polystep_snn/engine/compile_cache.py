"""A place for torch's compiler, which torch asks for whenever it loads an optimizer, also where nothing is compiled."""

import getpass
import os
import re
import tempfile
from functools import cache

import torch

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@cache
def missing_cache() -> str | None:
    """Why there is no place for a compile cache; None where there is one.

    Without a place torch's optimizers cannot be loaded. Then a folder that exists is named in its stead: nothing must be compiled from
    then on, and so nothing is written there.
    """
    wanted = os.environ.get(_VARIABLE)
    try:
        wanted = wanted or os.path.join(tempfile.gettempdir(), f"torchinductor_{_user_name()}")
        os.makedirs(wanted, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return None
    except OSError as error:
        os.environ[_VARIABLE] = os.path.dirname(torch.__file__)
        where = f"its cache {wanted} cannot be written" if wanted else "there is no folder for temporary files"
        return f"{where} ({error.strerror or error}); ${_VARIABLE} names another one"


def _user_name() -> str:
    """As torch names its folder."""
    try:
        name = getpass.getuser()
    except (KeyError, ModuleNotFoundError, OSError):
        name = f"uid_{os.getuid()}" if hasattr(os, "getuid") else "unknown_user"
    return re.sub(r'[\\/:*?"<>|]', "_", name)
