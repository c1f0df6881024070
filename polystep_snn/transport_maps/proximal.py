"""The point at which a potential has a given gradient: the c-transform as a proximal fixed point.

With g = u - |.|^2 / 2 the c-transform of a potential at z is ``min_y |z - y|^2 / 2 + g(y)``. Its proximal point is the fixed point of::

    y <- y - a (y - z + grad g(y))  =  y - a (grad u(y) - z)

a = 1 / L is a step that cannot overshoot, L the largest curvature of u from a power iteration (Park et al. 2026, "Implicit neural optimal
transport via fixed-point optimization", arXiv 2605.10792). Every point then lengthens its own step to what its last two residuals say about
the curvature along its path (Barzilai and Borwein 1988, doi 10.1093/imanum/8.1.141). L is known from some points alone, and long steps are
not monotone: a point whose residual grows tenfold goes back to its best one and halves the step that it falls back to.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.transport_maps.convex import ConvexNetwork

_GROWTH = 10.0
# Points that are done are left out once they are this many.
_DONE = 0.2


class ConvergenceError(RuntimeError):
    """An iteration that has not reached its tolerance."""


class Solution(NamedTuple):
    """Proximal points.

    Attributes:
        points: ``[B, d]``.
        residual: ``[B]``, the root mean square over coordinates of ``grad u(y) - z``.
        iterations: ``[B]`` int64, for each point.
        converged: ``[B]`` bool.
    """

    points: Tensor
    residual: Tensor
    iterations: Tensor
    converged: Tensor


@torch.no_grad()
def solve(
    network: ConvexNetwork, z: Tensor, labels: Tensor, start: Tensor, curvature: float, tolerance: float, max_iterations: int
) -> Solution:
    """The points y with ``grad u(y) = z``. Nothing of the iteration can be differentiated, and its memory does not grow.

    Args:
        network: u.
        z: ``[B, d]``.
        labels: ``[B]`` int64.
        start: ``[B, d]``, from which the iteration begins.
        curvature: L.
        tolerance: of the residual.
        max_iterations: whatever the residual is by then, ``converged`` says it.
    """
    found = Solution(start.clone(), z.new_full((len(z),), torch.inf), torch.zeros(len(z), dtype=torch.int64), torch.zeros(len(z)).bool())
    active, fallback = torch.arange(len(z)), z.new_full((len(z), 1), 1 / curvature)
    y, last_y, last_r, step = start, start, torch.zeros_like(z), fallback
    first = torch.ones(len(z), 1, dtype=torch.bool)
    for iteration in range(max_iterations + 1):
        r = network.gradient(y, labels[active]) - z[active]
        residual = r.square().mean(1).sqrt()
        better = residual < found.residual[active]
        places = active[better]
        found.points[places], found.residual[places] = y[better], residual[better]
        found.iterations[active] = iteration
        left = found.residual[active] > tolerance
        if iteration == max_iterations or not left.any():
            break
        if left.float().mean() < 1 - _DONE:
            active, fallback, first = active[left], fallback[left], first[left]
            y, r, last_y, last_r, residual = y[left], r[left], last_y[left], last_r[left], residual[left]

        moved, changed = y - last_y, r - last_r
        along = (moved * changed).sum(1, keepdim=True) / changed.square().sum(1, keepdim=True).clamp_min(1e-30)
        # Exactly computed, it is between 1 / L and 1 / floor.
        step = torch.where(first | (along <= 0), fallback, along.clamp_max(1 / network.floor))
        last_y, last_r = y, r
        y = y - step * r
        first = ~(residual <= _GROWTH * found.residual[active])[:, None]  # not a number: as if it had grown
        if first.any():
            fallback = torch.where(first, fallback / 2, fallback)
            y = torch.where(first, found.points[active], y)
    return found._replace(converged=found.residual <= tolerance)
