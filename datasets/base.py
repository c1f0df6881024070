"""What every data set is."""

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from polystep_snn.errors import InputError


class Part(Protocol):
    """What the parts of every data set have in common (images, event recordings, sequences): targets, and the shape of a sample.

    ``labels`` are classes ``[n]``, whole numbers from 0; or real targets ``[n, D]``, floating point.
    """

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...


def check_targets(labels: np.ndarray, count: int, what: str) -> None:
    """InputError unless there is one target for each of ``count`` samples: classes ``[n]`` or real targets ``[n, D]``."""
    classes = labels.shape == (count,) and np.issubdtype(labels.dtype, np.integer)
    real = labels.ndim == 2 and len(labels) == count and labels.shape[1] > 0 and np.issubdtype(labels.dtype, np.floating)
    if not classes and not real:
        each = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
        given = f"labels are {labels.dtype} {list(labels.shape)} for {count} {what}s"
        raise InputError(f"{given}: give one integer {each}, or real targets [n, D]")
    if real and not np.isfinite(labels).all():
        raise InputError("the targets contain NaN or infinity: clean the data")


@dataclass(frozen=True)
class Samples:
    """Images and their targets.

    Attributes:
        images: ``[n, height, width]`` or ``[n, channels, height, width]``: uint8, or float32 intensities, usually in [0, 1].
        labels: ``[n]`` uint8 or wider, classes from 0; or real targets ``[n, D]``.
        full_scale: the image value that means intensity 1; 1 for float32.
    """

    images: np.ndarray
    labels: np.ndarray
    full_scale: int = 255

    def __post_init__(self):
        if not isinstance(self.images, np.ndarray) or not isinstance(self.labels, np.ndarray):
            raise InputError(f"images and labels are {type(self.images).__name__} and {type(self.labels).__name__}: give numpy arrays")
        if self.images.ndim not in (3, 4) or self.images.dtype not in (np.uint8, np.float32):
            raise InputError(
                f"images are {self.images.dtype} {list(self.images.shape)}: give uint8 or float32 [n, height, width] or "
                "[n, channels, height, width]"
            )
        check_targets(self.labels, len(self.images), "image")
        if self.images.dtype == np.float32:
            if self.full_scale != 1:
                raise InputError(f"full_scale is {self.full_scale} for float32 images, which are intensities: choose 1")
            if not np.isfinite(self.images).all():
                raise InputError("images contain NaN or infinity: clean the data")
            return
        brightest = self.images.max(initial=0)
        if not 1 <= self.full_scale <= 255 or brightest > self.full_scale:
            raise InputError(
                f"full_scale is {self.full_scale}, the brightest image value {brightest}: choose from {max(1, brightest)} to 255"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: height and width, or channels, height and width."""
        return self.images.shape[1:]

    def take(self, indices: np.ndarray) -> "Samples":
        """The images at ``indices``, in their order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def intensities(self, indices: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The images at ``indices``, or all: float32 in their shape, in units of ``full_scale``."""
        return self.images[indices].astype(np.float32) / np.float32(self.full_scale)

    def rows(self) -> "Sequences":
        """The images read row by row, from the top: ``height`` steps of ``width`` currents. The pixels are shared, not copied."""
        return Sequences(self.images, self.labels, self.full_scale)


@dataclass(frozen=True)
class Sequences:
    """Sequences of equal length and their targets: a step of each is what a network receives at once.

    Attributes:
        values: ``[n, T, F]``: float32 currents; or uint8, which are spikes (how many in a step) where ``full_scale`` is 1, else currents.
        labels: ``[n]`` uint8 or wider, classes from 0; or real targets ``[n, D]``.
        full_scale: the value that means 1.
        num_groups: the features are so many groups of neighbouring bands: 2 for ON, then OFF events of a sensor.
        numbers: ``[n]``, the number of each sequence in the whole set, which seeds its augmentation; by default 0 to n - 1.

    Raises:
        InputError: arrays of another type or shape, values that are not finite.
    """

    values: np.ndarray
    labels: np.ndarray
    full_scale: int = 1
    num_groups: int = 1
    numbers: np.ndarray | None = None

    def __post_init__(self):
        if not isinstance(self.values, np.ndarray) or not isinstance(self.labels, np.ndarray):
            raise InputError(f"values and labels are {type(self.values).__name__} and {type(self.labels).__name__}: give numpy arrays")
        if self.values.ndim != 3 or self.values.dtype not in (np.float32, np.uint8) or 0 in self.values.shape[1:]:
            raise InputError(f"values are {self.values.dtype} {list(self.values.shape)}: give float32 or uint8 [n, T, features]")
        check_targets(self.labels, len(self.values), "sequence")
        if not 1 <= self.full_scale <= 255 or (self.values.dtype == np.float32 and self.full_scale != 1):
            raise InputError(f"full_scale is {self.full_scale} for {self.values.dtype}: choose 1, or for uint8 up to 255")
        if self.num_groups < 1 or self.values.shape[2] % self.num_groups:
            raise InputError(f"num_groups is {self.num_groups} for {self.values.shape[2]} features: choose a divisor of them")
        if self.values.dtype == np.float32 and not np.isfinite(self.values).all():
            raise InputError("values contain NaN or infinity: clean the data")
        numbers = np.arange(len(self.labels)) if self.numbers is None else self.numbers
        if numbers.shape != (len(self.labels),):
            raise InputError(f"numbers are {list(numbers.shape)} for {len(self.labels)} sequences: give one a sequence")
        object.__setattr__(self, "numbers", numbers)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_steps(self) -> int:
        """T."""
        return self.values.shape[1]

    @property
    def holds_spikes(self) -> bool:
        """Whether the values are numbers of spikes, not currents."""
        return self.values.dtype == np.uint8 and self.full_scale == 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one step: groups, 1, and bands of a group."""
        return self.num_groups, 1, self.values.shape[2] // self.num_groups

    def take(self, indices: np.ndarray) -> "Sequences":
        """The sequences at ``indices``, in their order."""
        assert self.numbers is not None
        return replace(self, values=self.values[indices], labels=self.labels[indices], numbers=self.numbers[indices])

    def frames(self, indices: np.ndarray) -> np.ndarray:
        """The sequences at ``indices [B]``, time first: ``[T, B, F]``; uint8 for spikes, else float32 in units of ``full_scale``."""
        frames = self.values[indices].swapaxes(0, 1)
        return frames if self.holds_spikes else frames.astype(np.float32) / np.float32(self.full_scale)


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Dataset(Generic[P]):
    """Three disjoint parts: ``train`` is learnt from, ``validation`` chooses, ``test`` is looked at once.

    Attributes:
        name: as in ``load``.
        num_classes: number of classes, or of values in a real target.
        classes: their names, for figures.
        note: what must be said beside every result, such as that this is a subset; often empty.
        dropped: what was left out when it was read; often empty.
    """

    name: str
    train: P
    validation: P
    test: P
    num_classes: int
    classes: tuple[str, ...]
    note: str = ""
    dropped: str = ""

    @property
    def holds_values(self) -> bool:
        """Whether targets are real values, not classes."""
        return self.train.labels.ndim == 2

    @property
    def title(self) -> str:
        """The name to print beside a result: with the note, if there is one."""
        return f"{self.name} ({self.note})" if self.note else self.name

    def __post_init__(self):
        if len(self.classes) != self.num_classes:
            raise InputError(f"{self.name} has {len(self.classes)} names for {self.num_classes} classes: give one a class")
        for name, part in (("training", self.train), ("validation", self.validation), ("test", self.test)):
            if not len(part):
                raise InputError(f"the {name} part of {self.name} is empty: give at least one sample")
            if part.labels.ndim != self.train.labels.ndim:
                raise InputError(
                    f"the {name} part of {self.name} has other targets than the training part: give classes or real targets to all"
                )
            if part.labels.ndim == 2 and part.labels.shape[1] != self.num_classes:
                raise InputError(f"the {name} part of {self.name} has {part.labels.shape[1]} values a target, expected {self.num_classes}")
            if part.labels.ndim == 1 and (part.labels.min() < 0 or part.labels.max() >= self.num_classes):
                raise InputError(
                    f"the {name} part of {self.name} has labels {part.labels.min()}..{part.labels.max()} for {self.num_classes} classes"
                )
            if part.shape != self.train.shape:
                raise InputError(f"the {name} images of {self.name} are {part.shape}, the training images {self.train.shape}")
            ours, theirs = (getattr(each, "num_steps", None) for each in (self.train, part))
            if ours != theirs:
                raise InputError(f"the {name} sequences of {self.name} have {theirs} steps, the training sequences {ours}")
