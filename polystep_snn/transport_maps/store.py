"""Maps in files: named tensors and one JSON object as safetensors. Nothing is pickled."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polystep_snn.checksum import checksum
from polystep_snn.errors import InputError
from polystep_snn.files import write_atomically

_KEY = "polystep_snn"
_SCHEMA = 1


def save(path: Path, kind: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a map atomically.

    Args:
        path: its name.
        kind: the class of the map.
        tensors: what it consists of.
        meta: what JSON can hold.

    Raises:
        InputError: it cannot be written; what stood there before is intact.
    """
    content = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    described = {"map": kind, "schema": _SCHEMA, **meta}
    total = checksum(described, {name: tensor.numpy() for name, tensor in content.items()})

    def write(temporary: Path) -> None:
        try:
            save_file(content, temporary, {_KEY: json.dumps({**described, "crc32": total})})
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomically(Path(path), write)


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON object of a map.

    Raises:
        InputError: no such file, a damaged one, one of another program, another kind of map or a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}: name one that a {kind} was saved to")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise damaged(path, str(error)) from None
    try:
        meta = json.loads(metadata[_KEY])
        found, schema, total = meta["map"], meta["schema"], meta.pop("crc32")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise InputError(f"{path} is no map of polystep-snn: name a file that a {kind} was saved to") from None
    if found != kind:
        raise InputError(f"{path} holds a {str(found)[:40]}, not a {kind}: load it as what it is")
    if schema != _SCHEMA:
        raise InputError(f"{path} has schema {str(schema)[:20]}, this version reads {_SCHEMA}: use the version that wrote it")
    if any(tensor.dtype not in (torch.float32, torch.float64) for tensor in tensors.values()):
        raise damaged(path, "it holds numbers of another type than float32 and float64")
    if total != checksum(meta, {name: tensor.numpy() for name, tensor in tensors.items()}):
        raise damaged(path, "its checksum is another one")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise damaged(path, "a number in it is not finite")
    return tensors, meta


def sizes(path: Path, tensors: dict[str, Tensor], shapes: dict[str, tuple[str, ...]], names: str) -> list[int]:
    """The sizes that letters stand for in the shapes of tensors.

    Args:
        path: of the file, for the message.
        tensors: of the file.
        shapes: a letter for every dimension of every tensor.
        names: the letters that are wanted.

    Raises:
        InputError: tensors that are missing or too many, or shapes that do not fit each other.
    """
    found: dict[str, int] = {}
    if set(tensors) != set(shapes):
        raise damaged(path, f"it holds {sorted(tensors)} instead of {sorted(shapes)}")
    for name, letters in shapes.items():
        shape = tensors[name].shape
        if len(shape) != len(letters) or any(found.setdefault(letter, size) != size for letter, size in zip(letters, shape, strict=True)):
            raise damaged(path, f"{name} has shape {list(shape)}")
    return [found[letter] for letter in names]


def damaged(path: Path, reason: str) -> InputError:
    """What to say of a file whose content cannot be."""
    return InputError(f"{path} is damaged ({' '.join(reason.split())[:200]}): restore it, or fit the map again")
