"""The point at which a potential has a given gradient: the c-transform as a proximal fixed point.

With g = u - |.|^2 / 2 the c-transform of a potential at z is ``min_y |z - y|^2 / 2 + g(y)``. Its proximal point is the fixed point of::

    y <- y - a (y - z + grad g(y))  =  y - a (grad u(y) - z)

a = 1 / L is a step that cannot overshoot, L the largest curvature of u from a power iteration (Park et al. 2026, "Implicit neural optimal
transport via fixed-point optimization", arXiv 2605.10792). Every point begins with it and then takes the step that its last two residuals
ask for, which is between 1 / L and 1 / floor (Barzilai and Borwein 1988, doi 10.1093/imanum/8.1.141). Such steps are not monotone: a point
whose residual grows tenfold, or that finds none smaller in ten iterations, goes back to its best one, and its longest step is halved. At
the latest when that is 1 / L every step makes the residual smaller.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.transport_maps.convex import ConvexNetwork

_GROWTH, _PATIENCE = 10.0, 10
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
    active = torch.arange(len(z))
    y, last_y, last_r = start, start, torch.zeros_like(z)
    longest = z.new_full((len(z), 1), 1 / network.floor)
    first, stale = torch.ones(len(z), 1, dtype=torch.bool), torch.zeros(len(z), 1, dtype=torch.int64)
    for iteration in range(max_iterations + 1):
        r = network.gradient(y, labels[active]) - z[active]
        residual = r.square().mean(1).sqrt()
        better = residual < found.residual[active]
        places = active[better]
        found.points[places], found.residual[places] = y[better], residual[better]
        found.iterations[active] = iteration
        stale = torch.where(better[:, None], 0, stale + 1)
        left = found.residual[active] > tolerance
        if iteration == max_iterations or not left.any():
            break
        if left.float().mean() < 1 - _DONE:
            active, longest, first, stale = active[left], longest[left], first[left], stale[left]
            y, r, last_y, last_r, residual = y[left], r[left], last_y[left], last_r[left], residual[left]

        moved, changed = y - last_y, r - last_r
        along = (moved * changed).sum(1, keepdim=True) / changed.square().sum(1, keepdim=True).clamp_min(1e-30)
        step = torch.where(first | (along <= 0), 1 / curvature, along).minimum(longest)
        last_y, last_r = y, r
        y = y - step * r
        # Not a number is as if it had grown.
        first = ~(residual <= _GROWTH * found.residual[active])[:, None] | (stale > _PATIENCE)
        if first.any():
            longest, stale = torch.where(first, longest / 2, longest), torch.where(first, 0, stale)
            y = torch.where(first, found.points[active], y)
    return found._replace(converged=found.residual <= tolerance)
