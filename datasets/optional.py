"""What is installed with an extra only."""

from importlib import import_module
from types import ModuleType

from polystep_snn.errors import InputError


def tonic(module: str) -> ModuleType:
    """A module of tonic.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(f"tonic.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "tonic":
            raise
        raise InputError("this needs tonic, which is not installed: pip install 'polystep-snn[events]'") from None
