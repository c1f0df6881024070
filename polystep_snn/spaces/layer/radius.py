"""The radius that suits a module, found from what is measured.

Too small a radius finds the flat parts of staircases and the noise of jumps, too large a one the curvature: in both cases learned credit
explains less of what is measured. So a few radii are tried now and then, and the smallest one is used that explains nearly as much as the
best. In a trial the prediction alone moves the weights: what a bad radius measures is noise.
"""

import torch
from torch import Tensor

from polystep_snn.spaces.layer.credit import Share

# Relative to the layers' spread.
RADII = (0.025, 0.05, 0.1, 0.2)
# Where nothing has been explained yet, and where there is no credit.
_FIRST = 2
# Steps before another radius is tried, and how often it is: in the next steps, and from then on.
_BEGIN, _TRIALS, _EARLY, _LATE = 20, 120, 0.25, 0.05
_KEEP = 0.95
# A smaller radius is preferred where it explains nearly as much: it changes less of what lies behind.
_NEARLY = 0.85


class RadiusChoice:
    """Radii, what each leaves unexplained, and how much of a prediction is believed at each.

    Attributes:
        variances: ``[radii, 2]``, of what was measured and of what was left of it; 0 (nothing explained) before the first time.
    """

    def __init__(self, radii: tuple[float, ...], like: Tensor):
        self.radii = radii
        self.shares = [Share(like) for _ in radii]
        self.variances = like.new_zeros(len(radii), 2)
        self.steps = 0

    def choose(self, generator: torch.Generator) -> tuple[int, int]:
        """The places of the radius for this step, and of the best one: where they differ the step is a trial."""
        self.steps += 1
        best = self._best()
        if len(self.radii) == 1 or self.steps <= _BEGIN:
            return best, best
        trial, which = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        return (int(which * len(self.radii)) if trial < (_EARLY if self.steps <= _TRIALS else _LATE) else best), best

    def _best(self) -> int:
        explained = (1 - self.variances[:, 1] / self.variances[:, 0]).nan_to_num(0.0).clamp(min=0)
        if self.steps <= _BEGIN or not bool(explained.any()):
            return min(_FIRST, len(self.radii) - 1)
        return int((explained >= _NEARLY * explained.max()).nonzero().min())

    def unexplained(self, place: int) -> float:
        """The share of what was measured at a radius that predictions left over; 1 before the first time."""
        measured, left = self.variances[place].tolist()
        return min(1.0, left / measured) if measured > 0 else 1.0

    def learn(self, place: int, measured: Tensor, left: Tensor) -> None:
        """Slopes along the directions as they were measured, and what was left of them."""
        now = torch.stack([measured.var(), left.var()])
        self.variances[place] = _KEEP * self.variances[place] + (1 - _KEEP) * now

    def state(self) -> dict[str, Tensor]:
        shares = torch.stack([share.both for share in self.shares])
        return {"variances": self.variances, "shares": shares, "steps": torch.tensor(self.steps)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.variances, self.steps = state["variances"], int(state["steps"])
        for share, both in zip(self.shares, state["shares"], strict=True):
            share.both = both.clone()
