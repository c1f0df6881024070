"""Parts that are missing are split off the training part: by seed, every class with its share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from polystep_snn.datasets.folds import stratified_split
from polystep_snn.errors import InputError

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
# Which samples are split off does not depend on a run's seed.
_SEED = 0
_LEAST = 3


class Taken(NamedTuple):
    """Where a part comes from: a stored part, and which of its samples; None for all."""

    stored: str
    indices: np.ndarray | None

    def of(self, array: np.ndarray) -> np.ndarray:
        """These samples of the stored part's array."""
        return array if self.indices is None else array[self.indices]


class Split(NamedTuple):
    """Three parts, and what must be said of them beside every result."""

    train: Taken
    validation: Taken
    test: Taken
    note: str


def split_off(stored: Sequence[str], labels: np.ndarray, other: bool = False, validation_share: float = VALIDATION_SHARE) -> Split:
    """The three parts of what is stored.

    Args:
        stored: "train", and "val" and "test" where they are.
        labels: of the first stored part: classes ``[n]``, or real targets ``[n, D]``, which are dealt at random.
        other: nothing is learned from these samples, so nothing is split off: the test part, or else all, serves for every part.
        validation_share: of every class of the training part, where no "val" is stored.

    Raises:
        InputError: too few samples of a class; a share of its own where "val" is stored.
    """
    if other:
        whole = Taken("test" if "test" in stored else stored[0], None)
        return Split(whole, whole, whole, "")
    if "val" in stored and validation_share != VALIDATION_SHARE:
        raise InputError(f"validation_share is {validation_share:g}, but the data has a validation part of its own: leave it out")
    rest, said = np.arange(len(labels)), []
    taken = {"train": Taken("train", None)}
    for part, share, name in (("test", TEST_SHARE, "test"), ("val", validation_share, "validation")):
        if part in stored:
            taken[part] = Taken(part, None)
            continue
        if len(rest) < _LEAST:
            raise InputError(f"there are {len(labels)} training samples, too few to split a {name} part off: add samples")
        kept, off = _in_two(labels[rest], share)
        taken[part] = Taken("train", rest[off])
        rest = rest[kept]
        said.append(f"{100 * share:g}% split off as {name} part")
    if len(rest) < len(labels):
        taken["train"] = Taken("train", rest)
    return Split(taken["train"], taken["val"], taken["test"], ", ".join(said))


def _in_two(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    if labels.ndim == 1:
        return stratified_split(labels, share, _SEED)
    order = np.random.default_rng(_SEED).permutation(len(labels))
    count = max(1, round(share * len(labels)))
    return np.sort(order[count:]), np.sort(order[:count])
