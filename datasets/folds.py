"""Parts of a labelled set in which every class has its share. Seeded: the same labels, number and seed give the same parts."""

import numpy as np

from polystep_snn.errors import InputError


def stratified_folds(labels: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """``k`` disjoint parts that hold every sample once; of each class, and in all, they hold equally many but for one.

    Args:
        labels: ``[n]``.
        k: number of parts, at least 2.
        seed: of the shuffle.

    Returns:
        The indices of each part, ascending.

    Raises:
        InputError: a class with fewer samples than parts.
    """
    if k < 2:
        raise InputError(f"k is {k}: give at least 2 folds")
    generator = np.random.default_rng(seed)
    fold = np.empty(len(labels), np.int64)
    dealt = 0
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < k:
            raise InputError(f"class {label} has {len(members)} samples for {k} folds: choose fewer folds")
        # Dealt like cards: the next class goes on where this one ended, so that no fold collects all remainders.
        fold[members] = (dealt + np.arange(len(members))) % k
        dealt += len(members)
    return [np.flatnonzero(fold == part) for part in range(k)]


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the larger and of the smaller part, ascending; the smaller holds ``share`` of every class, at least one sample.

    Args:
        labels: ``[n]``.
        share: of each class, between 0 and 1.
        seed: of the shuffle.

    Raises:
        InputError: a share that is not between 0 and 1, or that leaves a class without a sample in the larger part.
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share}: give a number between 0 and 1")
    generator = np.random.default_rng(seed)
    small = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise InputError(
                f"class {label} has {len(members)} samples, too few to set {100 * share:g}% apart: add some, or choose a smaller share"
            )
        small[members[:count]] = True
    return np.flatnonzero(~small), np.flatnonzero(small)
