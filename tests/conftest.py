"""Shared by all tests: where real data lies, and a small data set."""

import os
from pathlib import Path

import pytest
import torch

from polystep_snn.datasets import load
from polystep_snn.errors import InputError
from polystep_snn.hardware.lava.worker_process import find_python

# These test the repository itself: its structure, its benchmarks, its examples. This folder can be copied and run without it.
collect_ignore = [] if (Path(__file__).parents[1] / "benchmarks").is_dir() else ["benchmarks", "examples", "test_house.py"]


@pytest.fixture(scope="session")
def mnist():
    """The real MNIST from $POLYSTEP_SNN_DATA."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder:
        pytest.skip("POLYSTEP_SNN_DATA is not set: no MNIST here")
    return load("mnist", Path(folder))


@pytest.fixture(scope="session")
def digits():
    return load("digits")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no other place where data could be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("POLYSTEP_SNN_DATA", raising=False)
    return tmp_path / "cache" / "polystep-snn"


@pytest.fixture(scope="session")
def lava_python():
    """The Python that Lava runs in; tests are skipped without one, unless $POLYSTEP_SNN_REQUIRE_LAVA says that there is."""
    try:
        return find_python()
    except InputError as error:
        if os.environ.get("POLYSTEP_SNN_REQUIRE_LAVA"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing from threads, and tests that run in parallel lose."""
    torch.set_num_threads(1)
