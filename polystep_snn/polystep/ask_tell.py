r"""Ask/tell: PolyStep, and whatever else proposes candidates, on a function of a vector.

    optimizer = PolyStepES(x0, radius=0.5)
    while ...:
        candidates = optimizer.ask()            # [popsize, dim]
        optimizer.tell(f(candidates))           # [popsize], lower is better
    optimizer.mean                              # [dim]

as in pycma and evosax. ``minimize`` is this loop, with a budget.

Here one particle has all coordinates: an orthoplex of 2 dim vertices (or another polytope), turned at random each time. Costs are
taken relative to their spread, so that nothing depends on the function's scale. The radius grows while steps agree in direction, and
shrinks once they turn back: step-size adaptation by the path, as in CMA-ES, with a memory of one step. The polytope is stretched along the
coordinates in which its cheap vertices reach far: adaptation of a diagonal covariance.

Source: arXiv 2605.01928 (the step); Hansen and Ostermeier 2001, section 4 (step-size adaptation by the path); Ros and Hansen 2008
(diagonal covariance).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.polystep.polytope import random_rotation, vertices
from polystep_snn.polystep.relative import Relative
from polystep_snn.polystep.schedule import at
from polystep_snn.polystep.transport import Softmax, Transport

# At rest: the fraction of the radius that it began with. Widest: in first radii, when beginning again.
_AT_REST, _WIDEST = 1e-6, 16
# The logarithm of a coordinate's scale lies between minus this and this.
_FLATTEST = 10.0


class AskTell(ABC):
    """An optimizer that proposes candidates. Keeps the books; subclasses compute, in ``_ask`` and ``_tell``.

    Args:
        x0: ``[dim]``, where to begin; its dtype (floating point) and device are those of all candidates.
        seed: decides every random number.

    Attributes:
        mean: ``[dim]``, the current solution.
        popsize: candidates of a generation.
        best: ``[dim]``, the cheapest candidate so far; ``x0`` before the first.
        best_cost: its cost; infinite before the first.
        generator: source of randomness, on the CPU.
    """

    popsize: int

    def __init__(self, x0: Tensor, seed: int = 0):
        if not isinstance(x0, Tensor) or x0.ndim != 1 or not len(x0) or not x0.is_floating_point():
            given = f"{x0.dtype} {list(x0.shape)}" if isinstance(x0, Tensor) else type(x0).__name__
            raise InputError(f"x0 is {given}: give a floating-point vector [dim]")
        if not x0.isfinite().all():
            raise InputError("x0 contains NaN or infinity: begin at a finite point")
        self.mean = x0.detach().clone()
        self.best = self.mean.clone()
        self.best_cost = math.inf
        self.generator = torch.Generator().manual_seed(seed)
        self._asked: Tensor | None = None

    @torch.no_grad()
    def ask(self) -> Tensor:
        """Candidates ``[popsize, dim]``.

        Raises:
            InputError: the previous ones have not been answered.
        """
        if self._asked is not None:
            raise InputError(f"ask() was called twice: tell() the costs of the first {self.popsize} candidates before")
        self._asked = self._ask()
        return self._asked.clone()

    @torch.no_grad()
    def tell(self, costs: Tensor) -> None:
        """Costs ``[popsize]`` of the candidates, in the order of ``ask``; lower is better.

        Raises:
            InputError: nothing was asked, another shape, NaN or infinity.
        """
        if self._asked is None:
            raise InputError("tell() was called before ask(): there are no candidates that these costs could belong to")
        costs = torch.as_tensor(costs, device=self.mean.device)
        if costs.shape != (self.popsize,):
            raise InputError(f"the costs have shape {list(costs.shape)}: give [{self.popsize}], one a candidate")
        costs = costs.to(torch.promote_types(costs.dtype, self.mean.dtype))
        if not costs.isfinite().all():
            bad = int((~costs.isfinite()).sum())
            raise InputError(f"{bad} of {self.popsize} costs are NaN or infinite: give a large finite cost to what cannot be evaluated")
        candidates, self._asked = self._asked, None
        least = int(costs.argmin())
        if costs[least] < self.best_cost:
            self.best, self.best_cost = candidates[least].clone(), float(costs[least])
        self._tell(candidates, costs)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=self.mean.dtype).to(self.mean.device)

    @abstractmethod
    def _ask(self) -> Tensor:
        """Candidates ``[popsize, dim]``."""

    @abstractmethod
    def _tell(self, candidates: Tensor, costs: Tensor) -> None:
        """Learn from finite costs ``[popsize]``: move ``mean``."""


class Minimum(NamedTuple):
    """What a search found.

    Attributes:
        x: ``[dim]``, where it stands at the end.
        best: ``[dim]``, the cheapest candidate that was evaluated.
        best_cost: its cost.
        evaluations: candidates that were evaluated.
    """

    x: Tensor
    best: Tensor
    best_cost: float
    evaluations: int


def search(optimizer: AskTell, f: Callable[[Tensor], Tensor], budget: Budget) -> Minimum:
    """Ask and tell until the budget does not afford another generation.

    Args:
        optimizer: any ask/tell optimizer.
        f: from candidates ``[popsize, dim]`` to costs ``[popsize]``.
        budget: what is counted; may be shared between searches.

    Raises:
        InputError: a budget below one generation, or costs that ``tell`` refuses.
    """
    before = budget.spent
    while budget.affords(optimizer.popsize):
        budget.spend(optimizer.popsize)
        optimizer.tell(f(optimizer.ask()))
    return Minimum(optimizer.mean.clone(), optimizer.best, optimizer.best_cost, budget.spent - before)


class PolyStepES(AskTell):
    """PolyStep on a vector.

    A generation is one polytope around ``mean``, with the vertices ``mean + r s u_v`` (``|u_v| = 1``; ``s``, a number a coordinate). With
    the transport weights ``P``, the barycenter ``d = sum_v P_v u_v`` and that of the generation before, ``d'``::

        mean <- mean + r s d
        r    <- r exp(adaptation cos(d, d'))
        s_i  <- s_i exp(covariance / 2 (dim sum_v P_v u_vi^2 - 1))       the difference at most 1; the geometric mean of s stays 1

    Where vertices that reach far along a coordinate are costly on both sides, the polytope becomes flat.

    On a plateau, where all costs are equal, r grows, to 16 times the first radius. Once it has fallen to a millionth, the search has
    come to rest: it begins again at the best candidate with twice the radius that it began with before (beyond 16 times the first
    radius, with that one), which may lead to another valley. ``mean`` waits at that candidate until the search has found a better one.

    Args:
        x0: ``[dim]``.
        radius: distance of the first candidates from ``x0``: about as far as the minimum may be.
        transport: from costs to weights.
        polytope: "orthoplex" (popsize 2 dim), "simplex" (dim + 1) or "cube" (2^dim).
        adaptation: how fast the radius follows; 0 keeps it, and never begins again.
        covariance: how fast the coordinates' scales follow; 0 keeps them equal.
        seed: decides every random number.

    Attributes:
        radius: r, now.
        scale: s, now: ``[dim]``, the square roots of the diagonal covariance, but for their size.
    """

    def __init__(
        self,
        x0: Tensor,
        radius: float = 0.5,
        transport: Transport = Relative(Softmax(eps=0.3)),
        polytope: str = "orthoplex",
        adaptation: float = 0.3,
        covariance: float = 0.2,
        seed: int = 0,
    ):
        super().__init__(x0, seed)
        if not (0.0 < radius < math.inf and 0.0 <= adaptation < math.inf):
            raise InputError(f"radius is {radius:g} and adaptation {adaptation:g}: choose a positive radius, and 0 or more")
        if not 0.0 <= covariance <= 1.0:
            raise InputError(f"covariance is {covariance:g}: choose a rate from 0 to 1")
        self._points = vertices(polytope, len(x0)).to(self.mean)
        self.popsize = len(self._points)
        self.transport = transport
        self.radius = radius
        self.scale = torch.ones_like(self.mean)
        self._adaptation, self._covariance = adaptation, covariance
        self._first_radius = self._begun_with = radius
        self._before = torch.zeros_like(self.mean)
        self._turned = self._points
        self._center = self.mean
        self._cost_at_rest = math.inf

    def _ask(self) -> Tensor:
        self._turned = self._points @ random_rotation(len(self.mean), self.generator).to(self.mean)
        return self._center + self.radius * self.scale * self._turned

    def _tell(self, candidates: Tensor, costs: Tensor) -> None:
        weights = self.transport(costs[:, None], at(self.transport.eps, 0.0)).to(self.mean.dtype)
        displacement = (weights * self._turned).sum(0)
        self._center = self._center + self.radius * self.scale * displacement
        agreement = torch.nn.functional.cosine_similarity(displacement, self._before, dim=0, eps=1e-30)
        if displacement.any():
            self.radius *= math.exp(self._adaptation * float(agreement))
        elif self.radius < _WIDEST * self._first_radius:
            # A plateau: nothing at this distance tells candidates apart, so look further.
            self.radius *= math.exp(self._adaptation)
        self._before = displacement
        # Over all vertices of a regular polytope the mean square of a coordinate is 1 / dim.
        reach = (len(self.mean) * (weights * self._turned.square()).sum(0) - 1).clamp(max=1)
        log_scale = self.scale.log() + self._covariance / 2 * reach
        # Along a coordinate that means nothing it would grow without end.
        self.scale = (log_scale - log_scale.mean()).clamp(-_FLATTEST, _FLATTEST).exp()
        if self.radius < _AT_REST * self._begun_with:
            again = 2 * self._begun_with
            self._begun_with = self.radius = again if again <= _WIDEST * self._first_radius else self._first_radius
            self._center, self._cost_at_rest = self.best.clone(), self.best_cost
            self._before, self.scale = torch.zeros_like(self.mean), torch.ones_like(self.mean)
            self.mean = self._center
        elif self.best_cost < self._cost_at_rest:
            self.mean = self._center


def minimize(
    f: Callable[[Tensor], Tensor],
    x0: Tensor,
    budget: int | Budget,
    radius: float = 0.5,
    transport: Transport = Relative(Softmax(eps=0.3)),
    polytope: str = "orthoplex",
    adaptation: float = 0.3,
    covariance: float = 0.2,
    seed: int = 0,
) -> Minimum:
    """Minimize a function of a vector with ``PolyStepES``, whose settings these are.

    Args:
        f: from candidates ``[popsize, dim]`` to costs ``[popsize]``; lower is better.
        x0: ``[dim]``, floating point.
        budget: evaluations in all, or a counter that is shared.
        radius, transport, polytope, adaptation, covariance, seed: as of ``PolyStepES``.

    Raises:
        InputError: a budget below one generation (2 dim evaluations for an orthoplex), or costs of the wrong shape, NaN or infinite.
    """
    optimizer = PolyStepES(x0, radius, transport, polytope, adaptation, covariance, seed)
    return search(optimizer, f, budget if isinstance(budget, Budget) else Budget(budget))
