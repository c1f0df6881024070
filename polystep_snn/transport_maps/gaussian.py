"""The linear map: optimal transport between two Gaussians with full covariances."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.transport_maps import store
from polystep_snn.transport_maps.samples import Samples, pair, points

# Variances along directions, of the largest: below this float64 cannot tell them from none.
_SINGULAR = 1e-12


def symmetric_root(matrix: Tensor) -> Tensor:
    """The positive semidefinite square root of a positive semidefinite matrix ``[d, d]``."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def bures_matrix(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric matrix A > 0 with A S A = R, for covariances S of the source and R of the target.

    ``A = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2`` (Olkin and Pukelsheim 1982; Peyré and Cuturi 2019, remark 2.31). ``x -> A x`` is the optimal
    map between centred Gaussians; its distance is Bures'.

    Args:
        source, target: ``[d, d]`` float64, positive definite.

    Returns:
        ``[d, d]``.
    """
    root = symmetric_root(source)
    inverse = torch.linalg.inv(root)
    found = inverse @ symmetric_root(root @ target @ root) @ inverse
    return (found + found.T) / 2


def covariance(name: str, x: Tensor) -> Tensor:
    """Of samples ``[N, d]``, or InputError where it is singular."""
    count, dim = x.shape
    if count <= dim:
        raise InputError(f"{name} has {count} samples of {dim} coordinates, so its covariance is singular: give at least {dim + 1}")
    found = torch.cov(x.T).reshape(dim, dim)
    values = torch.linalg.eigvalsh(found)
    if values[0] <= _SINGULAR * values[-1]:
        raise InputError(
            f"the covariance of {name} is singular (variances along directions go from {values[0]:.1e} to {values[-1]:.1e}): "
            "leave out coordinates that do not vary or that repeat others"
        )
    return found


class GaussianMap:
    """The optimal map between two Gaussians: ``T(x) = A (x - mean of source) + mean of target`` with A from ``bures_matrix``.

    It matches means and covariances of any two distributions; nothing else is matched where they are not Gaussian.

    Attributes:
        source_mean, target_mean: ``[d]`` float64.
        matrix: A, ``[d, d]`` float64.
    """

    source_mean: Tensor
    target_mean: Tensor
    matrix: Tensor
    _inverse: Tensor

    def fit(self, source: Samples, target: Samples) -> "GaussianMap":
        """Take means and covariances from samples.

        Args:
            source, target: ``[N, d]`` and ``[M, d]``, more than d each, or functions that draw N samples; the numbers may differ.

        Returns:
            This map.

        Raises:
            InputError: values that are not finite, shapes that differ, too few samples, a singular covariance.
        """
        x, z = pair(source, target)
        return self._set(x.mean(0), z.mean(0), bures_matrix(covariance("source", x), covariance("target", z)))

    def _set(self, source_mean: Tensor, target_mean: Tensor, matrix: Tensor) -> "GaussianMap":
        self.source_mean, self.target_mean, self.matrix = source_mean, target_mean, matrix
        self._inverse = torch.linalg.inv(matrix)
        return self

    def map(self, x: Tensor | np.ndarray) -> Tensor:
        """Points of the source where the target has them: ``[B, d]`` to ``[B, d]``, in the same precision."""
        x = points("x", x, len(self._fitted().matrix))
        return (x - self.source_mean.to(x.dtype)) @ self.matrix.to(x.dtype) + self.target_mean.to(x.dtype)

    def inverse(self, z: Tensor | np.ndarray) -> Tensor:
        """Points z of the target where the source has them: ``[B, d]`` to ``[B, d]``."""
        z = points("z", z, len(self._fitted().matrix))
        return (z - self.target_mean.to(z.dtype)) @ self._inverse.to(z.dtype) + self.source_mean.to(z.dtype)

    def save(self, path: Path) -> None:
        """Write the map to ``path`` as safetensors. Raises InputError where it cannot be written."""
        names = ("source_mean", "target_mean", "matrix")
        store.save(path, "GaussianMap", {name: getattr(self._fitted(), name) for name in names}, {})

    @classmethod
    def load(cls, path: Path) -> "GaussianMap":
        """The map that ``save`` wrote to ``path``. Raises InputError for a file that is damaged or something else."""
        tensors, _ = store.load(path, "GaussianMap")
        store.sizes(path, tensors, {"source_mean": ("d",), "target_mean": ("d",), "matrix": ("d", "d")}, "d")
        matrix = tensors["matrix"]
        if not torch.equal(matrix, matrix.T) or torch.linalg.eigvalsh(matrix)[0] <= 0:
            raise store.damaged(path, "its matrix is not symmetric and positive definite")
        return cls()._set(tensors["source_mean"], tensors["target_mean"], matrix)

    def _fitted(self) -> "GaussianMap":
        if not hasattr(self, "matrix"):
            raise InputError("this GaussianMap has seen no samples: call fit first")
        return self
