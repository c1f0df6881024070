"""MNIST: 70,000 handwritten 28 x 28 digits, in the four idx files of LeCun, Cortes and Burges."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polystep_snn.datasets.base import Dataset, Samples
from polystep_snn.datasets.download import cache_dir, check_md5, decompress, fetch, given_folders
from polystep_snn.errors import InputError

NUM_VALIDATION = 5_000
_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
# idx: two zero bytes, the type (8: unsigned byte), the number of dimensions; then each dimension as a big-endian int32.
_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"
# Where torchvision, tonic, snnTorch and others put them.
_FOLDERS = ("MNIST/raw", "mnist", "MNIST", "raw", "mnist/MNIST/raw")
_KERAS = "mnist.npz"


class _File(NamedTuple):
    name: str
    md5: str  # of the decompressed content
    shape: tuple[int, ...]


_FILES = {
    "train_images": _File("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", (60_000, 28, 28)),
    "train_labels": _File("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", (60_000,)),
    "test_images": _File("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", (10_000, 28, 28)),
    "test_labels": _File("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", (10_000,)),
}


def load_mnist(data_dir: Path | None = None) -> Dataset:
    """MNIST with its last 5,000 training images as validation.

    The four files, packed or not, are looked for in ``data_dir``, in ``$POLYSTEP_SNN_DATA`` and in the user's cache folder, each
    time directly or in one of ``_FOLDERS``, with "-" or "." before "idx", or as Keras's ``mnist.npz``; else they are downloaded into the
    cache folder.

    Raises:
        InputError: a damaged file; or files that are neither there nor to be downloaded, with what to put where.
    """
    folder = _find(data_dir)
    arrays = {key: _read(folder, file) if folder else _download(file) for key, file in _FILES.items()}
    images, labels = arrays["train_images"], arrays["train_labels"]
    return Dataset(
        "mnist",
        Samples(images[:-NUM_VALIDATION], labels[:-NUM_VALIDATION]),
        Samples(images[-NUM_VALIDATION:], labels[-NUM_VALIDATION:]),
        Samples(arrays["test_images"], arrays["test_labels"]),
        10,
        tuple("0123456789"),
    )


def _find(data_dir: Path | None) -> Path | None:
    """The first folder the user named that holds one of the files: what is missing beside it is then an error, not a download."""
    for base in given_folders(data_dir):
        if not base.is_dir():
            raise InputError(f"the data folder {base} does not exist: create it, or leave --data-dir (or $POLYSTEP_SNN_DATA) out")
        for folder in (*(base / name for name in _FOLDERS), base):
            if (folder / _KERAS).is_file() or any(_path(folder, file) for file in _FILES.values()):
                return folder
    return None


def _path(folder: Path, file: _File) -> Path | None:
    # With a dot, as many archives unpack them; in a folder of the file's own name, as Kaggle does.
    dotted = file.name.replace("-idx", ".idx")
    names = [f"{file.name}.gz", file.name, f"{dotted}.gz", dotted, f"{file.name}/{file.name}", f"{file.name}/{dotted}"]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _expected() -> str:
    return ", ".join(f"{file.name}.gz" for file in _FILES.values())


def _read(folder: Path, file: _File) -> np.ndarray:
    path = _path(folder, file)
    if path is None and (folder / _KERAS).is_file():
        return _read_keras(folder / _KERAS, file)
    if path is None:
        raise InputError(f"{folder} holds a part of MNIST, but not {file.name}.gz: put it there")
    content = path.read_bytes()
    # Browsers unpack some downloads and keep the name, so the content decides.
    if content.startswith(_GZIP) or (path.suffix == ".gz" and not content.startswith(_header(file))):
        content = decompress(content, _size(file), str(path))
    return parse_idx(content, file, str(path))


def _read_keras(path: Path, file: _File) -> np.ndarray:
    """One of the four arrays of Keras's archive, checked as the idx file that it was made of."""
    key = ("x" if len(file.shape) == 3 else "y") + ("_train" if file.name.startswith("train") else "_test")
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive[key]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}): delete it and fetch it again") from None
    if array.dtype != np.uint8 or array.shape != file.shape:
        found, expected = f"{array.dtype} {list(array.shape)}", f"uint8 {list(file.shape)}"
        raise InputError(f"{path} holds {found} as {key}, expected {expected}: delete it and fetch it again")
    return parse_idx(_header(file) + array.tobytes(), file, str(path))


def _download(file: _File) -> np.ndarray:
    target = cache_dir() / "mnist" / f"{file.name}.gz"
    if target.is_file():
        return _read(target.parent, file)
    try:
        content = fetch([f"{mirror}{file.name}.gz" for mirror in _MIRRORS], target, file.md5, _size(file))
    except InputError as error:
        raise InputError(
            f"MNIST was not found and could not be downloaded: put {_expected()} into {target.parent}, "
            f"or into a folder named by --data-dir or $POLYSTEP_SNN_DATA ({error})"
        ) from None
    return parse_idx(content, file, str(target))


def _header(file: _File) -> bytes:
    return struct.pack(">HBB", 0, _UNSIGNED_BYTE, len(file.shape)) + struct.pack(f">{len(file.shape)}i", *file.shape)


def _size(file: _File) -> int:
    return 4 + 4 * len(file.shape) + int(np.prod(file.shape))


def parse_idx(content: bytes, file: _File, where: str) -> np.ndarray:
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
