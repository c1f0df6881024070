"""Fashion-MNIST: the real files where they are at hand, and files of MNIST in their place, which have the same names."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.cli.main import main
from polystep_snn.datasets import download, load
from polystep_snn.datasets import mnist as reader
from polystep_snn.errors import InputError


@pytest.fixture(scope="module")
def fashion():
    """The real Fashion-MNIST from $POLYSTEP_SNN_DATA."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "FashionMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder FashionMNIST: no Fashion-MNIST here")
    return load("fashion-mnist", Path(folder))


def test_fashion_mnist_is_fashion_mnist(fashion):
    assert [len(part) for part in (fashion.train, fashion.validation, fashion.test)] == [55000, 5000, 10000]
    assert (fashion.name, fashion.title, fashion.train.shape) == ("fashion-mnist", "fashion-mnist", (28, 28))
    # The first articles: an ankle boot and three tops; the first of the test part are a boot, a pullover and two trousers.
    assert [fashion.classes[k] for k in fashion.train.labels[:3]] == ["ankle boot", "T-shirt or top", "T-shirt or top"]
    assert [fashion.classes[k] for k in fashion.test.labels[:4]] == ["ankle boot", "pullover", "trouser", "trouser"]
    assert np.bincount(fashion.test.labels).tolist() == [1000] * 10
    assert fashion.train.images[0].sum() == 76247


def test_files_of_mnist_are_not_to_be_deleted(fashion, mnist, tmp_path):
    """Whoever has one set in a data folder itself is told where to put the other."""
    folder = Path(os.environ["POLYSTEP_SNN_DATA"])
    (tmp_path / "mnist").symlink_to(folder / "MNIST" / "raw")
    (tmp_path / "fashion").symlink_to(folder / "FashionMNIST" / "raw")
    with pytest.raises(InputError, match=r"is a file of MNIST, not of Fashion-MNIST: put Fashion-MNIST into .*mnist/FashionMNIST/raw$"):
        load("fashion-mnist", tmp_path / "mnist")
    with pytest.raises(InputError, match=r"is a file of Fashion-MNIST, not of MNIST: put MNIST into .*fashion/MNIST/raw$"):
        load("mnist", tmp_path / "fashion")


def test_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(download.DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(reader, "FASHION_MNIST", replace(reader.FASHION_MNIST, mirrors=("http://127.0.0.1:9/",)))
    with pytest.raises(InputError, match=r"^Fashion-MNIST was not found and could not be downloaded: put train-images") as error:
        load("fashion-mnist")
    assert str(tmp_path / "cache" / "polystep-snn" / "fashion-mnist") in str(error.value)
    with pytest.raises(InputError, match="there is no data set 'fashion_mnist': choose one of digits, mnist, fashion-mnist"):
        load("fashion_mnist")


def test_a_run(fashion, tmp_path, capsys):
    options = "--hidden 16 --num-steps 4 --epochs 1 --batch-size 500 --no-compile --threads 1"
    assert main(["train", "fashion-mnist", "--out", str(tmp_path / "run"), *options.split()]) == 0
    assert main(["eval", str(tmp_path / "run"), "--limit", "500"]) == 0
    assert "fashion-mnist: test accuracy" in capsys.readouterr().err
