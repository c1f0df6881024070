"""Images in idx files, as MNIST has them: 60,000 + 10,000 images of 28 x 28 pixels in ten classes, four files.

What is particular about a set is its ``IdxImages``; how it is found, checked, downloaded and split is the same for all.
"""

import hashlib
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np

from polystep_snn.datasets.base import Dataset, Samples
from polystep_snn.datasets.download import cache_dir, check_md5, decompress, fetch, given_folders
from polystep_snn.errors import InputError

# idx: two zero bytes, the type (8: unsigned byte), the number of dimensions; then each dimension as a big-endian int32.
_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"


class IdxFile(NamedTuple):
    """A published file.

    Attributes:
        name: without a suffix.
        md5: of the unpacked content.
        shape: of the array in it, uint8.
    """

    name: str
    md5: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class IdxImages:
    """A published set of images in idx files.

    Attributes:
        name: as in ``load``.
        title: as its authors write it.
        mirrors: addresses of folders that hold the packed files.
        folders: where other tools put them, below a data folder; the data folder itself is looked at last.
        files: "train_images", "train_labels", "test_images" and "test_labels".
        classes: their names.
        num_validation: how many of the training images, the last ones, validate.
        keras: name of Keras's archive of the same arrays; empty for none.
        same_names: MD5 and title of what other sets have under the same names, so that nobody is told to delete them.
    """

    name: str
    title: str
    mirrors: tuple[str, ...]
    folders: tuple[str, ...]
    files: dict[str, IdxFile]
    classes: tuple[str, ...]
    num_validation: int = 5_000
    keras: str = ""
    same_names: tuple[tuple[str, str], ...] = ()


def idx_files(*md5: str) -> dict[str, IdxFile]:
    """The four files under their usual names, with the MD5s of training images and labels, test images and labels."""
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    shapes: tuple[tuple[int, ...], ...] = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    return {key: IdxFile(name, digest, shape) for key, name, digest, shape in zip(keys, names, md5, shapes, strict=True)}


def load_idx_images(source: IdxImages, data_dir: Path | None = None) -> Dataset[Samples]:
    """A set with the last of its training images as validation.

    The four files, packed or not, are looked for in ``data_dir``, in ``$POLYSTEP_SNN_DATA`` and in the user's cache folder, each
    time in one of ``source.folders`` or directly, with "-" or "." before "idx", or as Keras's archive; else they are downloaded into the
    cache folder.

    Raises:
        InputError: a damaged file; or files that are neither there nor to be downloaded, with what to put where.
    """
    folder = _find(source, data_dir)
    arrays = {key: _read(source, folder, file) if folder else _download(source, file) for key, file in source.files.items()}
    images, labels, first = arrays["train_images"], arrays["train_labels"], len(arrays["train_images"]) - source.num_validation
    return Dataset(
        source.name,
        Samples(images[:first], labels[:first]),
        Samples(images[first:], labels[first:]),
        Samples(arrays["test_images"], arrays["test_labels"]),
        len(source.classes),
        source.classes,
    )


def _find(source: IdxImages, data_dir: Path | None) -> Path | None:
    """The first folder the user named that holds one of the files: what is missing beside it is then an error, not a download."""
    for base in given_folders(data_dir):
        if not base.is_dir():
            raise InputError(f"the data folder {base} does not exist: create it, or leave --data-dir (or $POLYSTEP_SNN_DATA) out")
        for folder in (*(base / name for name in source.folders), base):
            if _keras(source, folder) or any(_path(folder, file) for file in source.files.values()):
                return folder
    return None


def _path(folder: Path, file: IdxFile) -> Path | None:
    # With a dot, as many archives unpack them; in a folder of the file's own name, as Kaggle does.
    dotted = file.name.replace("-idx", ".idx")
    names = [f"{file.name}.gz", file.name, f"{dotted}.gz", dotted, f"{file.name}/{file.name}", f"{file.name}/{dotted}"]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _keras(source: IdxImages, folder: Path) -> Path | None:
    return folder / source.keras if source.keras and (folder / source.keras).is_file() else None


def _read(source: IdxImages, folder: Path, file: IdxFile) -> np.ndarray:
    path, archive = _path(folder, file), _keras(source, folder)
    if path is None and archive is not None:
        return _read_keras(archive, file)
    if path is None:
        raise InputError(f"{folder} holds a part of {source.title}, but not {file.name}.gz: put it there")
    content = path.read_bytes()
    # Browsers unpack some downloads and keep the name, so the content decides.
    if content.startswith(_GZIP) or (path.suffix == ".gz" and not content.startswith(_header(file))):
        content = decompress(content, _size(file), str(path))
    other = dict(source.same_names).get(hashlib.md5(content, usedforsecurity=False).hexdigest())
    if other is not None:
        raise InputError(f"{path} is a file of {other}, not of {source.title}: put {source.title} into {folder / source.folders[0]}")
    return parse_idx(content, file, str(path))


def _read_keras(path: Path, file: IdxFile) -> np.ndarray:
    """One of the four arrays of Keras's archive, checked as the idx file that it was made of."""
    key = ("x" if len(file.shape) == 3 else "y") + ("_train" if file.name.startswith("train") else "_test")
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive[key]
    except (OSError, ValueError, KeyError, EOFError, TokenError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}): delete it and fetch it again") from None
    if array.dtype != np.uint8 or array.shape != file.shape:
        found, expected = f"{array.dtype} {list(array.shape)}", f"uint8 {list(file.shape)}"
        raise InputError(f"{path} holds {found} as {key}, expected {expected}: delete it and fetch it again")
    return parse_idx(_header(file) + array.tobytes(), file, str(path))


def _download(source: IdxImages, file: IdxFile) -> np.ndarray:
    target = cache_dir() / source.name / f"{file.name}.gz"
    if target.is_file():
        return _read(source, target.parent, file)
    try:
        content = fetch([f"{mirror}{file.name}.gz" for mirror in source.mirrors], target, file.md5, _size(file))
    except InputError as error:
        expected = ", ".join(f"{file.name}.gz" for file in source.files.values())
        raise InputError(
            f"{source.title} was not found and could not be downloaded: put {expected} into {target.parent}, "
            f"or into a folder named by --data-dir or $POLYSTEP_SNN_DATA ({error})"
        ) from None
    return parse_idx(content, file, str(target))


def _header(file: IdxFile) -> bytes:
    return struct.pack(">HBB", 0, _UNSIGNED_BYTE, len(file.shape)) + struct.pack(f">{len(file.shape)}i", *file.shape)


def _size(file: IdxFile) -> int:
    return 4 + 4 * len(file.shape) + int(np.prod(file.shape))


def parse_idx(content: bytes, file: IdxFile, where: str) -> np.ndarray:
    """The array in the content of an idx file, after its header, length and MD5 have been checked.

    Raises:
        InputError: anything else than the file that it should be.
    """
    header = _header(file)
    if not content:
        raise InputError(f"{where} is empty: delete it and fetch it again")
    if content[: len(header)] != header:
        raise InputError(f"{where} is no idx file of {' x '.join(map(str, file.shape))} bytes: delete it and fetch it again")
    if len(content) != _size(file):
        raise InputError(f"{where} has {len(content)} bytes instead of {_size(file)}: delete it and fetch it again")
    check_md5(content, file.md5, where)
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(file.shape)
