r"""Subspaces of weight space: in which directions the parameters are probed.

A subspace is a rule that gives every parameter its part (``directions.py``); parts are drawn anew, each time with fresh random numbers::

    FullSpace          every weight a coordinate                                     D = numel
    HybridLowRank      matrices: rows in the span of r random inputs; vectors whole  D = n_out * r      (the default)
    AdaptiveLowRank    the same, part of the span being where the layer went lately  D = n_out * r
    FactoredSpace      matrices of rank one; vectors whole                           D = K
    SparseProjection   randomly chosen weights together, for very large parameters   D = numel / count

Low rank per layer costs little: a candidate of ``HybridLowRank`` changes one neuron, so everything before that neuron is re-used, and
what comes after sees a rank-one correction. Over the steps the span turns, and all of weight space is reached.

Source: arXiv 2605.01928, section 4 (full, hybrid, factored, adaptive, sparse); arXiv 2511.16652 (rank-one perturbations);
Li, Hastie and Church 2006 (very sparse random projections). The published implementation projects each matrix densely, and
its factored space is what is called hybrid here.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.directions import Groups, Part, Products, Rows, as_matrix


class Subspace(Protocol):
    """A rule that draws the directions of a parameter."""

    @property
    def memory(self) -> float:
        """Fraction of the history kept from one step to the next; 0 for a subspace that needs none."""
        ...

    def draw(self, name: str, parameter: Tensor, generator: torch.Generator, history: Tensor | None) -> Part:
        """Directions for one parameter.

        Args:
            name: of the parameter.
            parameter: its value, floating point.
            generator: source of randomness, on the CPU, so that a seed means the same on every device.
            history: decaying sum of the parameter's displacements, its shape; None before the first step.
        """
        ...


def _wide(parameter: Tensor) -> Tensor:
    """An empty tensor in the dtype that coordinates are computed in: float32 for half precision."""
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    return torch.empty(0, dtype=dtype, device=parameter.device)


def _gaussian(like: Tensor, generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=like.dtype).to(like.device)


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis ``[r, n]`` of the span of ``rows [r, n]``, r <= n."""
    return torch.linalg.qr(rows.T)[0].T.contiguous()


def _at_least_one(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value}: choose a whole number of at least 1")


@dataclass(frozen=True)
class FullSpace:
    """Every weight is a coordinate: nothing is left out, and no subspace takes more candidates."""

    memory: ClassVar[float] = 0.0

    def draw(self, name: str, parameter: Tensor, generator: torch.Generator, history: Tensor | None) -> Part:
        return Rows(name, parameter.shape, None, _wide(parameter))


@dataclass(frozen=True)
class HybridLowRank:
    """Low rank for each layer's matrix, vectors whole: ``dW = A B`` with random orthonormal ``B [r, n_in]`` and coordinates ``A``.

    Attributes:
        rank: r, directions of a row. Rows of no more than r weights are whole.
    """

    rank: int = 8
    memory: ClassVar[float] = 0.0

    def __post_init__(self):
        _at_least_one("rank", self.rank)

    def draw(self, name: str, parameter: Tensor, generator: torch.Generator, history: Tensor | None) -> Part:
        like = _wide(parameter)
        n_in = as_matrix(parameter.shape)[1]
        if n_in <= self.rank:
            return Rows(name, parameter.shape, None, like)
        return Rows(name, parameter.shape, _orthonormal(_gaussian(like, generator, self.rank, n_in)), like)


@dataclass(frozen=True)
class AdaptiveLowRank:
    """``HybridLowRank`` of which some directions follow the history: the inputs along which the layer's rows moved most lately.

    Attributes:
        rank: r, directions of a row.
        aligned: how many of them follow the history, as a fraction of r; the rest is random, so that new ones are found.
        memory: fraction of the history kept from one step to the next.
    """

    rank: int = 8
    aligned: float = 0.25
    memory: float = 0.99

    def __post_init__(self):
        _at_least_one("rank", self.rank)
        if not 0.0 <= self.aligned <= 1.0:
            raise InputError(f"aligned is {self.aligned:g}: choose a fraction in [0, 1]")
        if not 0.0 < self.memory < 1.0:
            raise InputError(f"memory is {self.memory:g}: choose a fraction in (0, 1)")

    def draw(self, name: str, parameter: Tensor, generator: torch.Generator, history: Tensor | None) -> Part:
        like = _wide(parameter)
        n_out, n_in = as_matrix(parameter.shape)
        if n_in <= self.rank:
            return Rows(name, parameter.shape, None, like)
        rows = _gaussian(like, generator, self.rank, n_in)
        num_aligned = min(round(self.aligned * self.rank), n_out)
        if history is not None and num_aligned:
            past = history.to(like.dtype).view(n_out, n_in)
            if past.abs().sum() > 0:
                # Subspace iteration: two rounds find the leading right singular vectors well enough.
                leading = _orthonormal(_gaussian(like, generator, num_aligned, n_out) @ past)
                rows[:num_aligned] = _orthonormal((leading @ past.T) @ past)
        return Rows(name, parameter.shape, _orthonormal(rows), like)


@dataclass(frozen=True)
class FactoredSpace:
    """Random matrices of rank one, ``u v^T``: very few coordinates a layer, each of which moves all its neurons. Vectors whole.

    Attributes:
        count: K, directions of a matrix. Matrices of no more than K weights are whole.
    """

    count: int = 64
    memory: ClassVar[float] = 0.0

    def __post_init__(self):
        _at_least_one("count", self.count)

    def draw(self, name: str, parameter: Tensor, generator: torch.Generator, history: Tensor | None) -> Part:
        like = _wide(parameter)
        n_out, n_in = as_matrix(parameter.shape)
        if min(n_out, n_in) <= 1 or n_out * n_in <= self.count:
            return Rows(name, parameter.shape, None, like)
        left, right = (torch.nn.functional.normalize(_gaussian(like, generator, self.count, n), dim=1) for n in (n_out, n_in))
        return Products(name, parameter.shape, left, right)


@dataclass(frozen=True)
class SparseProjection:
    """A random sparse projection with one non-zero a weight: memory of 12 bytes a weight, however many coordinates.

    Attributes:
        count: weights that move together.
    """

    count: int = 1000
    memory: ClassVar[float] = 0.0

    def __post_init__(self):
        _at_least_one("count", self.count)

    def draw(self, name: str, parameter: Tensor, generator: torch.Generator, history: Tensor | None) -> Part:
        numel = parameter.numel()
        order = torch.randperm(numel, generator=generator)
        signs = 1.0 - 2.0 * torch.randint(2, (numel,), generator=generator, dtype=torch.int8)
        like = _wide(parameter)
        return Groups(name, parameter.shape, order.to(like.device), signs.to(like), min(self.count, numel))


SUBSPACES = {
    "full": FullSpace,
    "hybrid": HybridLowRank,
    "adaptive": AdaptiveLowRank,
    "factored": FactoredSpace,
    "sparse": SparseProjection,
}
