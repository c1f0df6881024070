"""Events of a tactile skin that touched 36 objects, as sequences.

The file is ``tactile/Ev-Objects.zip`` in the folder that $POLYSTEP_SNN_DATA names: 576 training and 144 test recordings of 39 taxels, ON
and OFF, in 250 steps, 0 or 1, one ``.npy`` each, whose name says the class (Gu et al., "TactileSGNet", IROS 2020). A fifth of the training
recordings of every object, drawn at random with a fixed seed, is for validation.
"""

import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np

from polystep_snn.datasets import Dataset, Sequences
from polystep_snn.errors import InputError

_NAME = re.compile(r"Ev-Objects/(train|test)/sample_(\d+)_label_(\d+)\.npy")
_SHAPE, _NUM_CLASSES = (39, 2, 250), 36


def load_touch() -> Dataset[Sequences]:
    """The recordings, ``[250, 78]`` each: ON events of all taxels, then OFF events.

    Raises:
        InputError: no such file, or one that holds something else.
    """
    path = Path(os.environ.get("POLYSTEP_SNN_DATA", "")) / "tactile" / "Ev-Objects.zip"
    if not path.is_file():
        raise InputError(f"{path} is missing: set POLYSTEP_SNN_DATA to a folder that has it")
    found: dict[str, list[tuple[int, int, np.ndarray]]] = {"train": [], "test": []}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if match := _NAME.fullmatch(name):
                events = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                if events.shape != _SHAPE or not np.isin(events, (0, 1)).all():
                    raise InputError(f"{name} in {path} is {list(events.shape)}: give {list(_SHAPE)} of 0 and 1")
                steps = events.transpose(2, 1, 0).reshape(_SHAPE[2], -1).astype(np.uint8)
                found[match[1]].append((int(match[2]), int(match[3]), steps))
    train, test = (_sequences(found[part]) for part in ("train", "test"))
    chosen = np.zeros(len(train), bool)
    generator = np.random.default_rng(0)
    for label in range(_NUM_CLASSES):
        own = np.flatnonzero(train.labels == label)
        chosen[generator.permutation(own)[: len(own) // 5]] = True
    parts = train.take(np.flatnonzero(~chosen)), train.take(np.flatnonzero(chosen)), test
    return Dataset("touch", *parts, _NUM_CLASSES, tuple(map(str, range(_NUM_CLASSES))))


def _sequences(found: list[tuple[int, int, np.ndarray]]) -> Sequences:
    found.sort(key=lambda each: each[0])
    labels = np.array([label for _, label, _ in found])
    return Sequences(np.stack([steps for _, _, steps in found]), labels, num_groups=2)
