"""N-MNIST: MNIST's digits seen by a moving event camera (Orchard et al. 2015), 34 x 34 pixels, two polarities, about 308 ms each.

The layout is that of ``tonic.datasets.NMNIST``: ``Train/<label>/<number>.bin`` and ``Test/<label>/<number>.bin``. A folder may
hold only some of the recordings; the set is then called a subset wherever its ``title`` is printed.
"""

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from polystep_snn.datasets.base import Dataset
from polystep_snn.datasets.download import cache_dir, given_folders
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.folds import stratified_folds, stratified_split
from polystep_snn.datasets.frames_cache import cached
from polystep_snn.datasets.framing import Framing, check_events
from polystep_snn.errors import InputError

SENSOR = (34, 34)
CLASSES = tuple("0123456789")
# Recordings of each class in the full set: as many as MNIST has images.
FULL = {
    "Train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "Test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}
VALIDATION_SHARE = 0.1
# Which training recordings validate does not depend on a run's seed.
_SPLIT_SEED = 0
_EVENT_BYTES = 5


class Folder(NamedTuple):
    """What a folder holds.

    Attributes:
        path: the folder with ``Train`` and ``Test`` in it.
        files: paths below it, all of ``Train``, then all of ``Test``, by class and name.
        labels: ``[n]`` uint8.
        num_train: how many of them lie in ``Train``.
        subset: whether recordings of the full set are missing.
    """

    path: Path
    files: tuple[str, ...]
    labels: np.ndarray
    num_train: int
    subset: bool


@dataclass(frozen=True)
class NMNIST:
    """All recordings of a folder, framed.

    Attributes:
        samples: those of ``Train``, then those of ``Test``.
        num_train: how many are those of ``Train``.
        subset: whether recordings of the full set are missing.
        late: ``[n]``, events of each recording that came after the window and were dropped.
    """

    samples: EventSamples
    num_train: int
    subset: bool
    late: np.ndarray

    @property
    def note(self) -> str:
        """What must be said beside every result; empty for the full set."""
        return f"subset: {self.num_train} + {len(self.samples) - self.num_train} recordings" if self.subset else ""

    def dataset(self) -> Dataset[EventSamples]:
        """The given split, with a tenth of every class of ``Train`` as validation."""
        everything = np.arange(len(self.samples))
        return self._dataset(everything[: self.num_train], everything[self.num_train :], VALIDATION_SHARE, self.note)

    def folds(self, k: int = 5, seed: int = 0, validation: float = VALIDATION_SHARE) -> Iterator[Dataset[EventSamples]]:
        """Cross-validation over all recordings, ``Train`` and ``Test`` alike: each of them is a test sample in one of the sets.

        Args:
            k: number of folds.
            seed: of the shuffle.
            validation: share of every class, of what is not tested, that validates.

        Raises:
            InputError: a class with too few recordings.
        """
        parts = stratified_folds(self.samples.labels, k, seed)
        for number, test in enumerate(parts, 1):
            rest = np.setdiff1d(np.arange(len(self.samples)), test)
            note = f"fold {number} of {k}"
            yield self._dataset(rest, test, validation, f"{self.note}; {note}" if self.note else note)

    def _dataset(self, rest: np.ndarray, test: np.ndarray, validation: float, note: str) -> Dataset[EventSamples]:
        train, validate = stratified_split(self.samples.labels[rest], validation, _SPLIT_SEED)
        take = self.samples.take
        return Dataset("nmnist", take(rest[train]), take(rest[validate]), take(test), len(CLASSES), CLASSES, note)


def load_nmnist(data_dir: Path | None = None, framing: Framing | None = None) -> NMNIST:
    """All recordings of the first folder that holds N-MNIST, framed; framed ones come from the cache folder.

    They are looked for in ``data_dir`` and in ``$POLYSTEP_SNN_DATA``, each time under ``NMNIST``, under ``nmnist`` or directly, then in the
    user's cache folder; else the full set is downloaded into that.

    Args:
        data_dir: where to look first.
        framing: how events become frames; by default 30 bins of 10.5 ms.

    Raises:
        InputError: a folder that is half-extracted or lacks a class; a recording that is empty, truncated, not of this sensor or out of
            order; nothing found and nothing to be downloaded.
    """
    framing = framing or Framing()
    shape = framing.shape(SENSOR)
    folder = list_folder(_find(data_dir))
    arrays = cached("nmnist", _key(folder, framing), lambda: _frame_all(folder, framing))
    bounds = np.concatenate([[0], np.cumsum(arrays["lengths"])])
    samples = EventSamples(
        folder.labels,
        arrays["steps"],
        arrays["channels"],
        bounds[:-1],
        bounds[1:],
        np.arange(len(folder.labels)),
        framing.num_steps,
        shape,
        framing.counts,
    )
    return NMNIST(samples, folder.num_train, folder.subset, arrays["late"])


