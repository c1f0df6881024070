"""Class folders: which files of a folder belong to which part and class."""

import os
from pathlib import Path
from typing import NamedTuple

from polystep_snn.errors import InputError

# What parts are usually called, in small letters.
PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
SOUND_SUFFIXES = (".wav",)
EVENT_SUFFIXES = (".npy", ".aedat4", ".dat", ".raw", ".bin")
_KINDS = {"images": IMAGE_SUFFIXES, "sounds": SOUND_SUFFIXES, "events": EVENT_SUFFIXES}


class ClassFiles(NamedTuple):
    """Files of class folders.

    Attributes:
        kind: "images", "sounds" or "events".
        files: of each part that there is, ``{"train": [(path, class name), …], …}``, by class and name.
    """

    kind: str
    files: dict[str, list[tuple[Path, str]]]


def part_folders(path: Path) -> dict[str, Path]:
    """The folders of parts below a folder; the folder itself is the training part where there are none."""
    names = {entry.name.lower(): entry for entry in _folders(path)}
    found = {part: names[name] for part, usual in PARTS.items() for name in usual if name in names}
    if found and "train" not in found:
        raise InputError(f"{path} has a folder {next(iter(found.values())).name} but none called train: add one")
    return found or {"train": path}


def list_files(path: Path) -> ClassFiles:
    """All files of class folders.

    Raises:
        InputError: no class folders, files of no kind or of several, a class without files.
    """
    files: dict[str, list[tuple[Path, str]]] = {}
    kinds: dict[str, Path] = {}
    for part, folder in part_folders(path).items():
        classes = _folders(folder)
        if not classes:
            raise InputError(
                f"{folder} holds neither arrays (x_train.npy, y_train.npy) nor a folder for each class: arrange it in one of these ways"
            )
        files[part] = []
        for entry in classes:
            own = sorted(file for file in entry.iterdir() if file.is_file() and not file.name.startswith("."))
            if not own:
                raise InputError(f"{entry} holds no file, so class {entry.name!r} is empty: add samples, or remove the folder")
            for file in own:
                kind = next((kind for kind, suffixes in _KINDS.items() if file.suffix.lower() in suffixes), None)
                if kind is None:
                    raise InputError(f"{file} is of no kind that is read ({', '.join(_all_suffixes())}): convert it, or remove it")
                kinds.setdefault(kind, file)
                files[part].append((file, entry.name))
    if len(kinds) > 1:
        raise InputError(f"{path} mixes kinds: {' and '.join(f'{file} ({kind})' for kind, file in kinds.items())}: keep one kind")
    return ClassFiles(next(iter(kinds)), files)


def suffixes_of(kind: str) -> tuple[str, ...]:
    """How names of files of a kind end; none for sequences, which are arrays."""
    return _KINDS.get(kind, ())


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__")))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name another folder") from None


def _all_suffixes() -> list[str]:
    return [suffix for suffixes in _KINDS.values() for suffix in suffixes]
