"""Vertices of regular polytopes around the origin: the directions that a probe tries.

All vertices have norm 1, so a radius means the same for each kind:

    orthoplex   2 d vertices    plus and minus every axis
    simplex     d + 1           equal angles between all; the fewest that surround a point
    cube        2^d             every combination of signs

In one dimension all three are {+1, -1}. Source: arXiv 2605.01928, section 3.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError

_LARGEST_CUBE = 12


def vertices(kind: str, dim: int) -> Tensor:
    """The vertices ``[V, dim]`` of a polytope, float64, each of norm 1, summing to zero.

    Raises:
        InputError: an unknown kind, a dimension below 1, a cube of more than 12 dimensions.
    """
    if dim < 1:
        raise InputError(f"a polytope of dimension {dim} does not exist: choose at least 1")
    if kind == "orthoplex":
        axes = np.eye(dim)
        points = np.stack([axes, -axes], axis=1).reshape(2 * dim, dim)
    elif kind == "simplex":
        # Corner k fills axis k; every later corner stands at the same angle, cosine -1/dim, to it.
        points = np.zeros((dim + 1, dim))
        for k in range(dim):
            points[k, k] = np.sqrt(1.0 - points[k, :k] @ points[k, :k])
            points[k + 1 :, k] = (-1.0 / dim - points[k + 1 :, :k] @ points[k, :k]) / points[k, k]
    elif kind == "cube":
        if dim > _LARGEST_CUBE:
            raise InputError(f"a cube in {dim} dimensions has 2^{dim} vertices: choose 'orthoplex', or at most {_LARGEST_CUBE} dimensions")
        signs = 1 - 2 * ((np.arange(2**dim)[:, None] >> np.arange(dim)) & 1)
        points = signs / np.sqrt(dim)
    else:
        raise InputError(f"there is no polytope {kind!r}: choose one of {', '.join(KINDS)}")
    return torch.from_numpy(points)


KINDS = ("orthoplex", "simplex", "cube")


def random_rotation(dim: int, generator: torch.Generator | None = None) -> Tensor:
    """A rotation or reflection ``[dim, dim]``, float64, uniform over the orthogonal group (QR of a Gaussian matrix, signs fixed)."""
    gaussian = torch.randn(dim, dim, dtype=torch.float64, generator=generator)
    q, r = torch.linalg.qr(gaussian)
    return q * torch.sign(torch.diagonal(r))


def with_radii(points: Tensor, radii: Sequence[float]) -> Tensor:
    """The vertices at every radius, ``[len(radii) * V, dim]``, the first radius first.

    Raises:
        InputError: no radius, or one that is not a positive finite number.
    """
    if not radii or not all(0.0 < r < float("inf") for r in radii):
        raise InputError(f"radii is {list(radii)}: give one or more positive numbers")
    return torch.cat([radius * points for radius in radii])
