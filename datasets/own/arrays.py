"""Arrays of a ``.npz`` file or of a folder of ``.npy`` files. Nothing is unpickled, and nothing is unpacked that cannot be data."""

import os
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.lib import format as npy

from polystep_snn.errors import InputError

NAMES = tuple(f"{kind}_{part}" for part in ("train", "val", "test") for kind in "xy")
# Deflate packs at most about 1000 to 1. What packs nearly so well is no data, or can be saved without packing.
_LARGEST_RATIO, _HARMLESS_BYTES = 400, 2**26


class ArrayHeader(NamedTuple):
    """What an array is, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype


class Stored(Protocol):
    """Arrays by the names of ``NAMES``; ``parts`` are those that there are, ``path`` is what messages call them."""

    @property
    def path(self) -> Any: ...
    @property
    def parts(self) -> list[str]: ...
    def read(self, name: str) -> np.ndarray: ...


class GivenArrays:
    """Arrays that are in memory.

    Args:
        path: what messages call them.
        arrays: by the names of ``NAMES``.

    Raises:
        InputError: as of ``Arrays``.
    """

    def __init__(self, path: str, arrays: dict[str, np.ndarray]):
        self.path, self._arrays = path, arrays
        headers = {name: ArrayHeader(x.shape, x.dtype) for name, x in arrays.items()}
        _check_headers(path, headers)
        self.parts = _parts_of(headers)

    def read(self, name: str) -> np.ndarray:
        """An array."""
        return self._arrays[name]


class Arrays:
    """The arrays of a file or a folder, read one by one.

    Args:
        path: a ``.npz`` file, or a folder of ``.npy`` files.
        other: nothing is learned from it, so that it needs no training part.

    Attributes:
        headers: shapes and types by name, of ``NAMES``.

    Raises:
        InputError: a damaged file; no ``x_train`` and ``y_train``; arrays of Python objects; shapes that do not go together.
    """

    def __init__(self, path: Path, other: bool = False):
        self.path = path
        self._files: dict[str, Path | str] = {}
        for name, where in self._members():
            if name in NAMES:
                self._files[name] = where
        missing = [name for name in ("x_train", "y_train") if name not in self._files]
        if missing and not (other and self._files):
            raise InputError(f"{path} has no array {missing[0]}: it needs x_train and y_train, and may have {', '.join(NAMES[2:])}")
        self.headers = {name: self._opened(name, _read_header) for name in self._files}
        _check_headers(self.path, self.headers)

    @property
    def parts(self) -> list[str]:
        """Those that there are, of "train", "val" and "test"."""
        return _parts_of(self.headers)

    def read(self, name: str) -> np.ndarray:
        """An array, complete."""
        return self._opened(name, lambda file, where: _guarded(where, lambda: npy.read_array(file, allow_pickle=False)))

    def _members(self) -> list[tuple[str, Path | str]]:
        if self.path.is_dir():
            return [(file.stem, file) for file in sorted(self.path.glob("*.npy"))]
        try:
            with zipfile.ZipFile(self.path) as archive:
                for member in archive.infolist():
                    check_size(self.path, member)
                return [(m.filename.removesuffix(".npy"), m.filename) for m in archive.infolist()]
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise InputError(f"{self.path} is no .npz file ({error}): save it with numpy.savez") from None

    def _opened(self, name: str, read: Callable[[BinaryIO, str], Any]) -> Any:
        where = self._files[name]
        if isinstance(where, Path):
            return self._with(_guarded(str(where), lambda: where.open("rb")), read, str(where))
        archive = zipfile.ZipFile(self.path)
        with archive:
            title = f"{name} of {self.path}"
            return self._with(_guarded(title, lambda: archive.open(where)), read, title)

    @staticmethod
    def _with(file: Any, read: Callable[[BinaryIO, str], Any], where: str) -> Any:
        context: AbstractContextManager[Any] = file if hasattr(file, "__enter__") else nullcontext(file)
        with context as opened:
            return read(opened, where)


def _parts_of(headers: dict[str, ArrayHeader]) -> list[str]:
    return [part for part in ("train", "val", "test") if f"x_{part}" in headers]


def _check_headers(path: Path | str, headers: dict[str, ArrayHeader]) -> None:
    """InputError for arrays of objects, shapes that do not go together, or a part without samples or targets."""
    for name, (shape, dtype) in headers.items():
        if dtype.hasobject:
            raise InputError(f"{name} of {path} holds Python objects, which are never loaded: save arrays of numbers or of text")
        part, other = name.partition("_")[2], "y" if name.startswith("x") else "x"
        if f"{other}_{part}" not in headers:
            raise InputError(f"{path} has {name} but no {other}_{part}: add it, or remove {name}")
        if not shape or not shape[0]:
            raise InputError(f"{name} of {path} is empty, of shape {list(shape)}: give at least one sample")
    for part in _parts_of(headers):
        (x, kind), (y, _), first = headers[f"x_{part}"], headers[f"y_{part}"], headers[f"x_{_parts_of(headers)[0]}"].shape
        if not (np.issubdtype(kind, np.number) or kind == np.bool_) or np.issubdtype(kind, np.complexfloating):
            raise InputError(f"x_{part} of {path} is {kind}: give numbers")
        if not 2 <= len(x) <= 4 or 0 in x:
            raise InputError(f"x_{part} of {path} is {list(x)}: give [n, F], [n, H, W], [n, C, H, W], or sequences [n, T, F]")
        if x[0] != y[0]:
            raise InputError(f"{path} has {x[0]} samples in x_{part}, but {y[0]} in y_{part}: give one target a sample")
        if x[1:] != first[1:]:
            raise InputError(
                f"x_{part} of {path} has samples of {list(x[1:])}, x_{_parts_of(headers)[0]} of {list(first[1:])}: make them alike"
            )


def check_size(path: Path, member: zipfile.ZipInfo) -> None:
    """InputError for a packed array that is larger than data can be, or than this machine's memory."""
    size, packed = member.file_size, max(1, member.compress_size)
    if size > _HARMLESS_BYTES and size > _LARGEST_RATIO * packed:
        raise InputError(
            f"{path} unpacks {member.filename} from {packed:,} to {size:,} bytes, which no data does: save it with numpy.savez, "
            "without compression"
        )
    if size > (memory := _memory_bytes()):
        raise InputError(
            f"{path} holds {member.filename} of {size / 1e9:.3g} GB, but this machine has {memory / 1e9:.3g} GB of memory: "
            "give fewer samples"
        )


def _read_header(file: BinaryIO, where: str) -> ArrayHeader:
    def read() -> ArrayHeader:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"its format is {version}")
        # The header is text that numpy evaluates as a literal; its length is bounded by numpy.
        shape, _, dtype = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
        return ArrayHeader(shape, dtype)

    return _guarded(where, read)


def _guarded(where: str, read: Callable[[], Any]) -> Any:
    """What ``read`` returns, or one line."""
    try:
        return read()
    except MemoryError:
        raise InputError(f"{where} does not fit into memory: give fewer samples") from None
    except (ValueError, OSError, EOFError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{where} cannot be read ({str(error).splitlines()[0] if str(error) else 'it is truncated'}): save it anew"
        ) from None


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        return 2**63
