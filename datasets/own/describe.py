"""What a path holds: its kind and the shape of a sample, as far as names and headers tell."""

from pathlib import Path
from typing import NamedTuple

from polystep_snn.datasets.own.arrays import Arrays
from polystep_snn.datasets.own.folders import list_files
from polystep_snn.errors import InputError

KINDS = ("images", "sequences", "sounds", "events")


class Description(NamedTuple):
    """What a path holds.

    Attributes:
        path: of the file or folder.
        kind: of ``KINDS``.
        shape: of a sample as it is stored, ``(F,)``, ``(H, W)``, ``(C, H, W)`` or ``(T, F)``; empty where samples must be read to know it.
        num_train: samples of its training part, before anything is split off.
        arrays: whether it holds arrays, not class folders.
    """

    path: Path
    kind: str
    shape: tuple[int, ...]
    num_train: int
    arrays: bool

    @property
    def ambiguous(self) -> bool:
        """Whether its samples could be images or sequences as well."""
        return self.arrays and len(self.shape) == 2


def describe(path: Path, sequences: bool = False, other: bool = False) -> Description:
    """See ``Description``.

    Args:
        path: a ``.npz`` file or a folder.
        sequences: ``[n, T, F]`` are sequences; else they are images ``[n, H, W]``.
        other: nothing is learned from it, so that it needs no training part.

    Raises:
        InputError: a path that holds nothing that is read; see ``Arrays`` and ``list_files``.
    """
    if path.is_file() and path.suffix.lower() != ".npz":
        raise InputError(f"{path} is no .npz file: give one, a folder of .npy files, or one with a folder for each class")
    if path.is_file() or any(path.glob("*.npy")):
        arrays = Arrays(path, other)
        shape = arrays.headers[f"x_{arrays.parts[0]}"].shape
        if sequences and len(shape) != 3:
            raise InputError(
                f"x_{arrays.parts[0]} of {path} is {list(shape)}, but the encoder 'sequence' takes [n, T, F]: choose another encoder"
            )
        return Description(path, "sequences" if sequences else "images", shape[1:], shape[0], True)
    kind, files = list_files(path)
    return Description(path, kind, (), len(files["train"]), False)
