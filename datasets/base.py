"""What every data set is."""

from dataclasses import dataclass

import numpy as np

from polystep_snn.errors import InputError


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


@dataclass(frozen=True)
class Dataset:
    """Three disjoint parts. ``validation`` chooses, ``test`` is looked at once.

    Attributes:
        name: as in ``load``.
        num_classes: number of classes.
        classes: their names, for figures.
    """

    name: str
    train: Samples
    validation: Samples
    test: Samples
    num_classes: int
    classes: tuple[str, ...]

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
            if part.images.shape[1:] != self.train.images.shape[1:]:
                raise InputError(
                    f"the {name} images of {self.name} are {part.images.shape[1:]}, the training images {self.train.images.shape[1:]}"
                )
