"""Coordinates in which a linear map is the identity, so that a potential has only the rest to learn.

For a symmetric A > 0, ``x' = A^1/2 (x - m) / s`` and ``z' = A^-1/2 (z - n) / s`` leave inner products as they are, up to the factor s^2 and
terms of x or z alone. So the optimal map between what x' and z' are distributed like is the optimal one between x and z, and where
``x -> A (x - m) + n`` is optimal it is the identity.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.transport_maps.diagonal import DiagonalMap
from polystep_snn.transport_maps.gaussian import GaussianMap, symmetric_root

KINDS = ("linear", "diagonal", "identity")


class Coordinates(NamedTuple):
    """One linear map a label.

    Attributes:
        source_mean, target_mean: m and n, ``[C, d]``.
        root, inverse_root: A^1/2 and A^-1/2, ``[C, d, d]``.
        scale: s, ``[1]``.
    """

    source_mean: Tensor
    target_mean: Tensor
    root: Tensor
    inverse_root: Tensor
    scale: Tensor

    def of_source(self, x: Tensor, labels: Tensor) -> Tensor:
        """x to x'. All four: ``[B, d]`` and labels ``[B]`` to ``[B, d]``."""
        return _by_label(x - self.source_mean[labels], self.root, labels) / self.scale

    def of_target(self, z: Tensor, labels: Tensor) -> Tensor:
        """z to z'."""
        return _by_label(z - self.target_mean[labels], self.inverse_root, labels) / self.scale

    def to_source(self, x: Tensor, labels: Tensor) -> Tensor:
        """x' to x."""
        return _by_label(self.scale * x, self.inverse_root, labels) + self.source_mean[labels]

    def to_target(self, z: Tensor, labels: Tensor) -> Tensor:
        """z' to z."""
        return _by_label(self.scale * z, self.root, labels) + self.target_mean[labels]


def coordinates(kind: str, x: Tensor, x_labels: Tensor, z: Tensor, z_labels: Tensor, num_labels: int) -> Coordinates:
    """Those in which the linear map of every label (or a diagonal one, or the identity) between samples is the identity.

    Args:
        kind: one of ``KINDS``.
        x, z: samples of source and target, ``[N, d]`` and ``[M, d]`` float64.
        x_labels, z_labels: their labels.
        num_labels: C.

    Raises:
        InputError: a label that one of them lacks, and what the maps refuse.
    """
    parts = [_of_label(kind, x[x_labels == c], z[z_labels == c], c, num_labels) for c in range(num_labels)]
    source_mean, target_mean, root = (torch.stack(part) for part in zip(*parts, strict=True))
    found = Coordinates(source_mean, target_mean, root, torch.linalg.inv(root), x.new_ones(1))
    # Both distributions have this spread where the map is the linear one.
    spread = found.of_source(x, x_labels).square().mean().sqrt().reshape(1)
    return found._replace(scale=spread)


def _of_label(kind: str, x: Tensor, z: Tensor, label: int, num_labels: int) -> tuple[Tensor, Tensor, Tensor]:
    """m, n and A^1/2."""
    try:
        for name, values in (("source", x), ("target", z)):
            if len(values) < 2:
                raise InputError(f"{name} has {len(values)} samples: give at least 2")
        if kind == "linear":
            linear = GaussianMap().fit(x, z)
            return linear.source_mean, linear.target_mean, symmetric_root(linear.matrix)
        if kind == "diagonal":
            return x.mean(0), z.mean(0), torch.diag(DiagonalMap().fit(x, z).gain.sqrt())
        nothing = x.new_zeros(x.shape[1])
        return nothing, nothing, torch.eye(x.shape[1], dtype=x.dtype)
    except InputError as error:
        raise InputError(f"label {label}: {error}" if num_labels > 1 else str(error)) from None


def _by_label(x: Tensor, matrices: Tensor, labels: Tensor) -> Tensor:
    """The product of every point with the symmetric matrix of its label."""
    if len(matrices) == 1:
        return x @ matrices[0]
    found = torch.empty_like(x)
    for label, matrix in enumerate(matrices):
        chosen = labels == label
        found[chosen] = x[chosen] @ matrix
    return found
