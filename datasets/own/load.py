"""From a path to a ``Dataset``."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polystep_snn.datasets.base import Dataset, Part, Samples, Sequences
from polystep_snn.datasets.frames_cache import cached
from polystep_snn.datasets.frames_cache import fingerprint as files_fingerprint
from polystep_snn.datasets.framing import Framing, Sensor
from polystep_snn.datasets.own.arrays import Arrays, Stored
from polystep_snn.datasets.own.describe import Description
from polystep_snn.datasets.own.event_files import read_events, sensor_of
from polystep_snn.datasets.own.folders import list_files
from polystep_snn.datasets.own.images import read_images
from polystep_snn.datasets.own.record import DataRecord, fingerprint, holds_spikes
from polystep_snn.datasets.own.scaling import Scaling
from polystep_snn.datasets.own.sounds import read_energies
from polystep_snn.datasets.own.split import VALIDATION_SHARE, Split, split_off
from polystep_snn.datasets.own.targets import Classes, TargetScaling
from polystep_snn.datasets.recordings import EventSet, Recording, frame_recordings
from polystep_snn.datasets.speech_features import SpeechFeatures, level_crossings
from polystep_snn.errors import InputError

_CACHE = "own"


class Reading(NamedTuple):
    """How samples are read.

    Attributes:
        values: targets are real values, not classes.
        clip: values beyond those of the training part become 0 or 1, as encoders of spikes need it.
        framing: of event recordings.
        features: of sounds.
        known: what an earlier run measured; its scaling, classes and sensor are used again.
        other: these are other samples than that run's; nothing is split off, and where there is no test part, all of them are tested.
        validation_share: of the training part, where there is no validation part.
    """

    values: bool = False
    clip: bool = True
    framing: Framing | None = None
    features: SpeechFeatures | None = None
    known: DataRecord | None = None
    other: bool = False
    validation_share: float = VALIDATION_SHARE


def load_own(name: str, found: Description, reading: Reading) -> tuple[Dataset, DataRecord]:
    """The data at a path, and what is to be remembered of it.

    Args:
        name: what the data set is called.
        found: what ``describe`` says of the path.
        reading: see ``Reading``.

    Raises:
        InputError: a damaged sample, with its name; samples or targets that are not alike; classes with too few samples.
    """
    if found.arrays:
        return load_arrays(name, Arrays(found.path, reading.other), found.kind, reading, str(found.path.resolve()))
    dataset, scaling, targets, sensor = _class_folders(name, found, reading)
    return dataset, _record(dataset, str(found.path.resolve()), found.kind, scaling, targets, sensor)


def load_arrays(name: str, arrays: Stored, kind: str, reading: Reading, path: str = "") -> tuple[Dataset, DataRecord]:
    """The same of arrays.

    Args:
        name: what the data set is called.
        arrays: where they are.
        kind: "images" or "sequences".
        reading: see ``Reading``.
        path: where they lie; empty for nowhere.
    """
    dataset, scaling, targets = _arrays(name, arrays, kind, reading)
    return dataset, _record(dataset, path, kind, scaling, targets)


def record_of_events(dataset: Dataset, targets: Classes, sensor: Sensor) -> DataRecord:
    """Of event recordings that were given from Python."""
    return _record(dataset, "", "events", None, targets, tuple(sensor))


def _record(
    dataset: Dataset, path: str, kind: str, scaling: Scaling | None, targets: Classes | TargetScaling, sensor: tuple[int, ...] = ()
) -> DataRecord:
    train, sizes = dataset.train, (len(dataset.train), len(dataset.validation), len(dataset.test))
    shape, num_steps = tuple(train.shape), getattr(train, "num_steps", 0)
    rest = fingerprint(dataset), targets, scaling, kind, sensor, dataset.note, holds_spikes(dataset)
    return DataRecord(dataset.name, path, shape, num_steps, sizes, *rest)


def _targets_of(labels: np.ndarray, where: str, reading: Reading) -> Classes | TargetScaling:
    if reading.known is not None:
        return reading.known.targets
    return TargetScaling.of(labels, where) if reading.values else Classes.of(labels, where)


def _numbers(targets: Classes | TargetScaling, labels: np.ndarray, where: str) -> np.ndarray:
    return targets.numbers(labels, where) if isinstance(targets, Classes) else targets.apply(labels, where)


def _dataset(name: str, split: Split, make: Callable[[str], Part], targets: Classes | TargetScaling, dropped: str) -> Dataset:
    classes = targets.names if isinstance(targets, Classes) else tuple(f"y{k}" for k in range(len(targets.mean)))
    return Dataset(name, make("train"), make("validation"), make("test"), len(classes), classes, split.note, dropped)


def _arrays(name: str, arrays: Stored, kind: str, reading: Reading) -> tuple[Dataset, Scaling | None, Classes | TargetScaling]:
    start = arrays.parts[0]

    def where(which: str, part: str) -> str:
        return f"{which}_{part} of {arrays.path}"

    raw = {part: arrays.read(f"y_{part}") for part in arrays.parts}
    first = _targets_of(raw[start], where("y", start), reading)
    labels = {part: _numbers(first, raw[part], where("y", part)) for part in arrays.parts}
    split = split_off(arrays.parts, labels[start], reading.other, reading.validation_share)
    if isinstance(first, TargetScaling) and reading.known is None and split.train.indices is not None:
        # The spread is that of what is trained on.
        first = TargetScaling.of(split.train.of(raw["train"]), where("y", "train"))
        labels = {part: first.apply(raw[part], where("y", part)) for part in arrays.parts}
    x = arrays.read(f"x_{split.train.stored}")
    train = split.train.of(x)
    spikes, scaling = _units(train, kind, where("x", split.train.stored), reading)
    beyond = 0
    parts: dict[str, Part] = {}
    for part in ("train", "validation", "test"):
        taken = getattr(split, part)
        values = train if part == "train" else taken.of(x if taken.stored == split.train.stored else arrays.read(f"x_{taken.stored}"))
        title = where("x", taken.stored)
        if part != "train" and scaling is not None and kind != "sequences":
            beyond += scaling.beyond(values)
        own = taken.of(labels[taken.stored])
        parts[part] = _part(values, own, kind, spikes, scaling, title, reading.clip)
        if part == "train":
            del train
    dropped = f"{beyond:,} values of other parts lie beyond those of the training part" if beyond else ""
    if beyond and reading.clip:
        dropped += ", and are cut there"
    return _dataset(name, split, parts.__getitem__, first, dropped), scaling, first


def _units(x: np.ndarray, kind: str, where: str, reading: Reading) -> tuple[bool, Scaling | None]:
    """Whether the values are spikes, and else their range."""
    if reading.known is not None:
        return reading.known.scaling is None, reading.known.scaling
    if kind == "sequences" and only_spikes(x):
        return True, None
    if kind == "sequences" and x.dtype != np.uint8:
        return False, Scaling.of_spread(x, where)
    return False, Scaling.measured(x, where, by_feature=x.dtype != np.uint8 and x.ndim == 2)


def only_spikes(x: np.ndarray) -> bool:
    """Whether all values are 0 or 1, and both occur."""
    return x.dtype == bool or bool(((x == 0) | (x == 1)).all() and x.any() and not x.all())


def _part(x: np.ndarray, labels: np.ndarray, kind: str, spikes: bool, scaling: Scaling | None, where: str, clip: bool) -> Part:
    values, full_scale = as_values(x, spikes, scaling, where, clip and kind != "sequences")
    if kind == "sequences":
        return Sequences(values, labels, full_scale)
    return Samples(values[:, None] if values.ndim == 2 else values, labels, full_scale)


def as_values(x: np.ndarray, spikes: bool, scaling: Scaling | None, where: str, clip: bool) -> tuple[np.ndarray, int]:
    """Values as ``Samples`` and ``Sequences`` hold them, and their full scale.

    Raises:
        InputError: NaN; values of spikes other than 0 and 1.
    """
    if spikes:
        if x.dtype != bool and not ((x == 0) | (x == 1)).all():
            raise InputError(f"{where} holds others than 0 and 1, but the training part held spikes: give the same")
        return x.astype(np.uint8), 1
    assert scaling is not None
    top = scaling.high[0]
    if x.dtype == np.uint8 and len(scaling.high) == 1 and scaling.low[0] == 0 and 1 <= top <= 255 and top == int(top):
        return (np.minimum(x, np.uint8(top)) if x.max(initial=0) > top else x), int(top)
    return scaling.apply(x, where, clip), 1


def _class_folders(
    name: str, found: Description, reading: Reading
) -> tuple[Dataset, Scaling | None, Classes | TargetScaling, tuple[int, ...]]:
    if reading.values:
        raise InputError(f"{found.path} has a folder for each class, but the cost is 'mse', which needs real targets: give arrays")
    listed = list_files(found.path).files
    folders = {part: np.array([folder for _, folder in own]) for part, own in listed.items()}
    targets = _targets_of(folders["train"], f"the training part of {found.path}", reading)
    labels = {part: _numbers(targets, own, f"{part} of {found.path}") for part, own in folders.items()}
    split = split_off(list(listed), labels["train"], reading.other, reading.validation_share)
    files = [file for own in listed.values() for file, _ in own]
    starts = dict(zip(listed, np.cumsum([0, *(len(own) for own in listed.values())]), strict=False))
    everything = np.concatenate(list(labels.values()))
    everything = everything if everything.max() > 255 else everything.astype(np.uint8)

    def at(part: str) -> np.ndarray:
        taken = getattr(split, part)
        count = len(labels[taken.stored])
        return starts[taken.stored] + (np.arange(count) if taken.indices is None else taken.indices)

    key = files_fingerprint(found.path, [str(file.relative_to(found.path)) for file in files])
    kinds = {"images": _images, "sounds": _sounds, "events": _events}
    whole, scaling, sensor, dropped = kinds[found.kind](files, everything, at("train"), key, found.path, reading)
    return _dataset(name, split, lambda part: whole.take(at(part)), targets, dropped), scaling, targets, sensor


_Whole = tuple[Any, Scaling | None, tuple[int, ...], str]


def _images(files: list[Path], labels: np.ndarray, train: np.ndarray, key: str, path: Path, reading: Reading) -> _Whole:
    pictures = cached(_CACHE, {"images": key}, lambda: {"images": read_images(files)})["images"]
    if reading.known is not None:
        assert reading.known.scaling is not None
        scaling = reading.known.scaling
    else:
        scaling = Scaling.measured(pictures[train], str(path), by_feature=False)
    values, full_scale = as_values(pictures, False, scaling, str(path), reading.clip)
    return Samples(values, labels, full_scale), scaling, (), ""


def _sounds(files: list[Path], labels: np.ndarray, train: np.ndarray, key: str, path: Path, reading: Reading) -> _Whole:
    features = reading.features
    assert features is not None
    settings = {"num_steps": features.num_steps, "step_ms": float(features.step_ms), "bands": features.bands}

    def listen() -> dict[str, np.ndarray]:
        return dict(zip(("energies", "lengths"), read_energies(files, features), strict=True))

    arrays = cached(_CACHE, {"sounds": key, "features": settings}, listen)
    values = arrays["energies"]
    if features.kind == "events":
        values = level_crossings(values, counts=features.counts)
    cut = int((arrays["lengths"] > features.num_steps).sum())
    steps = f"{features.num_steps} steps of {features.step_ms:g} ms"
    dropped = f"{cut} of {len(files)} recordings are longer than {steps} and are cut; shorter ones end in silence" if cut else ""
    return Sequences(values, labels, num_groups=features.num_groups), None, (), dropped


def _events(files: list[Path], labels: np.ndarray, train: np.ndarray, key: str, path: Path, reading: Reading) -> _Whole:
    framing = reading.framing
    assert framing is not None

    def measure() -> dict[str, np.ndarray]:
        most = np.zeros(2, np.int64)
        for k in train.tolist():
            events = read_events(files[k])
            most = np.maximum(most, [events["x"].max(), events["y"].max()])
        return {"most": most}

    if reading.known is not None:
        sensor = reading.known.sensor
    else:
        sensor = sensor_of(*cached(_CACHE, {"sensor": key}, measure)["most"].tolist())
    # Its name is part of the key under which frames are kept.
    source = EventSet(
        f"{_CACHE}-{'x'.join(map(str, sensor))}", path.name, (sensor[0], sensor[1], 2), (), "", ("", ""), framing, (1, 2**62), "µs"
    )

    def read() -> Iterator[Recording]:
        for file, label in zip(files, labels.tolist(), strict=True):
            yield Recording(str(file), label, False, read_events(file))

    names = [str(file.relative_to(path)) for file in files]
    framed = frame_recordings(source, path, names, (len(files), 0), read, framing, len(files))
    return replace(framed.samples, labels=labels), None, tuple(sensor), framed.dropped
