"""Targets of one's own: classes by any name, or real values."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polystep_snn.errors import InputError

_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Classes:
    """Classes, by the names that they have in the data.

    Attributes:
        names: as they are printed; class k is the k-th.
        values: what stands for them in the data: whole numbers, or text.
    """

    names: tuple[str, ...]
    values: tuple[int | str, ...] = field(default=())

    @classmethod
    def of(cls, labels: np.ndarray, where: str) -> "Classes":
        """The classes of the training part's labels ``[n]``; ``where`` is their name, for messages.

        Raises:
            InputError: labels that are no classes, or all the same.
        """
        values = _as_values(labels, where)
        found = np.unique(values)
        if len(found) == 1:
            raise InputError(f"{where} holds one class, {found[0]}: give samples of at least two")
        if len(found) > _MOST_CLASSES:
            raise InputError(f"{where} holds {len(found)} classes, at most {_MOST_CLASSES} are read: for real targets choose --cost mse")
        kept = tuple(value.item() for value in found)
        return cls(tuple(str(value) for value in kept), kept)

    def numbers(self, labels: np.ndarray, where: str) -> np.ndarray:
        """Labels ``[n]`` as class numbers ``[n]`` int64; ``where`` is their name, for messages.

        Raises:
            InputError: a class that the training part does not have.
        """
        values, known = _as_values(labels, where), np.array(self.values)
        if values.dtype.kind != known.dtype.kind:
            raise InputError(f"{where} holds {values[0]}, but classes are called {', '.join(self.names[:5])}: give these")
        at = np.minimum(np.searchsorted(known, values), len(known) - 1)
        strange = np.flatnonzero(known[at] != values)
        if len(strange):
            raise InputError(
                f"{where} has the class {values[strange[0]]}, which the training part has not: add samples of it, or remove it"
            )
        return at.astype(np.int64)


def _as_values(labels: np.ndarray, where: str) -> np.ndarray:
    """``[n]``, int64 or text."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"{where} is {list(labels.shape)}: give one label a sample, such as argmax(1), or choose --cost mse for real targets"
        )
    if labels.dtype.kind in "US":
        return labels.astype(str)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise InputError(f"{where} contains NaN or infinity: remove these samples")
        real = labels[labels != np.floor(labels)]
        if len(real):
            raise InputError(f"{where} holds {real[0]:g}, but classes are whole numbers or text: for real targets choose --cost mse")
    elif labels.dtype.kind not in "iub":
        raise InputError(f"{where} is {labels.dtype}: give whole numbers or text")
    if labels.size and (labels.max() >= 2**62 or labels.min() <= -(2**62)):
        raise InputError(f"{where} holds {labels.max()}: give class numbers that fit into 62 bits")
    return labels.astype(np.int64)


@dataclass(frozen=True)
class TargetScaling:
    """Real targets are learned in units of their spread over the training part: ``(y - mean) / spread``.

    Attributes:
        mean, spread: ``D`` numbers each.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, targets: np.ndarray, where: str) -> "TargetScaling":
        """Measured on targets ``[n]`` or ``[n, D]``; ``where`` is their name, for messages.

        Raises:
            InputError: no numbers, or targets that are all the same.
        """
        values = as_matrix(targets, where)
        spread = values.std(0)
        if not spread.any():
            raise InputError(f"{where} is {values[0, 0]:g} throughout: give targets that differ")
        return cls(tuple(values.mean(0).tolist()), tuple(np.where(spread > 0, spread, 1.0).tolist()))

    def apply(self, targets: np.ndarray, where: str) -> np.ndarray:
        """Targets ``[n, D]`` as float32, in units of the spread; InputError, with the name ``where``, for another number of them."""
        values = as_matrix(targets, where)
        if values.shape[1] != len(self.mean):
            raise InputError(f"{where} has {values.shape[1]} values a sample, the training part {len(self.mean)}: make them alike")
        return ((values - self.mean) / self.spread).astype(np.float32)

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Values ``[n, D]`` back into the units of the data, float64."""
        return values * np.array(self.spread) + np.array(self.mean)


def as_matrix(targets: np.ndarray, where: str) -> np.ndarray:
    """``[n, D]`` float64, finite; InputError for anything else."""
    if targets.dtype.kind not in "iufb" or targets.ndim not in (1, 2) or 0 in targets.shape:
        raise InputError(f"{where} is {targets.dtype} {list(targets.shape)}: give real targets [n] or [n, D]")
    values = targets.reshape(len(targets), -1).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{where} contains NaN or infinity: remove these samples")
    return values


def from_json(value: Any) -> Classes | TargetScaling:
    """What ``to_json`` wrote.

    Raises:
        InputError: anything else.
    """
    try:
        if "classes" in value:
            return Classes(tuple(map(str, value["classes"])), tuple(v if isinstance(v, int) else str(v) for v in value["values"]))
        return TargetScaling(tuple(map(float, value["mean"])), tuple(map(float, value["spread"])))
    except (KeyError, TypeError, ValueError):
        raise InputError("what the run says of its targets is damaged: restore data.json, or start a new run") from None


def to_json(targets: Classes | TargetScaling) -> dict[str, Any]:
    """As JSON can hold it."""
    if isinstance(targets, Classes):
        return {"classes": list(targets.names), "values": list(targets.values)}
    return {"mean": list(targets.mean), "spread": list(targets.spread)}
