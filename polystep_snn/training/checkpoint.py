"""Checkpoints: named tensors and one JSON object, in one safetensors file. Nothing is pickled.

Optimizers keep tensors in ``state`` and plain values in ``param_groups``; the former go among the tensors, the latter into the
JSON, where floats keep every bit.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.files import write_atomically

SCHEMA = 2
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
    metadata = {_KEY: json.dumps({**meta, "crc32": _checksum(content, meta)})}

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
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}: train first, or name another folder") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged ({error}): restore it, or start a new run") from None
    try:
        meta = json.loads(metadata[_KEY])
        schema = meta["schema"]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is no checkpoint of polystep-snn: name the folder of a run") from None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema}, this version reads {SCHEMA}: use the version that wrote it")
    if meta.pop("crc32", None) != _checksum(tensors, meta):
        raise InputError(f"{path} is damaged (its checksum is another one): restore it, or start a new run")
    return tensors, meta


def _checksum(tensors: dict[str, Tensor], meta: dict[str, Any]) -> int:
    """Of everything that a checkpoint holds; safetensors itself checks no more than its header's form."""
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
