"""What every data set is."""

from dataclasses import dataclass

import numpy as np


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
