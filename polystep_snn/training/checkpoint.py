"""Checkpoints: named tensors and one JSON object, in one safetensors file. Nothing is pickled.

Optimizers keep tensors in ``state`` and plain values in ``param_groups``; the former go among the tensors, the latter into the
JSON, where floats keep every bit. Schema 2, of version 0.1.0, has a checksum without types.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polystep_snn.checksum import checksum
from polystep_snn.errors import InputError
from polystep_snn.files import write_atomically

SCHEMA = 3
_WITHOUT_TYPES = 2
_KEY = "polystep_snn"


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: its name.
        tensors: any tensors; copied to the CPU.
        meta: what JSON can hold.

    Raises:
        InputError: it cannot be written; what stood there before is intact.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    meta = {"schema": SCHEMA, **meta}
    metadata = {_KEY: json.dumps({**meta, "crc32": checksum(meta, _arrays(content))})}

    def write(temporary: Path) -> None:
        try:
            save_file(content, temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomically(path, write)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON object of a checkpoint.

    Raises:
        InputError: no such file, a damaged one, one of another program or of a newer version.
    """
    if path.exists() and not path.is_file():  # a pipe would never end, a device neither
        raise InputError(f"{path} is no file: name the folder of a run")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        # 0-dimensional arrays come as numpy's scalars.
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}: train first, or name another folder") from None
    except (OSError, SafetensorError, AttributeError, OverflowError, TypeError, ValueError) as error:
        # The last four: types and shapes that numpy does not know.
        raise damaged(path, str(error)) from None
    try:
        meta = json.loads(metadata[_KEY])
        schema = meta["schema"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(f"{path} is no checkpoint of polystep-snn: name the folder of a run") from None
    if schema not in (_WITHOUT_TYPES, SCHEMA) or isinstance(schema, bool | float):
        raise InputError(f"{path} has schema {str(schema)[:20]}, this version reads up to {SCHEMA}: use the version that wrote it")
    found = meta.pop("crc32", None)
    try:
        expected = checksum(meta, arrays) if schema == SCHEMA else _checksum_without_types(tensors, meta)
    except RecursionError:
        raise damaged(path, "its metadata is nested deeper than a run's") from None
    if found != expected:
        raise damaged(path, "its checksum is another one")
    return tensors, meta


def damaged(path: Path, reason: str) -> InputError:
    """What to say of a file whose content cannot be."""
    return InputError(f"{path} is damaged ({' '.join(reason.split())[:200]}): restore it, or start a new run")


def _arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _checksum_without_types(tensors: dict[str, Tensor], meta: dict[str, Any]) -> int:
    total = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        total = zlib.crc32(f"{name} {list(tensors[name].shape)}".encode(), total)
        total = zlib.crc32(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes(), total)
    return total


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix.``, without it."""
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimizer's state as tensors, named by parameter and quantity, and its parameter groups."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state["state"].items()
        for name, value in values.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """Put back what ``pack_optimizer`` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    restored = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": restored})
