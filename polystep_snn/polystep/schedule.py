"""Values that change over a run: radii, regularisation, the share of the membrane in the cost.

A schedule is a function of the progress, from 0 at the first step to 1 after the last, so it does not depend on how a run is
cut into epochs, and needs no state in a checkpoint. A plain number is a constant schedule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from polystep_snn.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """From ``start`` to ``end`` while the progress goes from 0 to ``until``; ``end`` afterwards.

    Attributes:
        start, end: values, in the unit of what is scheduled.
        shape: "linear", "cosine" (half a cosine: slow, fast, slow) or "geometric" (constant ratio; both values positive).
        until: progress in (0, 1] at which ``end`` is reached.
    """

    start: float
    end: float
    shape: str = "linear"
    until: float = 1.0

    def __post_init__(self):
        if self.shape not in _SHAPES:
            raise InputError(f"there is no schedule {self.shape!r}: choose one of {', '.join(_SHAPES)}")
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise InputError(f"a schedule from {self.start:g} to {self.end:g} does not exist: both must be finite")
        if self.shape == "geometric" and not (self.start > 0 and self.end > 0):
            raise InputError(f"a geometric schedule from {self.start:g} to {self.end:g} does not exist: both must be positive")
        if not 0.0 < self.until <= 1.0:
            raise InputError(f"until is {self.until:g}: choose a progress in (0, 1]")

    def __call__(self, progress: float) -> float:
        return _SHAPES[self.shape](self.start, self.end, min(max(progress / self.until, 0.0), 1.0))


_SHAPES = {
    "linear": lambda start, end, f: start + (end - start) * f,
    "cosine": lambda start, end, f: end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * f)),
    "geometric": lambda start, end, f: start * (end / start) ** f,
}

Scheduled = float | Schedule
Radius = Scheduled | Sequence[Scheduled]


def at(value: Scheduled, progress: float) -> float:
    """The value of a number or schedule at ``progress``."""
    return value(progress) if isinstance(value, Schedule) else float(value)


def radii_at(radius: Radius, progress: float) -> list[float]:
    """The radii of all shells of vertices at ``progress``."""
    return [at(r, progress) for r in (radius if isinstance(radius, Sequence) else [radius])]
