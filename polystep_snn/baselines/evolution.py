r"""Evolution strategies to compare with, each an ask/tell optimizer; ``polystep.ask_tell.search`` runs any of them under one budget.

    OpenAIES    mean -= lr / (n sigma) sum_i u_i eps_i             Gaussian, in antithetic pairs, centred ranks u_i
    SPSA        mean -= a_k (f+ - f-) / (2 c_k) delta              one pair of random signs, gains of Spall
    EGGROLL     as OpenAIES, matrices moved by A B^T / sqrt(r)     low rank, in antithetic pairs
    CMAES       the covariance adapts                              pycma

``objective.py`` makes a module's parameters the vector that they search.

Sources: Salimans et al. 2017 (arXiv 1703.03864); Spall 1992 and 1998; Sarkar et al. 2025 (arXiv 2511.16652); Hansen and Ostermeier
2001, through ``cma``.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.ask_tell import AskTell


def _positive(**settings: float) -> None:
    for name, value in settings.items():
        if not 0.0 < value < math.inf:
            raise InputError(f"{name} is {value:g}: choose a positive number")


def _even(popsize: int) -> int:
    if popsize < 2 or popsize % 2:
        raise InputError(f"popsize is {popsize}: candidates come in pairs, choose an even number of at least 2")
    return popsize


def centred_ranks(costs: Tensor) -> Tensor:
    """Ranks ``[n]`` from -0.5 (cheapest) to 0.5; equal costs share their mean rank."""
    below = (costs[:, None] > costs).sum(1)
    level = (costs[:, None] == costs).sum(1)
    return (below + (level - 1) / 2) / max(len(costs) - 1, 1) - 0.5


class OpenAIES(AskTell):
    """Evolution strategy with antithetic Gaussian noise and rank shaping (Salimans et al. 2017, algorithm 1).

    Args:
        x0: ``[dim]``.
        sigma: standard deviation of the noise, in the unit of ``x0``.
        lr: learning rate.
        popsize: candidates of a generation, even.
        seed: decides every random number.
    """

    def __init__(self, x0: Tensor, sigma: float = 0.02, lr: float = 0.01, popsize: int = 32, seed: int = 0):
        super().__init__(x0, seed)
        _positive(sigma=sigma, lr=lr)
        self.sigma, self.lr, self.popsize = sigma, lr, _even(popsize)
        self._noise = self.mean[None]

    def _ask(self) -> Tensor:
        half = self._draw(self.popsize // 2)
        self._noise = torch.cat([half, -half])
        return self.mean + self.sigma * self._noise

    def _draw(self, count: int) -> Tensor:
        """Noise ``[count, dim]`` of unit variance."""
        return self._normal(count, len(self.mean))

    def _tell(self, candidates: Tensor, costs: Tensor) -> None:
        ranks = centred_ranks(costs).to(self.mean.dtype)
        self.mean = self.mean - self.lr / (self.popsize * self.sigma) * (ranks @ self._noise)


class EGGROLL(OpenAIES):
    """The same with noise of low rank: matrices move by ``A B^T / sqrt(r)``, vectors by Gaussian noise.

    Args:
        x0: ``[dim]``, all parameters one after the other.
        shapes: of these parameters.
        rank: r.
        sigma, lr, popsize, seed: as of ``OpenAIES``.
    """

    def __init__(
        self,
        x0: Tensor,
        shapes: Sequence[Sequence[int]],
        rank: int = 1,
        sigma: float = 0.02,
        lr: float = 0.01,
        popsize: int = 32,
        seed: int = 0,
    ):
        super().__init__(x0, sigma, lr, popsize, seed)
        _positive(rank=rank)
        if sum(math.prod(shape) for shape in shapes) != len(x0):
            raise InputError(f"shapes {[list(s) for s in shapes]} do not add up to {len(x0)} numbers: give one shape a parameter")
        self.shapes, self.rank = [tuple(shape) for shape in shapes], rank

    def _draw(self, count: int) -> Tensor:
        noise = []
        for shape in self.shapes:
            numel = math.prod(shape)
            if len(shape) < 2:
                noise.append(self._normal(count, numel))
                continue
            a, b = self._normal(count, shape[0], self.rank), self._normal(count, numel // shape[0], self.rank)
            noise.append((a @ b.transpose(1, 2) / math.sqrt(self.rank)).reshape(count, numel))
        return torch.cat(noise, 1)


class SPSA(AskTell):
    """Simultaneous perturbation with Spall's gains ``a_k = a / (A + k)^0.602`` and ``c_k = c / k^0.101``, k from 1.

    Args:
        x0: ``[dim]``.
        a: first gain of the step.
        c: first size of the perturbation, in the unit of ``x0``.
        stability: A, about a tenth of the generations that are planned.
        seed: decides every random number.
    """

    popsize = 2

    def __init__(self, x0: Tensor, a: float = 0.1, c: float = 0.1, stability: float = 100.0, seed: int = 0):
        super().__init__(x0, seed)
        _positive(a=a, c=c)
        if not 0.0 <= stability < math.inf:
            raise InputError(f"stability is {stability:g}: choose 0 or more")
        self.a, self.c, self.stability = a, c, stability
        self._generation = 0
        self._signs = torch.ones_like(self.mean)

    def _ask(self) -> Tensor:
        self._generation += 1
        signs = 1.0 - 2.0 * torch.randint(2, self.mean.shape, generator=self.generator)
        self._signs = self.c / self._generation**0.101 * signs.to(self.mean)
        return torch.stack([self.mean + self._signs, self.mean - self._signs])

    def _tell(self, candidates: Tensor, costs: Tensor) -> None:
        gain = self.a / (self.stability + self._generation) ** 0.602
        slope = (costs[0] - costs[1]).to(self.mean.dtype) / 2
        self.mean = self.mean - gain * slope / self._signs


class CMAES(AskTell):
    """CMA-ES of pycma. The covariance is diagonal from 1,000 dimensions on, where a full one takes too much memory and time.

    When pycma's own criteria say that it has converged, it begins again at the best candidate with the same popsize.

    Args:
        x0: ``[dim]``, at least two.
        sigma: first standard deviation, in the unit of ``x0``.
        popsize: candidates of a generation; None for ``4 + 3 ln(dim)``.
        diagonal: None to choose by the dimension.
        seed: decides every random number.

    Raises:
        InputError: ``cma`` is not installed, or one dimension only.
    """

    def __init__(self, x0: Tensor, sigma: float = 0.5, popsize: int | None = None, diagonal: bool | None = None, seed: int = 0):
        super().__init__(x0, seed)
        _positive(sigma=sigma)
        if len(x0) < 2:
            raise InputError("CMA-ES needs at least two dimensions: choose another method")
        try:
            import cma
        except ImportError:
            raise InputError("CMA-ES needs pycma, which is not installed: pip install cma") from None
        self._make = cma.CMAEvolutionStrategy
        self._sigma, self._seed = sigma, seed
        self._options = {"verbose": -9, "CMA_diagonal": len(x0) >= 1000 if diagonal is None else diagonal}
        if popsize is not None:
            self._options["popsize"] = popsize
        self._solutions: list[Any] = []
        self._begin()
        self.popsize = int(self._es.popsize)

    def _begin(self) -> None:
        # A generator of its own: pycma would seed numpy's global one.
        own = {"seed": math.nan, "randn": np.random.RandomState(self._seed).randn}
        self._es = self._make(self.best.double().tolist(), self._sigma, self._options | own)
        self._seed += 1

    def _ask(self) -> Tensor:
        if self._es.stop():
            self._begin()
        self._solutions = self._es.ask()
        return torch.stack([torch.as_tensor(s) for s in self._solutions]).to(self.mean)

    def _tell(self, candidates: Tensor, costs: Tensor) -> None:
        self._es.tell(self._solutions, costs.tolist())
        self.mean = torch.as_tensor(self._es.result.xfavorite).to(self.mean)
