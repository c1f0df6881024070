"""Pairs of distributions between which the optimal map is known: that of Gaussians, and gradients of random convex functions."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from polystep_snn.transport_maps import bures_matrix


class Pair(Protocol):
    """A source that can be sampled, and the optimal map from it."""

    def source(self, count: int, generator: torch.Generator) -> Tensor:
        """``[count, d]`` float64."""
        ...

    def map(self, x: Tensor) -> Tensor:
        """``[B, d]`` to ``[B, d]``."""
        ...


class Gaussians:
    """Two Gaussians whose axes point anywhere, with variances along them of 1/2 to 2, and means a few tenths apart.

    Args:
        dim: d.
        seed: decides both.
    """

    def __init__(self, dim: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        source, target = (_covariance(dim, generator) for _ in range(2))
        self._factor, self._matrix = torch.linalg.cholesky(source), bures_matrix(source, target)
        self._mean = 0.3 * torch.randn(dim, generator=generator, dtype=torch.float64)

    def source(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, len(self._mean), generator=generator, dtype=torch.float64) @ self._factor.T

    def map(self, x: Tensor) -> Tensor:
        return x @ self._matrix + self._mean


def _covariance(dim: int, generator: torch.Generator) -> Tensor:
    axes, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    return axes * 2 ** (2 * torch.rand(dim, generator=generator, dtype=torch.float64) - 1) @ axes.T


class ConvexGradient:
    """A mixture of four Gaussians, and the gradient of a random convex network, which is an optimal map (Brenier 1991)::

        u(x) = 0.15 |x|^2 + t log sum_k exp((<a_k, x> + <w_k, softplus(4 (A x + b)) / 4> + b_k) / t),    t = 1/2,  w >= 0

    The log-sum-exp pulls mass towards 2 d + 4 places; networks of softplus functions, such as ``PotentialMap``'s, do not contain it.

    Args:
        dim: d.
        seed: decides both.
    """

    _TEMPERATURE, _SHARPNESS, _SLOPE, _WIDTH_OF_MIXTURE = 0.5, 4.0, 2.0, 0.5

    def __init__(self, dim: int, seed: int):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        pieces, width = 2 * dim + 4, 2 * dim
        self._inputs, self._bends = normal(width, dim) / math.sqrt(dim), normal(width)
        self._hidden = torch.rand(pieces, width, generator=generator, dtype=torch.float64) * 2 / width
        self._slopes = self._SLOPE * F.normalize(normal(pieces, dim), dim=1)
        self._heights, self._centres = 0.3 * normal(pieces), 1.5 * normal(4, dim) / math.sqrt(dim)

    def source(self, count: int, generator: torch.Generator) -> Tensor:
        centres = self._centres[torch.randint(len(self._centres), (count,), generator=generator)]
        return centres + self._WIDTH_OF_MIXTURE * torch.randn(centres.shape, generator=generator, dtype=torch.float64)

    def _potential(self, x: Tensor) -> Tensor:
        hidden = F.softplus(self._SHARPNESS * (x @ self._inputs.T + self._bends)) / self._SHARPNESS
        heights = hidden @ self._hidden.T + x @ self._slopes.T + self._heights
        return 0.15 * x.square().sum(1) + self._TEMPERATURE * torch.logsumexp(heights / self._TEMPERATURE, 1)

    def map(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self._potential(x).sum(), x)[0]


PAIRS: dict[str, tuple[type[Gaussians] | type[ConvexGradient], int]] = {
    **{f"gaussian-{dim}": (Gaussians, dim) for dim in (2, 8, 32, 64)},
    **{f"convex-{dim}": (ConvexGradient, dim) for dim in (2, 8, 16)},
}


def make_pair(name: str, seed: int) -> Pair:
    """One of ``PAIRS``."""
    kind, dim = PAIRS[name]
    return kind(dim, seed)
