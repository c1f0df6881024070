"""What a run remembers of its data: where it was, a fingerprint, and how samples are to be treated."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from polystep_snn.datasets.base import Dataset, Part, Samples, Sequences
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.own import targets as own_targets
from polystep_snn.datasets.own.scaling import Scaling
from polystep_snn.datasets.own.targets import Classes, TargetScaling
from polystep_snn.errors import InputError


@dataclass(frozen=True)
class DataRecord:
    """The data of a run, in so many words.

    Attributes:
        name: of the data set; of one's own, the path as it was given.
        path: of one's own, absolute; empty for others.
        shape: of a sample, as of its ``Part``.
        num_steps: of a recording or a sequence; 0 for images.
        sizes: samples of the training, validation and test part.
        fingerprint: of these samples; see ``fingerprint``.
        targets: the classes, or the units of real targets.
        scaling: of one's own arrays and images; None for others.
        kind: of one's own, see ``describe``; empty for others.
        sensor: of one's own event recordings, width, height and polarities; empty for others.
        note: what must be said beside every result; often empty.
        spikes: whether its sequences hold spikes, not currents.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    num_steps: int
    sizes: tuple[int, int, int]
    fingerprint: str
    targets: Classes | TargetScaling
    scaling: Scaling | None = None
    kind: str = ""
    sensor: tuple[int, ...] = ()
    note: str = ""
    spikes: bool = False

    @property
    def title(self) -> str:
        """The name to print beside a result: with the note, if there is one."""
        return f"{self.name} ({self.note})" if self.note else self.name

    @property
    def num_outputs(self) -> int:
        """Width of the readout: classes, or values of a target."""
        return len(self.targets.names) if isinstance(self.targets, Classes) else len(self.targets.mean)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "name": self.name,
            "path": self.path,
            "kind": self.kind,
            "shape": list(self.shape),
            "num_steps": self.num_steps,
            "sizes": list(self.sizes),
            "fingerprint": self.fingerprint,
            "targets": own_targets.to_json(self.targets),
            "scaling": None if self.scaling is None else self.scaling.to_json(),
            "sensor": list(self.sensor),
            "note": self.note,
            "spikes": self.spikes,
        }

    @classmethod
    def from_json(cls, value: Any) -> "DataRecord":
        """The record whose ``to_json`` this value is.

        Raises:
            InputError: anything else.
        """
        try:
            texts = {name: value[name] for name in ("name", "path", "kind", "fingerprint", "note")}
            numbers: dict[str, Any] = {name: tuple(value[name]) for name in ("shape", "sizes", "sensor")}
            steps = value["num_steps"]
            whole = [n for own in (*numbers.values(), (steps,)) for n in own]
            if not all(isinstance(text, str) for text in texts.values()) or not all(type(n) is int and n >= 0 for n in whole):
                raise ValueError
            if len(numbers["sizes"]) != 3 or not numbers["shape"]:
                raise ValueError
            scaling, spikes = value["scaling"], bool(value["spikes"])
        except (KeyError, TypeError, ValueError):
            raise InputError("what the run says of its data is damaged: restore data.json, or start a new run") from None
        targets = own_targets.from_json(value.get("targets"))
        fields: dict[str, Any] = {**texts, **numbers}
        return cls(
            **fields,
            num_steps=steps,
            targets=targets,
            scaling=None if scaling is None else Scaling.from_json(scaling),
            spikes=spikes,
        )


def record_of(dataset: Dataset) -> DataRecord:
    """Of a data set that was not read from a path of one's own."""
    parts = (dataset.train, dataset.validation, dataset.test)
    if dataset.holds_values:
        count = dataset.num_classes
        targets: Classes | TargetScaling = TargetScaling((0.0,) * count, (1.0,) * count)
    else:
        targets = Classes(dataset.classes, tuple(range(dataset.num_classes)))
    train = dataset.train
    scaling = Scaling((0.0,), (float(train.full_scale),)) if isinstance(train, Samples) else None
    sizes = (len(parts[0]), len(parts[1]), len(parts[2]))
    return DataRecord(
        *(dataset.name, "", tuple(train.shape), getattr(train, "num_steps", 0), sizes, fingerprint(dataset), targets, scaling),
        note=dataset.note,
        spikes=holds_spikes(dataset),
    )


def holds_spikes(dataset: Dataset) -> bool:
    """Whether a data set is made of sequences of spikes."""
    return isinstance(dataset.train, Sequences) and dataset.train.holds_spikes


def fingerprint(dataset: Dataset) -> str:
    """Stands for the samples and targets of all parts: 32 hexadecimal digits; the same on every machine and under every name."""
    found = hashlib.blake2b(digest_size=16)
    for part in (dataset.train, dataset.validation, dataset.test):
        for array in _arrays(part):
            found.update(f"{array.dtype.str} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _arrays(part: Part) -> tuple[np.ndarray, ...]:
    """What makes a part."""
    labels = part.labels.astype("<f4" if part.labels.dtype.kind == "f" else "<i8")
    if isinstance(part, Samples):
        return labels, part.images
    if isinstance(part, Sequences):
        return labels, part.values
    if isinstance(part, EventSamples):
        # Parts share the events of the whole: only their own count.
        lengths = part.ends - part.starts
        if not len(lengths):
            return (labels,)
        at = np.concatenate([np.arange(start, end) for start, end in zip(part.starts, part.ends, strict=True)])
        return labels, lengths.astype("<i8"), part.steps[at], part.channels[at]
    raise InputError(f"a part of a data set is {type(part).__name__}: give Samples, Sequences or EventSamples")
