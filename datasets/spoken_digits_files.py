"""The files of the Free Spoken Digit Dataset: where they are looked for, what their names say, how they are downloaded."""

import hashlib
import io
import os
import re
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from polystep_snn.datasets.download import cache_dir, decompress, first_intact, given_folders
from polystep_snn.errors import InputError
from polystep_snn.files import make_folder

HOME = "https://github.com/Jakobovski/free-spoken-digit-dataset"
_RELEASE = "v1.0.10"
_MIRRORS = (
    f"{HOME}/archive/refs/tags/{_RELEASE}.tar.gz",
    f"https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/tar.gz/refs/tags/{_RELEASE}",
)
# Archives are packed anew whenever one is asked for, so names and contents are checked: SHA-256 of both, in the order of the names.
_SHA256 = "45a9b976ba3397a2fd5c70a9f2e43c34f442a3a6be47392ecfc41174b678f37e"
NUM_RECORDINGS = 3_000
_LARGEST_ARCHIVE = 2**27
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]{1,4})\.(?i:wav)")
# Where the archive's own folder, and those of other programs, have them.
_FOLDERS = (
    *("FSDD/recordings", "fsdd/recordings", "free-spoken-digit-dataset/recordings", "free-spoken-digit-dataset-master/recordings"),
    *(f"free-spoken-digit-dataset-{_RELEASE[1:]}/recordings", "spoken-digits", "recordings", "FSDD", "fsdd"),
)


class NamedFile(NamedTuple):
    """A recording as its name, ``DIGIT_SPEAKER_INDEX.wav``, tells of it; ``number`` is the index."""

    digit: int
    speaker: str
    number: int
    name: str


def find_recordings(data_dir: Path | None) -> Path:
    """The first folder that holds recordings.

    They are looked for in ``data_dir`` and in ``$POLYSTEP_SNN_DATA``, each time in one of ``_FOLDERS`` or directly, then in the user's
    cache folder; else the full set is downloaded into that.

    Raises:
        InputError: a folder that does not exist; nothing found and nothing to be downloaded.
    """
    for base in given_folders(data_dir):
        if not base.is_dir():
            raise InputError(f"the data folder {base} does not exist: create it, or leave --data-dir (or $POLYSTEP_SNN_DATA) out")
        for folder in (base / name for name in _FOLDERS):
            if folder.is_dir() and any(_is_sound(name) for name in os.listdir(folder)):
                return folder
        # Other sounds may lie in the data folder itself.
        if any(_NAME.fullmatch(name) for name in os.listdir(base)):
            return base
    target = cache_dir() / "FSDD" / "recordings"
    if not target.is_dir():
        download_recordings(target)
    return target


def _is_sound(name: str) -> bool:
    return name.lower().endswith(".wav")


def list_recordings(folder: Path) -> list[NamedFile]:
    """The recordings of a folder by digit, speaker and index.

    Raises:
        InputError: a wav file whose name says no digit; a digit that nobody says.
    """
    found = []
    for name in os.listdir(folder):
        if not _is_sound(name):
            continue
        parts = _NAME.fullmatch(name)
        if parts is None:
            raise InputError(f"{folder / name} says no digit: name it DIGIT_SPEAKER_INDEX.wav, such as 7_theo_12.wav, or remove it")
        found.append(NamedFile(int(parts[1]), parts[2], int(parts[3]), name))
    missing = sorted(set(range(10)) - {file.digit for file in found})
    if missing:
        raise InputError(f"{folder} holds no recording of the digit {missing[0]}: fetch it again, or add recordings")
    return sorted(found)


def download_recordings(target: Path) -> None:
    """All 3,000 recordings of release 1.0.10, 16 MB; ``target`` appears once they have been checked.

    Raises:
        InputError: no mirror has them intact, or they cannot be written.
    """
    try:
        _, recordings = first_intact(_MIRRORS, _LARGEST_ARCHIVE, _unpack)
    except InputError as error:
        raise InputError(
            f"the Free Spoken Digit Dataset was not found and could not be downloaded: fetch it from {HOME} and put its wav files into "
            f"{target}, or into FSDD/recordings below --data-dir or $POLYSTEP_SNN_DATA ({error})"
        ) from None
    try:
        make_folder(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            whole = Path(temporary) / target.name
            whole.mkdir()
            for name, content in recordings.items():
                (whole / name).write_bytes(content)
            # Another process may have been faster.
            if not target.is_dir():
                os.replace(whole, target)
    except InputError as error:
        raise InputError(f"{error}, through $XDG_CACHE_HOME") from None
    except OSError as error:
        raise InputError(
            f"{target} could not be written ({error.strerror or error}): free some space or choose another folder, through $XDG_CACHE_HOME"
        ) from None


def _unpack(packed: bytes, url: str) -> dict[str, bytes]:
    """The recordings of an archive by name, checked; nothing is written."""
    content = decompress(packed, _LARGEST_ARCHIVE, url)
    recordings = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None and folder.endswith("/recordings") and _NAME.fullmatch(name):
                    recordings[name] = file.read()
    except tarfile.TarError as error:
        raise InputError(f"{url} is no tar archive ({error})") from None
    found = hashlib.sha256()
    for name in sorted(recordings):
        found.update(name.encode() + recordings[name])
    if found.hexdigest() != _SHA256:
        raise InputError(f"{url} has other recordings (SHA-256 {found.hexdigest()} instead of {_SHA256})")
    return recordings
