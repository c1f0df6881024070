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
        import_module("tonic")
    except ModuleNotFoundError as error:
        if error.name != "tonic":
            raise
        raise no_tonic() from None
    return import_module(f"tonic.{module}")


def no_tonic() -> InputError:
    """What to say where it is not installed."""
    return InputError("tonic, which reads recordings, is not installed: pip install 'polystep-snn[events]'")
