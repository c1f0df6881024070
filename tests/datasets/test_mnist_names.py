"""MNIST under the names that common tools give its files. Needs the real files, which are checked by their MD5."""

import gzip
import zipfile

import numpy as np
import pytest

from polystep_snn.datasets import load
from polystep_snn.datasets.idx_images import _header
from polystep_snn.datasets.mnist import MNIST
from polystep_snn.errors import InputError


@pytest.fixture(scope="module")
def contents(mnist):
    """The four files, unpacked."""
    images = np.concatenate([mnist.train.images, mnist.validation.images])
    labels = np.concatenate([mnist.train.labels, mnist.validation.labels])
    arrays = {"train_images": images, "train_labels": labels, "test_images": mnist.test.images, "test_labels": mnist.test.labels}
    return {file.name: _header(file) + arrays[key].tobytes() for key, file in MNIST.files.items()}


def check(folder, mnist):
    found = load("mnist", folder)
    assert np.array_equal(found.test.labels, mnist.test.labels)
    assert np.array_equal(found.train.images[:100], mnist.train.images[:100])


@pytest.mark.parametrize("folder", ["", "MNIST", "MNIST/raw", "mnist", "raw"])
def test_folders(cache, tmp_path, mnist, contents, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (tmp_path / folder / name).write_bytes(content)
    check(tmp_path, mnist)


@pytest.mark.parametrize("kind", ["dotted", "folders", "unpacked under the packed name", "packed under the unpacked name"])
def test_names(cache, tmp_path, mnist, contents, kind):
    for name, content in contents.items():
        if kind == "dotted":
            (tmp_path / name.replace("-idx", ".idx")).write_bytes(content)
        elif kind == "folders":
            (tmp_path / name).mkdir()
            (tmp_path / name / name).write_bytes(content)
        elif kind.startswith("unpacked"):
            (tmp_path / f"{name}.gz").write_bytes(content)
        else:
            (tmp_path / name).write_bytes(gzip.compress(content, 1))
    check(tmp_path, mnist)


def test_keras(cache, tmp_path, mnist):
    images = np.concatenate([mnist.train.images, mnist.validation.images])
    labels = np.concatenate([mnist.train.labels, mnist.validation.labels])
    arrays = {"x_train": images, "y_train": labels, "x_test": mnist.test.images, "y_test": mnist.test.labels}
    np.savez(tmp_path / "mnist.npz", **arrays)
    check(tmp_path, mnist)
    labels[0] = (labels[0] + 1) % 10
    np.savez(tmp_path / "mnist.npz", **{**arrays, "y_train": labels})
    with pytest.raises(InputError, match=r"mnist\.npz"):
        load("mnist", tmp_path)
    labels[0] = mnist.train.labels[0]
    np.savez(tmp_path / "mnist.npz", **{**arrays, "x_test": mnist.test.images.astype(np.float32)})
    with pytest.raises(InputError, match=r"holds float32 .* as x_test, expected uint8"):
        load("mnist", tmp_path)
    (tmp_path / "mnist.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"mnist\.npz cannot be read"):
        load("mnist", tmp_path)


def test_keras_with_a_broken_header(cache, tmp_path):
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00\x10\x00{'shape': (1,   \n")
    with pytest.raises(InputError, match=r"mnist\.npz cannot be read"):
        load("mnist", tmp_path)
