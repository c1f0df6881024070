"""What every data set is."""

from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from polystep_snn.errors import InputError


class Part(Protocol):
    """What the parts of every data set have in common (images, event recordings, sequences): classes, and the shape of a sample."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Samples:
    """Images and their classes.

    Attributes:
        images: ``[n, height, width]`` uint8.
        labels: ``[n]`` uint8 or wider, classes from 0.
        full_scale: the image value that means intensity 1.
    """

    images: np.ndarray
    labels: np.ndarray
    full_scale: int = 255

    def __post_init__(self):
        if not isinstance(self.images, np.ndarray) or not isinstance(self.labels, np.ndarray):
            raise InputError(f"images and labels are {type(self.images).__name__} and {type(self.labels).__name__}: give numpy arrays")
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise InputError(f"images are {self.images.dtype} {list(self.images.shape)}: give uint8 [n, height, width]")
        if self.labels.shape != (len(self.images),) or not np.issubdtype(self.labels.dtype, np.integer):
            raise InputError(
                f"labels are {self.labels.dtype} {list(self.labels.shape)} for {len(self.images)} images: give one integer an image"
            )
        brightest = self.images.max(initial=0)
        if not 1 <= self.full_scale <= 255 or brightest > self.full_scale:
            raise InputError(
                f"full_scale is {self.full_scale}, the brightest image value {brightest}: choose from {max(1, brightest)} to 255"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: height and width."""
        return self.images.shape[1:]

    def rows(self) -> "Sequences":
        """The images read row by row, from the top: ``height`` steps of ``width`` currents. The pixels are shared, not copied."""
        return Sequences(self.images, self.labels, self.full_scale)


@dataclass(frozen=True)
class Sequences:
    """Sequences of equal length and their classes: a step of each is what a network receives at once.

    Attributes:
        values: ``[n, T, F]``: float32 currents; or uint8, which are spikes (how many in a step) where ``full_scale`` is 1, else currents.
        labels: ``[n]`` uint8 or wider, classes from 0.
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
        if self.labels.shape != (len(self.values),) or not np.issubdtype(self.labels.dtype, np.integer):
            raise InputError(
                f"labels are {self.labels.dtype} {list(self.labels.shape)} for {len(self.values)} sequences: give one integer a sequence"
            )
        if not 1 <= self.full_scale <= 255 or (self.values.dtype == np.float32 and self.full_scale != 1):
            raise InputError(f"full_scale is {self.full_scale} for {self.values.dtype}: choose 1, or for uint8 up to 255")
        if self.num_groups < 1 or self.values.shape[2] % self.num_groups:
            raise InputError(f"num_groups is {self.num_groups} for {self.values.shape[2]} features: choose a divisor of them")
        if self.values.dtype == np.float32 and not np.isfinite(self.values).all():
            raise InputError("values contain NaN or infinity: clean the data")
        numbers = np.arange(len(self.labels)) if self.numbers is None else self.numbers
        if numbers.shape != self.labels.shape:
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
        num_classes: number of classes.
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
    def title(self) -> str:
        """The name to print beside a result: with the note, if there is one."""
        return f"{self.name} ({self.note})" if self.note else self.name

    def __post_init__(self):
        if len(self.classes) != self.num_classes:
            raise InputError(f"{self.name} has {len(self.classes)} names for {self.num_classes} classes: give one a class")
        for name, part in (("training", self.train), ("validation", self.validation), ("test", self.test)):
            if not len(part):
                raise InputError(f"the {name} part of {self.name} is empty: give at least one sample")
            if part.labels.min() < 0 or part.labels.max() >= self.num_classes:
                raise InputError(
                    f"the {name} part of {self.name} has labels {part.labels.min()}..{part.labels.max()} for {self.num_classes} classes"
                )
            if part.shape != self.train.shape:
                raise InputError(f"the {name} images of {self.name} are {part.shape}, the training images {self.train.shape}")
            ours, theirs = (getattr(each, "num_steps", None) for each in (self.train, part))
            if ours != theirs:
                raise InputError(f"the {name} sequences of {self.name} have {theirs} steps, the training sequences {ours}")