def _find(data_dir: Path | None) -> Path:
    for base in given_folders(data_dir):
        if not base.is_dir():
            raise InputError(f"the data folder {base} does not exist: create it, or leave --data-dir (or $POLYSTEP_SNN_DATA) out")
        for folder in (base / "NMNIST", base / "nmnist", base):
            if any((folder / part).is_dir() for part in FULL):
                return folder
    target = cache_dir() / "NMNIST"
    if not target.is_dir():
        from polystep_snn.datasets.nmnist_download import download_nmnist

        download_nmnist(target)
    return target


def list_folder(path: Path) -> Folder:
    """The recordings of a folder, after their numbers have been checked.

    A part in which some classes have all their recordings and others have not is taken for half-extracted. One in which every class has
    recordings and none has all of them is a subset.

    Raises:
        InputError: a missing class, a half-extracted part, more recordings than there are.
    """
    files: list[str] = []
    labels: list[int] = []
    counts: dict[str, list[int]] = {}
    for part in FULL:
        counts[part] = []
        for label in range(len(CLASSES)):
            here = path / part / str(label)
            names = sorted(name for name in os.listdir(here) if name.endswith(".bin")) if here.is_dir() else []
            if not names:
                raise InputError(f"{here} holds no .bin file, so class {label} is missing: extract the archive again, or add recordings")
            files += [f"{part}/{label}/{name}" for name in names]
            labels += [label] * len(names)
            counts[part].append(len(names))
        _check_counts(path / part, counts[part], FULL[part])
    subset = any(tuple(counts[part]) != FULL[part] for part in FULL)
    return Folder(path, tuple(files), np.array(labels, np.uint8), sum(counts["Train"]), subset)


def _check_counts(path: Path, counts: list[int], full: tuple[int, ...]) -> None:
    for label, (count, most) in enumerate(zip(counts, full, strict=True)):
        if count > most:
            raise InputError(f"{path / str(label)} holds {count} recordings, N-MNIST has {most}: remove what does not belong there")
    whole = [label for label, count in enumerate(counts) if count == full[label]]
    part = [label for label, count in enumerate(counts) if count < full[label]]
    if whole and part:
        raise InputError(
            f"{path} is half-extracted: class {whole[0]} has all {full[whole[0]]} recordings, class {part[0]} only {counts[part[0]]} of "
            f"{full[part[0]]}: extract the archive again"
        )


def _key(folder: Folder, framing: Framing) -> dict:
    """What decides the frames: settings, recordings (by name, size and time of change), and the tonic that reads and cleans them."""
    try:
        tonic = importlib.metadata.version("tonic")
    except importlib.metadata.PackageNotFoundError:
        raise InputError("tonic, which reads N-MNIST, is not installed: pip install tonic") from None
    identity = hashlib.sha256(str(folder.path.resolve()).encode())
    for name in folder.files:
        status = os.stat(folder.path / name)
        identity.update(f"\n{name} {status.st_size} {status.st_mtime_ns}".encode())
    return {"framing": framing.settings, "recordings": identity.hexdigest(), "tonic": tonic}


def _frame_all(folder: Folder, framing: Framing) -> dict[str, np.ndarray]:
    bar = tqdm(folder.files, desc="framing N-MNIST", unit=" recordings", leave=False, file=sys.stderr, disable=not sys.stderr.isatty())
    framed = [framing.frame(read_recording(folder.path / name), SENSOR, str(folder.path / name)) for name in bar]
    return {
        "steps": np.concatenate([recording.steps for recording in framed]),
        "channels": np.concatenate([recording.channels for recording in framed]),
        "lengths": np.array([len(recording.steps) for recording in framed], np.int64),
        "late": np.array([recording.late for recording in framed], np.int64),
    }


def read_recording(path: Path) -> np.ndarray:
    """The events of a file: 40 bits each, x (8), y (8), polarity (1), time in µs (23).

    Returns:
        ``[n]`` with the fields ``x``, ``y``, ``t`` and ``p``.

    Raises:
        InputError: an empty or truncated file, an event beside the sensor, a time before the one before it.
    """
    from tonic.io import events_struct, read_mnist_file

    try:
        size = path.stat().st_size
        if not size:
            raise InputError(f"{path} is empty: fetch it again, or delete it")
        if size % _EVENT_BYTES:
            raise InputError(f"{path} is truncated ({size} bytes are no multiple of {_EVENT_BYTES}): fetch it again, or delete it")
        events = read_mnist_file(str(path), dtype=events_struct)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): fetch it again, or delete it") from None
    check_events(events, SENSOR, str(path))
    return events
