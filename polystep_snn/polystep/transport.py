r"""From costs to transport weights: how much of a particle each vertex gets.

Costs are ``[V, ...]``: vertices first, particles behind. Weights have the same shape and sum to 1 over the vertices::

    Softmax    P = argmin_P <P, C> - eps * H(P),   each particle's weights sum to 1:   P = softmax(-C / eps)
    Sinkhorn   the same, and every vertex receives the same mass from all particles together
    Greedy     the limit eps -> 0 of softmax: all mass on the cheapest vertex, shared where several are equally cheap

Source: arXiv 2605.01928, section 3; Cuturi 2013 (entropic transport); Peyré and Cuturi 2019, section 4.4 (log domain).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.schedule import Scheduled, at


class Transport(Protocol):
    """A rule that turns costs into weights. ``eps`` may be a schedule; its value in a step comes as an argument."""

    @property
    def eps(self) -> Scheduled:
        """Entropic regularisation, or its schedule."""
        ...

    def __call__(self, cost: Tensor, eps: Tensor | float) -> Tensor:
        """Weights ``[V, ...]`` for costs ``[V, ...]`` at the entropic regularisation ``eps``."""
        ...


def _check_eps(eps: Scheduled) -> None:
    # Below 1e-30 a float32 is as good as 0.
    if not all(1e-30 <= at(eps, progress) < math.inf for progress in (0.0, 1.0)):
        raise InputError(f"eps is {eps}, but an entropic regularisation is a positive number: choose Greedy() for the limit 0")


@dataclass(frozen=True)
class Softmax:
    """One-sided entropic transport.

    Attributes:
        eps: entropic regularisation, in the unit of the costs; may be a schedule.

    Raises:
        InputError: ``eps`` is not a positive number.
    """

    eps: Scheduled = 1.0

    def __post_init__(self):
        _check_eps(self.eps)

    def __call__(self, cost: Tensor, eps: Tensor | float) -> Tensor:
        # The cheapest vertex is subtracted before the division: exact for costs with a large common offset.
        return torch.softmax((cost.amin(0, keepdim=True) - cost) / eps, 0)


@dataclass(frozen=True)
class Sinkhorn:
    """Two-sided entropic transport with uniform marginals, iterated in the log domain.

    Attributes:
        eps: entropic regularisation, in the unit of the costs.
        max_iterations: alternating projections at most.
        tolerance: stop when no vertex's mass is further than this from uniform, relative to it. 0 iterates to the end.
    """

    eps: Scheduled = 1.0
    max_iterations: int = 100
    tolerance: float = 1e-6

    def __post_init__(self):
        _check_eps(self.eps)

    def __call__(self, cost: Tensor, eps: Tensor | float) -> Tensor:
        num_vertices = cost.shape[0]
        # [V, particles]. A common offset of a particle's costs changes nothing in its weights.
        log_kernel = ((cost.amin(0, keepdim=True) - cost) / eps).reshape(num_vertices, -1)
        log_mass = math.log(log_kernel.shape[1] / num_vertices)
        v = log_kernel.new_zeros(num_vertices, 1)
        u = -torch.logsumexp(log_kernel, 0, keepdim=True)
        for _ in range(self.max_iterations):
            received = torch.logsumexp(log_kernel + u, 1, keepdim=True)
            if self.tolerance > 0 and (v + received - log_mass).expm1().abs().max() <= self.tolerance:
                break
            v = log_mass - received
            u = -torch.logsumexp(log_kernel + v, 0, keepdim=True)
        # u was computed last: every particle's weights sum to 1 exactly, the vertices' masses to the tolerance.
        return torch.exp(log_kernel + u + v).reshape(cost.shape)


@dataclass(frozen=True)
class Greedy:
    """All mass on the cheapest vertex; ``eps`` is not used."""

    eps: Scheduled = 0.0

    def __call__(self, cost: Tensor, eps: Tensor | float) -> Tensor:
        cheapest = (cost == cost.amin(0, keepdim=True)).to(cost.dtype)
        return cheapest / cheapest.sum(0, keepdim=True)
