"""From numbers of any range to those that networks take, measured on the training part.

whole      to [0, 1], by one smallest and one largest value for all: pixels of images, whole numbers of 8 bits
feature    to [0, 1], by a smallest and a largest value for each feature: columns of tables
spread     to mean 0 and standard deviation 1, for each feature: channels of sequences
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from polystep_snn.errors import InputError

# Samples that are scaled at a time, so that no copy in float64 is as large as the data.
_CHUNK = 1024


@dataclass(frozen=True)
class Scaling:
    """``(x - low) / (high - low)``; features that never change become 0.

    Attributes:
        low, high: what becomes 0, and what becomes 1: one number each for all values, or one for each of the F features.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def measured(cls, x: np.ndarray, where: str, by_feature: bool) -> "Scaling":
        """On ``x: [n, …]``; its last axis are the features, if they are scaled one by one. ``where`` is its name, for messages.

        Raises:
            InputError: NaN or infinity; values that are all the same.
        """
        check_finite(x, where)
        axes = tuple(range(x.ndim - 1)) if by_feature else None
        low, high = (np.atleast_1d(np.asarray(f(x, axis=axes), np.float64)) for f in (np.min, np.max))
        if x.dtype == np.uint8:
            low = np.zeros_like(low)  # 0 is dark, whatever the darkest sample is
        if (low == high).all():
            raise InputError(f"{where} is {low[0]:g} throughout: give samples that differ")
        if not np.isfinite(high - low).all():
            raise InputError(f"{where} reaches from {low.min():g} to {high.max():g}: scale it first")
        return cls(tuple(low.tolist()), tuple(high.tolist()))

    @classmethod
    def of_spread(cls, x: np.ndarray, where: str) -> "Scaling":
        """On ``x: [n, T, F]``: a feature's mean becomes 0, one standard deviation above it 1. ``where`` is its name, for messages.

        Raises:
            InputError: NaN or infinity; values that are all the same.
        """
        check_finite(x, where)
        axes = tuple(range(x.ndim - 1))
        mean, spread = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
        if not spread.any():
            raise InputError(f"{where} is {mean[0]:g} throughout: give samples that differ")
        return cls(tuple(mean.tolist()), tuple((mean + spread).tolist()))

    def apply(self, x: np.ndarray, where: str, clip: bool) -> np.ndarray:
        """Float32 in the shape of ``x``.

        Args:
            x: ``[n, …]``.
            where: its name, for messages.
            clip: whether values beyond the training part's become 0 or 1; else they stay beyond.

        Raises:
            InputError: NaN or infinity; another number of features than was measured.
        """
        check_finite(x, where)
        low, high = np.array(self.low), np.array(self.high)
        if len(low) not in (1, x.shape[-1]):
            raise InputError(f"{where} has {x.shape[-1]} features, the training part {len(low)}: make them alike")
        span = np.where(high > low, high - low, np.inf)
        scaled = np.empty(x.shape, np.float32)
        for start in range(0, len(x), _CHUNK):
            part = (x[start : start + _CHUNK] - low) / span
            scaled[start : start + _CHUNK] = np.clip(part, 0, 1) if clip else part
        return scaled

    def beyond(self, x: np.ndarray) -> int:
        """How many values of ``x: [n, …]`` are outside what was measured."""
        return int(((x < np.array(self.low)) | (x > np.array(self.high))).sum())

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"low": list(self.low), "high": list(self.high)}

    @classmethod
    def from_json(cls, value: Any) -> "Scaling":
        """What ``to_json`` wrote.

        Raises:
            InputError: anything else.
        """
        try:
            low, high = (tuple(float(v) for v in value[name]) for name in ("low", "high"))
            if not low or len(low) != len(high) or not np.isfinite([*low, *high]).all():
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InputError("what the run says of the range of its data is damaged: restore data.json, or start a new run") from None
        return cls(low, high)


def check_finite(x: np.ndarray, where: str) -> None:
    """InputError for NaN or infinity, with the first sample that holds it."""
    if x.dtype.kind != "f":
        return
    for start in range(0, len(x), _CHUNK):
        part = x[start : start + _CHUNK]
        if not np.isfinite(part).all():
            first = start + int(np.flatnonzero(~np.isfinite(part).reshape(len(part), -1).all(1))[0])
            raise InputError(f"{where} contains NaN or infinity, first in sample {first}: clean the data")
