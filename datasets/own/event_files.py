"""Event recordings of one's own: tonic's structured arrays, and files of event cameras.

.npy      a structured array with the fields x, y, t (µs) and p, as tonic has them
.bin      40 bits an event, as N-MNIST has them
.aedat4   iniVation's files, by the package aedat
.dat      Prophesee's files, by the package expelliarmus; .raw too, in the formats EVT 2 and EVT 3
"""

import io
from pathlib import Path

import numpy as np
from numpy.lib import recfunctions

from polystep_snn.datasets.framing import Sensor
from polystep_snn.errors import InputError
from polystep_snn.hdf5_child import Library, Limits, read_in_child

EVENT = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", bool)])
_FIELDS = ("x", "y", "t", "p")
_LIBRARIES = {
    ".aedat4": Library("AEDAT 4", "aedat", b"#!AER-DAT4.0"),
    ".dat": Library("Prophesee DAT", "expelliarmus", b"%"),
    ".raw": Library("Prophesee RAW", "expelliarmus", b"%"),
}
_LARGEST_FILE = 2**30
_REMEDY = "fetch it again, or remove it"
# Longer than any camera's header.
_HEADER_BYTES = 2**16
# Longer than any sensor's side: what is beyond is no coordinate.
_LARGEST_SIDE = 2**15


def read_events(path: Path) -> np.ndarray:
    """The events of a file, ``[E]`` of ``EVENT``; time begins at 0.

    Raises:
        InputError: a damaged file, or one without events; fields that are missing, or that are no whole numbers; a package that is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".bin":
        from polystep_snn.datasets.nmnist import read_recording

        events = _checked(read_recording(path), path)
    elif suffix == ".npy":
        events = _checked(_load(path), path)
    else:
        packed = read_in_child(__name__, path, _limits(path), f"a recording that ends in {suffix}", _REMEDY, _LIBRARIES[suffix])
        events = np.load(io.BytesIO(packed), allow_pickle=False)
    if not len(events):
        raise InputError(f"{path} holds no event: {_REMEDY}")
    # Cameras count from when they were switched on, or from 1970.
    events["t"] -= events["t"].min()
    return events


def pack(path: str) -> bytes:
    """What the child process sends: the events of a camera's file as a ``.npy`` file."""
    if path.lower().endswith(".aedat4"):
        from tonic.io import read_aedat4

        events = read_aedat4(path)
    else:
        from expelliarmus import Wizard

        events = Wizard(encoding=_encoding(Path(path)), fpath=path).read()
        if events is None:
            raise InputError(f"holds no whole event: {_REMEDY}")
    if "on" in (events.dtype.names or ()):
        events = recfunctions.rename_fields(events, {"on": "p"})
    packed = io.BytesIO()
    np.save(packed, _checked(events, Path(path)), allow_pickle=False)
    return packed.getvalue()


def sensor_of(x_most: int, y_most: int) -> Sensor:
    """The smallest sensor that has these pixels, with two polarities."""
    return (x_most + 1, y_most + 1, 2)


def _limits(path: Path) -> Limits:
    """A damaged file may keep a library busy for ever; a whole one is read at 10 MB/s at least."""
    seconds = 20 + (path.stat().st_size if path.is_file() else 0) // 10**7
    return Limits(_LARGEST_FILE, memory_bytes=2**34, cpu_s=seconds, deadline_s=1.5 * seconds)


def _encoding(path: Path) -> str:
    """As expelliarmus calls it; InputError for a format that it does not read, and for a header without an end, which it reads for ever."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    header = []
    while start.startswith(b"%"):
        line, end, start = start.partition(b"\n")
        if not end:
            raise InputError(f"is damaged (its header has no end): {_REMEDY}")
        header.append(line)
    if path.suffix.lower() == ".dat":
        return "dat"
    text = b" ".join(header).lower()
    for version in (b"2", b"3"):
        if b"evt " + version in text or b"evt" + version in text:
            return f"evt{version.decode()}"
    raise InputError(f"has a header that names neither EVT 2 nor EVT 3: convert it, or {_REMEDY}")


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is truncated"
        if "pickle" in reason:
            reason = "it holds Python objects, which are never loaded"
        raise InputError(f"{path} cannot be read ({reason}): save a structured array with the fields x, y, t and p") from None


def _checked(events: np.ndarray, path: Path) -> np.ndarray:
    """As ``EVENT``."""
    names = events.dtype.names or ()
    missing = [name for name in _FIELDS if name not in names]
    if missing or events.ndim != 1:
        given = f"an array with the fields {list(names)}" if names else f"{events.dtype} {list(events.shape)}"
        raise InputError(f"{path} is {given}: save a structured array with the fields x, y, t (µs) and p")
    for name in ("x", "y", "t"):
        if events[name].dtype.kind not in "iu":
            unit = ", in µs" if name == "t" else ""
            raise InputError(f"{path} has {name} as {events[name].dtype}: give whole numbers{unit}")
    found = np.empty(len(events), EVENT)
    for name in ("x", "y", "t"):
        found[name] = events[name]
    found["p"] = events["p"] > 0
    for name in ("x", "y"):
        wrong = (found[name] < 0) | (found[name] >= _LARGEST_SIDE)
        if wrong.any():
            raise InputError(f"{path} has an event at {name} = {found[name][wrong][0]}: {_REMEDY}")
    return found
