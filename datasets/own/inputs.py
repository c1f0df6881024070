"""Samples without labels, treated as a run treats its own: arrays, files, folders of files."""

import zipfile
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from polystep_snn.datasets.base import Part, Samples, Sequences
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.framing import Framing, Sensor, check_events
from polystep_snn.datasets.own.arrays import check_size
from polystep_snn.datasets.own.event_files import read_events
from polystep_snn.datasets.own.folders import suffixes_of
from polystep_snn.datasets.own.images import read_images
from polystep_snn.datasets.own.load import as_values
from polystep_snn.datasets.own.record import DataRecord
from polystep_snn.datasets.own.sounds import read_energies
from polystep_snn.datasets.own.targets import Classes
from polystep_snn.datasets.speech_features import SpeechFeatures, level_crossings
from polystep_snn.errors import InputError

# Names under which a .npz file may hold them, the first that there is.
_NAMES = ("x", "x_test", "x_val", "x_train")


class Inputs(NamedTuple):
    """Samples without labels; ``names`` says which is which: a number or a file."""

    samples: Part
    names: list[str]


def read_inputs(
    path: Path,
    record: DataRecord,
    kind: str,
    clip: bool,
    framing: Framing | None,
    features: SpeechFeatures | None,
    sensor: Sensor | None,
) -> Inputs:
    """The samples at a path.

    Args:
        path: a ``.npz`` or ``.npy`` file, one image, sound or recording, or a folder of them.
        record: of the run, whose scaling is applied.
        kind: of the run's samples, of ``KINDS``.
        clip: as of ``Reading``.
        framing, sensor: of event recordings.
        features: of sounds.

    Raises:
        InputError: nothing there that the run takes; a damaged file; samples of another shape.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: name a file or a folder of samples")
    array = kind in ("images", "sequences") and path.is_file() and path.suffix.lower() in (".npz", ".npy")
    if array:
        x = _array(path)
        x = x[None] if x.ndim < 2 or x.shape == tuple(record.shape) else x
        return Inputs(_of_array(x, record, kind, clip, str(path)), [str(k) for k in range(len(x))])
    files = _files(path, kind)
    names = [str(file) for file in files]
    if kind == "images":
        return Inputs(_of_array(read_images(files), record, kind, clip, str(path)), names)
    if kind == "sounds":
        assert features is not None
        energies, _ = read_energies(files, features)
        values = level_crossings(energies, counts=features.counts) if features.kind == "events" else energies
        return Inputs(Sequences(values, _unknown(len(files), record), num_groups=features.num_groups), names)
    assert framing is not None
    assert sensor is not None
    framed = []
    for file in files:
        events = read_events(file)
        check_events(events, sensor, str(file))
        framed.append(framing.frame(events, sensor, str(file)))
    return Inputs(EventSamples.of(framed, _unknown(len(files), record), framing, sensor), names)


def _of_array(x: np.ndarray, record: DataRecord, kind: str, clip: bool, where: str) -> Part:
    if x.dtype.kind not in "iufb":
        raise InputError(f"{where} is {x.dtype}: give numbers")
    shape = (record.num_steps, prod(record.shape)) if kind == "sequences" else tuple(record.shape)
    if prod(x.shape[1:]) != prod(shape) or not len(x):
        raise InputError(f"{where} is {list(x.shape)}, but the run takes samples of {list(shape)}: give [n, {', '.join(map(str, shape))}]")
    # Features are scaled in the shape in which they were measured.
    values, full_scale = as_values(x.reshape(len(x), *shape), record.spikes, record.scaling, where, clip and kind != "sequences")
    if kind == "sequences":
        return Sequences(values, _unknown(len(x), record), full_scale)
    return Samples(values, _unknown(len(x), record), full_scale)


def _unknown(count: int, record: DataRecord) -> np.ndarray:
    """In place of targets."""
    return np.zeros(count, np.uint8) if isinstance(record.targets, Classes) else np.zeros((count, record.num_outputs), np.float32)


def _array(path: Path) -> np.ndarray:
    """The only array of a file, or the one of ``_NAMES``."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                check_size(path, member)
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            name = names[0] if len(names) == 1 else next((name for name in _NAMES if name in names), None)
            if name is None:
                raise InputError(f"{path} holds {', '.join(names[:5])}: call the array of samples x")
            with archive.open(f"{name}.npy") as file:
                return npy.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).splitlines()[0] if str(error) else "it is truncated"
        raise InputError(f"{path} cannot be read ({reason}): save it with numpy.savez or numpy.save") from None


def _files(path: Path, kind: str) -> list[Path]:
    suffixes = suffixes_of(kind)
    if path.is_file():
        if path.suffix.lower() not in suffixes:
            raise InputError(f"{path} is none of the {kind} that the run takes ({', '.join(suffixes) or '.npz, .npy'}): convert it")
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in suffixes)
    if not files:
        raise InputError(f"{path} holds no {kind} ({', '.join(suffixes) or '.npz, .npy'}): name another folder")
    return files
