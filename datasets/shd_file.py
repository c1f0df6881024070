"""A file of SHD: HDF5 with the spike times and units of every recording as arrays of variable length, and one label each.

``spikes/times`` are in seconds (float16), ``spikes/units`` are channels (uint16), ``labels`` classes. It is read in a child process
(``polystep_snn.hdf5_child``), within limits, because HDF5 does not survive every damaged file.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import numpy as safetensors

from polystep_snn.errors import InputError
from polystep_snn.hdf5_child import Limits, filters_of, read_in_child, require

# Several times what the training file takes: about 8,000 recordings of some thousand spikes.
MAX_RECORDINGS = 100_000
MAX_SPIKES = 2**27
_LIMITS = Limits(file_bytes=2**31, memory_bytes=2**33, cpu_s=300, deadline_s=900.0)
_REMEDY = "fetch it again"


class Spikes(NamedTuple):
    """The recordings of a file, one after the other.

    Attributes:
        times: ``[E]`` float, in s.
        units: ``[E]`` integer, channels of the cochlea model.
        lengths: ``[n]`` int64, spikes of each recording.
        labels: ``[n]`` integer.
    """

    times: np.ndarray
    units: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


def read_spikes(path: Path, limits: Limits = _LIMITS) -> Spikes:
    """All recordings of a file.

    Raises:
        InputError: no such file, not HDF5, damaged, of another layout, or larger than the limits.
    """
    return Spikes(**safetensors.load(read_in_child(__name__, path, limits, "shd_train.h5 or shd_test.h5 of SHD", _REMEDY)))


def pack(path: str) -> bytes:
    """What the child process answers: the file as safetensors."""
    h5py = require("h5py")
    with h5py.File(path, "r") as file:
        times, units = (_dataset(h5py, file, f"spikes/{name}") for name in ("times", "units"))
        labels = _dataset(h5py, file, "labels")
        for item, kinds in ((times, "f"), (units, "iu")):
            inner = h5py.check_vlen_dtype(item.dtype)
            if inner is None or inner.kind not in kinds or inner.itemsize > 8:
                raise InputError(f"has {item.dtype} at {item.name[1:]!r}, expected numbers in arrays of variable length: {_REMEDY}")
        if labels.dtype.kind not in "iu":
            raise InputError(f"has {labels.dtype} at 'labels', expected whole numbers: {_REMEDY}")
        shapes = {item.shape for item in (times, units, labels)}
        if len(shapes) != 1 or len(labels.shape) != 1 or not 1 <= len(labels) <= MAX_RECORDINGS:
            sizes = ", ".join(str(list(item.shape)) for item in (times, units, labels))
            raise InputError(f"has times, units and labels of {sizes} recordings, expected one number, 1 to {MAX_RECORDINGS}: {_REMEDY}")
        all_times, all_units = [], []
        left = MAX_SPIKES
        # One by one: many recordings may share one long array, so their number says little of the size.
        for number in range(len(labels)):
            when, which = times[number], units[number]
            if len(when) != len(which):
                raise InputError(f"has {len(when)} times and {len(which)} units in recording {number}: {_REMEDY}")
            left -= len(when)
            if left < 0:
                raise InputError(f"has more than {MAX_SPIKES} spikes: SHD has fewer, do not trust this file")
            all_times.append(when)
            all_units.append(which)
        lengths = np.array([len(when) for when in all_times], np.int64)
        found = Spikes(np.concatenate(all_times), np.concatenate(all_units), lengths, labels[()])
    # safetensors knows little-endian arrays.
    return safetensors.save({name: array.astype(array.dtype.newbyteorder("<")) for name, array in found._asdict().items()})


def _dataset(h5py: Any, file: Any, place: str) -> Any:
    """What lies at a place of the file itself; no link out of it is followed."""
    item = file
    for name in place.split("/"):
        link = item.get(name, getlink=True) if isinstance(item, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"has {'no data' if link is None else 'a link'} at {place!r}, as SHD's files have: {_REMEDY}")
        item = item[name]
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise InputError(f"has no data at {place!r}, as SHD's files have: {_REMEDY}")
    filters_of(item, place)
    return item
