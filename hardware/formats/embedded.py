"""Our own network file inside a file of another format, which has no place for T, the encoder, the classes or the scales."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.integer_network import IntegerNetwork

NAME = "polystep_snn"


def embed(network: IntegerNetwork) -> np.ndarray:
    """The bytes of ``network_file.save``, [n] uint8."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        network_file.save(path, network)
        return np.frombuffer(path.read_bytes(), np.uint8)


def extract(data: np.ndarray, where: Path) -> IntegerNetwork:
    """The network that ``embed`` was given.

    Raises:
        InputError: what ``network_file.load`` finds wrong with it; names the file ``where`` it was.
    """
    if data.dtype != np.uint8 or data.ndim != 1:
        raise InputError(f"{where} is damaged (the network inside is {data.dtype} {list(data.shape)} instead of bytes): export it again")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        path.write_bytes(data.tobytes())
        try:
            return network_file.load(path)
        except InputError as error:
            raise InputError(f"{where}: {str(error).replace(str(path), 'the network inside')}") from None


def same(expected: Any, found: Any) -> bool:
    """Whether what was read is what was written: dicts of dicts, arrays and texts, all values equal."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and expected.keys() == found.keys() and all(same(v, found[k]) for k, v in expected.items())
    if isinstance(expected, str | list):
        return bool(type(found) is type(expected) and found == expected)
    expected = np.asarray(expected)
    return isinstance(found, np.ndarray) and found.dtype == expected.dtype and np.array_equal(expected, found)
