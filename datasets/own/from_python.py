"""Data of one's own from Python: arrays, or anything that gives pairs of a sample and a label, as torch's and tonic's data sets do.

data, record = from_samples("mine", torchvision_or_tonic_set, test=another_one)
Trainer(TrainConfig("mine"), "runs/mine", data, record=record).fit()
"""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from polystep_snn.datasets.base import Dataset
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.framing import Framing, Sensor, check_events
from polystep_snn.datasets.own.arrays import GivenArrays
from polystep_snn.datasets.own.load import Reading, load_arrays, record_of_events
from polystep_snn.datasets.own.record import DataRecord
from polystep_snn.datasets.own.split import VALIDATION_SHARE, split_off
from polystep_snn.datasets.own.targets import Classes
from polystep_snn.errors import InputError

Pair = tuple[Any, Any]


class Pairs(Protocol):
    """As ``torch.utils.data.Dataset`` of samples and labels, or tonic's: a length, and pairs by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Pair: ...


def from_arrays(
    name: str,
    train: Pair,
    val: Pair | None = None,
    test: Pair | None = None,
    sequences: bool = False,
    values: bool = False,
    clip: bool = True,
    validation_share: float = VALIDATION_SHARE,
) -> tuple[Dataset, DataRecord]:
    """Arrays as data, with what a run is to remember of them; what is missing is split off the training part.

    Args:
        name: what the data is called, and the run's configuration calls it.
        train, val, test: samples ``[n, F]``, ``[n, H, W]``, ``[n, C, H, W]`` or ``[n, T, F]`` and targets ``[n]`` or ``[n, D]``, of any
            numeric type; labels may be text.
        sequences: whether ``[n, T, F]`` are sequences; else they are images.
        values: whether targets are real values, not classes.
        clip: whether values beyond those of the training part are cut there, as encoders of spikes need it.
        validation_share: of the training part, where no ``val`` is given.

    Raises:
        InputError: arrays that do not go together, NaN, one class; see ``Arrays``.
    """
    given = {"train": train, "val": val, "test": test}
    arrays = {f"{which}_{part}": np.asarray(pair[k]) for part, pair in given.items() if pair is not None for k, which in enumerate("xy")}
    return load_arrays(
        name, GivenArrays(name, arrays), "sequences" if sequences else "images", Reading(values, clip, validation_share=validation_share)
    )


def from_samples(
    name: str,
    train: Pairs,
    val: Pairs | None = None,
    test: Pairs | None = None,
    sequences: bool = False,
    values: bool = False,
    framing: Framing | None = None,
    sensor: Sensor | None = None,
    validation_share: float = VALIDATION_SHARE,
) -> tuple[Dataset, DataRecord]:
    """Pairs of a sample and a label as data: tensors, arrays, PIL images, or structured arrays of events as tonic has them.

    All samples are read into memory.

    Args:
        name, sequences, values, validation_share: as of ``from_arrays``.
        train, val, test: such as a ``torch.utils.data.Dataset``.
        framing: of events, how they become frames.
        sensor: of events, width, height and polarities; tonic's ``sensor_size``.

    Raises:
        InputError: samples of several shapes; events without a framing and a sensor; as of ``from_arrays``.
    """
    given = {part: pairs for part, pairs in (("train", train), ("val", val), ("test", test)) if pairs is not None}
    read = {part: _read(name, part, pairs) for part, pairs in given.items()}
    first = read["train"][0][0]
    if first.dtype.names is None:
        stacked: dict[str, Any] = {part: (_stacked(name, part, x), np.array(y)) for part, (x, y) in read.items()}
        return from_arrays(name, **stacked, sequences=sequences, values=values, validation_share=validation_share)
    if framing is None or sensor is None:
        raise InputError(f"{name} holds events: give framing=Framing(...), and sensor=(width, height, polarities)")
    targets = Classes.of(np.array(read["train"][1]), f"the training part of {name}")
    labels = {part: targets.numbers(np.array(y), f"the part {part} of {name}") for part, (_, y) in read.items()}
    framed = {part: _framed(name, x, labels[part], framing, sensor) for part, (x, _) in read.items()}
    split = split_off(list(given), labels["train"], validation_share=validation_share)
    parts = [
        framed[t.stored] if t.indices is None else framed[t.stored].take(t.indices) for t in (split.train, split.validation, split.test)
    ]
    dataset = Dataset(name, parts[0], parts[1], parts[2], len(targets.names), targets.names, split.note)
    return dataset, record_of_events(dataset, targets, sensor)


def _read(name: str, part: str, pairs: Pairs) -> tuple[list[np.ndarray], list[Any]]:
    if not len(pairs):
        raise InputError(f"the part {part} of {name} is empty: give at least one sample")
    samples, labels = [], []
    for index in range(len(pairs)):
        sample, label = pairs[index]
        samples.append(np.asarray(sample))
        labels.append(np.asarray(label))
    return samples, labels


def _stacked(name: str, part: str, samples: list[np.ndarray]) -> np.ndarray:
    for index, sample in enumerate(samples):
        if sample.shape != samples[0].shape:
            theirs = f"the first is {list(samples[0].shape)}"
            raise InputError(f"{name} has a sample of {list(sample.shape)}, number {index} of {part}, {theirs}: make them alike")
    # A channel of its own, as transforms to tensors leave it, is no channel beside others.
    stacked = np.stack(samples)
    return stacked[:, 0] if stacked.ndim == 4 and stacked.shape[1] == 1 else stacked


def _framed(name: str, recordings: Iterable[np.ndarray], labels: np.ndarray, framing: Framing, sensor: Sensor) -> EventSamples:
    frames = []
    for number, events in enumerate(recordings):
        where = f"recording {number} of {name}"
        check_events(events, sensor, where)
        frames.append(framing.frame(events.copy(), sensor, where))
    return EventSamples.of(frames, labels, framing, sensor)
