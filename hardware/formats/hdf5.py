"""HDF5 files of strangers, read without trusting them.

HDF5 is a file system in a file: links out of it, loops, arrays of terabytes in a few bytes, references, filters that are loaded
from disk. Only groups, numbers and strings are taken, each once, within limits that are checked before anything is allocated.
This happens in a child process (``polystep_snn.hdf5_child``), and what it found comes back as safetensors.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from polystep_snn.errors import InputError
from polystep_snn.hdf5_child import SIGNATURE as SIGNATURE
from polystep_snn.hdf5_child import Limits, filters_of, one_line, read_in_child
from polystep_snn.hdf5_child import require as require

# Loihi 2 has about 120 million synapses: as float32 they fit.
MAX_BYTES = 2**30
MAX_OBJECTS = 10_000
MAX_STRINGS = 10_000
MAX_TEXT = 2**24
MAX_DEPTH = 8
# Many times what a large network takes.
CPU_S = 8
# At best, gzip makes 1032 bytes one.
GZIP_RATIO = 1040
_REMEDY = "write it again"

Tree = dict[str, Any]
"""Groups as dicts; below them arrays of numbers, strings, and nested lists of strings."""


def read_tree(path: str | Path, deadline_s: float = 60.0) -> Tree:
    """Everything in a file.

    Args:
        path: an HDF5 file.
        deadline_s: after so many seconds the file counts as damaged; after ``CPU_S`` of computing in any case.

    Raises:
        InputError: no such file, not HDF5, damaged, larger than the limits above, or with links, references and the like.
    """
    path = Path(path).absolute()
    limits = Limits(MAX_BYTES, 4 * MAX_BYTES, CPU_S, deadline_s)
    return _unpack(read_in_child(__name__, path, limits, "a .nir or .net file", _REMEDY), path)


def pack(path: str) -> bytes:
    """The file as safetensors: numbers by their place, strings in the metadata."""
    h5py = require("h5py")
    numbers: dict[str, np.ndarray] = {}
    strings: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        walk = _Walk(h5py, os.path.getsize(path))
        walk.group(file, "", 0)
        for place, item in walk.datasets.items():
            if h5py.check_string_dtype(item.dtype):
                strings[place] = walk.texts(item, place)
            else:
                # safetensors knows little-endian, contiguous arrays.
                numbers[place] = np.asarray(item[()], item.dtype.newbyteorder("<"), order="C")
    return safetensors.save(numbers, {"strings": json.dumps(strings)})


def _unpack(data: bytes, path: Path) -> Tree:
    try:
        numbers = safetensors.load(data)
        length = int.from_bytes(data[:8], "little")
        strings = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["strings"])
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({one_line(error)}): {_REMEDY}") from None
    tree: Tree = {}
    for name, value in {**numbers, **strings}.items():
        *groups, leaf = name.split("/")
        group = tree
        for step in groups:
            group = group.setdefault(step, {})
        group[leaf] = value
    return tree


class _Walk:
    """Finds what is in a file, without reading it, and stops at the first thing that does not belong there.

    Attributes:
        datasets: numbers and strings by their place.
    """

    def __init__(self, h5py: Any, file_size: int):
        self.h5py, self.file_size = h5py, file_size
        self.datasets: dict[str, Any] = {}
        self.seen: set[int] = set()
        self.bytes_left, self.strings_left, self.text_left = MAX_BYTES, MAX_STRINGS, MAX_TEXT

    def group(self, group: Any, where: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise InputError(f"has groups more than {MAX_DEPTH} deep: no network is so deep, do not trust this file")
        if len(self.seen) + len(group) > MAX_OBJECTS:
            raise InputError(f"has more than {MAX_OBJECTS} objects: no network has so many, do not trust this file")
        for name in group:
            place = f"{where}/{name}" if where else name
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise InputError(f"has a link at {place!r}: copy the data into the file")
            item = group[name]
            address = self.h5py.h5o.get_info(item.id).addr
            if address in self.seen:
                raise InputError(f"has one object at two places, {place!r} is one of them: copy it")
            self.seen.add(address)
            if isinstance(item, self.h5py.Group):
                self.group(item, place, depth + 1)
            elif isinstance(item, self.h5py.Dataset):
                self.dataset(item, place)
            else:
                raise InputError(f"has a {type(item).__name__} at {place!r}: only numbers and strings are read")

    def dataset(self, item: Any, place: str) -> None:
        dtype, count = item.dtype, math.prod(int(n) for n in item.shape or ())
        is_string = self.h5py.check_string_dtype(dtype) is not None
        if item.shape is None or not (is_string or (dtype.kind in "biuf" and dtype.itemsize <= 8)):
            raise InputError(f"has {dtype} at {place!r}: only numbers and strings are read")
        filters = filters_of(item, place)
        # A chunk is allocated whole, however few of its values are asked for.
        size = dtype.itemsize * max(count, math.prod(int(n) for n in item.chunks or ()))
        # Nothing that was written takes more than it holds, or than gzip gets out of it.
        stored = min(item.id.get_storage_size(), self.file_size) * (GZIP_RATIO if filters else 1)
        if size and not dtype.itemsize * count <= stored:
            raise InputError(f"says that {list(item.shape)} {dtype} are at {place!r}, but they are not: write it again")
        self.bytes_left -= size
        self.strings_left -= count if is_string else 0
        if self.bytes_left < 0 or self.strings_left < 0:
            raise InputError(
                f"says that {list(item.shape)} {dtype} are at {place!r}: at most {MAX_BYTES} bytes and {MAX_STRINGS} strings are read"
            )
        self.datasets[place] = item

    def texts(self, item: Any, place: str) -> Any:
        """Strings as nested lists. One after the other: many places may share one long text, so their number says little of the size."""
        texts = [self._text(item[index], place) for index in np.ndindex(item.shape)]
        return np.array(texts, object).reshape(item.shape).tolist()

    def _text(self, value: Any, place: str) -> str:
        self.text_left -= len(value)
        if self.text_left < 0:
            raise InputError(f"has text up to {place!r} that is longer than {MAX_TEXT} bytes: do not trust this file")
        return bytes(value).decode("utf-8")


def part(tree: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """What stands at ``name``.

    Raises:
        InputError: nothing, or something of another kind (dict, str, list, np.ndarray); ``where`` starts the message.
    """
    value = tree.get(name)
    if not isinstance(value, kind):
        wanted = {dict: "a group", str: "a string", list: "strings", np.ndarray: "numbers"}[kind]
        raise InputError(f"{where} {'has no' if value is None else 'has an unusable'} {name!r}, expected {wanted}")
    return value


def one_number(group: Tree, name: str) -> int:
    """The whole number at ``name``, which may stand there many times.

    Raises:
        InputError: nothing there, fractions, or several numbers.
    """
    values = np.unique(whole(name, part(group, name, np.ndarray, "it"), np.int64))
    if len(values) != 1:
        raise InputError(f"{name} has {len(values)} different values, but there is one a layer here")
    return int(values[0])


def whole(name: str, value: np.ndarray, dtype: type) -> np.ndarray:
    """The array in an integer dtype that holds all its values; InputError where it does not."""
    limits = np.iinfo(dtype)
    values = value.astype(np.float64)
    wrong = values[~((values >= limits.min) & (values <= limits.max) & (values == np.round(values)))]
    if wrong.size:
        raise InputError(f"{name} has {wrong.flat[0]:g}, which is not a whole number from {limits.min} to {limits.max}")
    return value.astype(dtype)
