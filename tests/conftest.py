"""Shared by all tests: where real data lies, and a small data set."""

import os
from pathlib import Path

import pytest
import torch

from polystep_snn.datasets import load


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


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing from threads, and tests that run in parallel lose."""
    torch.set_num_threads(1)
