"""Recordings that are learned in seconds."""

import numpy as np
import pytest

from polystep_snn.datasets import Dataset
from polystep_snn.datasets.events import EventSamples
from polystep_snn.training.config import TrainConfig

SHAPE = (2, 6, 5)


NUM_STEPS = 12


def recordings(n, seed=0, counts=False, num_steps=NUM_STEPS):
    """Random recordings of 40 events; those of class k have half of them in column k."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = np.where(np.arange(40) < 20, labels[:, None], generator.integers(0, SHAPE[2], (n, 40)))
    steps = np.sort(generator.integers(0, num_steps, (n, 40)), 1)
    channels = generator.integers(0, SHAPE[0] * SHAPE[1], (n, 40)) * SHAPE[2] + x
    ends = 40 * np.arange(1, n + 1)
    flat = (array.astype(np.uint16).ravel() for array in (steps, channels))
    return EventSamples(labels, *flat, ends - 40, ends, np.arange(n), num_steps, SHAPE, counts)


@pytest.fixture(scope="module")
def blinks():
    """A data set of recordings in three classes."""
    return Dataset("blinks", recordings(60), recordings(15, 1), recordings(15, 2), 3, ("left", "middle", "right"), "generated")


def event_config(**changes):
    """A short run on them, with every kind of augmentation."""
    return TrainConfig(
        **{
            "dataset": "blinks",
            "encoder": "events",
            "hidden": (20,),
            "num_steps": NUM_STEPS,
            "epochs": 3,
            "batch_size": 8,
            "windows": 4,
            "shift": 1,
            "jitter": 0.3,
            "time_jitter": 0.5,
            "drop": 0.1,
            "threads": 1,
            "device": "cpu",
            "compile": False,
            **changes,
        }
    )
