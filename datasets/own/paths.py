"""Where data of one's own lies: the path that was given, or the same name below another folder where it has moved."""

import os
from pathlib import Path

from polystep_snn.datasets.download import given_folders
from polystep_snn.errors import InputError


def looks_like_path(name: str) -> bool:
    """Whether the name of a data set is meant as a path."""
    return os.sep in name or "/" in name or name.lower().endswith(".npz") or Path(name).exists()


def find_own(name: str, data_dir: Path | None = None, before: str = "") -> Path:
    """The file or folder called ``name``.

    Args:
        name: a path.
        before: where it was when it was last read; empty for nowhere.
        data_dir: where data that has moved lies: the file or folder itself, or the folder that it is in.

    Raises:
        InputError: it is nowhere.
    """
    own = Path(name)
    if data_dir is not None:
        if not data_dir.exists():
            raise InputError(f"--data-dir is {data_dir}, which does not exist: name the data, or the folder that it is in")
        below = data_dir / own.name
        return below if below.exists() else data_dir
    for path in (Path(before), own) if before else (own,):
        if path.exists():
            return path
    for folder in given_folders(None):
        if (folder / own.name).exists():
            return folder / own.name
    raise InputError(f"the data {name} does not exist: name it as it is called now, or say with --data-dir where it lies")
