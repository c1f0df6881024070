"""N-MNIST: MNIST's digits seen by a moving event camera (Orchard et al. 2015), 34 x 34 pixels, two polarities, about 308 ms each.

The layout is that of ``tonic.datasets.NMNIST``: ``Train/<label>/<number>.bin`` and ``Test/<label>/<number>.bin``. A folder may
hold only some of the recordings; the set is then called a subset wherever its ``title`` is printed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polystep_snn.datasets.framing import Framing
from polystep_snn.datasets.optional import tonic
from polystep_snn.datasets.plausible import check_zeros
from polystep_snn.datasets.recordings import EventSet, Recording, Recordings, find_folder, frame_recordings
from polystep_snn.errors import InputError

SENSOR = (34, 34, 2)
CLASSES = tuple("0123456789")
_USUAL_US = (200_000, 400_000)
SOURCE = EventSet(
    "nmnist", "N-MNIST", SENSOR, CLASSES, "NMNIST", ("Train", "Test"), Framing(), _USUAL_US, "µs", True, ("N-MNIST", "n-mnist")
)
HOME = "https://www.garrickorchard.com/datasets/n-mnist"
# Recordings of each class in the full set: as many as MNIST has images.
FULL = {
    "Train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "Test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}
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


def load_nmnist(data_dir: Path | None = None, framing: Framing | None = None) -> Recordings:
    """All recordings of the first folder that holds N-MNIST, framed; see ``recordings``.

    Args:
        data_dir: where to look first.
        framing: how events become frames; by default 30 bins of 10.5 ms.

    Raises:
        InputError: a folder that is half-extracted or lacks a class; a recording that is empty, truncated, not of this sensor or out of
            order; nothing found and nothing to be downloaded.
    """
    framing = SOURCE.framing(framing)
    folder = list_folder(find_folder(SOURCE, data_dir, download_nmnist))
    full = (sum(FULL["Train"]), sum(FULL["Test"]))
    return frame_recordings(SOURCE, folder.path, folder.files, full, lambda: _read(folder), framing, len(folder.files))


def download_nmnist(target: Path) -> None:
    """The full set, about 1.2 GB; see ``tonic_download.download``."""
    from polystep_snn.datasets.tonic_download import download

    def check(folder: Path) -> None:
        if list_folder(folder).subset:
            raise InputError("the archives do not hold all recordings")

    download(SOURCE, HOME, check, target)


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


def _read(folder: Folder) -> Iterator[Recording]:
    for number, (name, label) in enumerate(zip(folder.files, folder.labels.tolist(), strict=True)):
        path = folder.path / name
        yield Recording(str(path), label, number >= folder.num_train, read_recording(path))


def read_recording(path: Path) -> np.ndarray:
    """The events of a file: 40 bits each, x (8), y (8), polarity (1), time in µs (23).

    Returns:
        ``[n]`` with the fields ``x``, ``y``, ``t`` and ``p``.

    Raises:
        InputError: an empty or truncated file, or one with zeros in place of events.
    """
    tonic_io = tonic("io")
    try:
        size = path.stat().st_size
        if not size:
            raise InputError(f"{path} is empty: fetch it again, or delete it")
        if size % _EVENT_BYTES:
            raise InputError(f"{path} is truncated ({size} bytes are no multiple of {_EVENT_BYTES}): fetch it again, or delete it")
        check_zeros(str(path), np.fromfile(path, np.uint8).reshape(-1, _EVENT_BYTES))
        return tonic_io.read_mnist_file(str(path), dtype=tonic_io.events_struct)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): fetch it again, or delete it") from None
