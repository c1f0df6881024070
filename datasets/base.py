"""What every data set is."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from polystep_snn.errors import InputError


class Part(Protocol):
    """What the parts of every data set have in common, images and event recordings alike: classes, and the shape of one sample."""

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


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Dataset(Generic[P]):
    """Three disjoint parts. ``validation`` chooses, ``test`` is looked at once.

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
