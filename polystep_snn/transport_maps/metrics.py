"""How far a map is from the one that is known (Korotin et al. 2021, "Do neural optimal transport solvers work?", arXiv 2106.01954)."""

from torch import Tensor

from polystep_snn.errors import InputError


def l2_uvp(mapped: Tensor, known: Tensor) -> float:
    """Unexplained variance in percent: ``100 E|T(x) - T*(x)|^2 / Var(T*(x))``. A constant map has 100.

    Args:
        mapped, known: ``[B, d]``, images of the same points.
    """
    _same(mapped, known)
    return float(100 * (mapped.double() - known.double()).square().sum(1).mean() / known.double().var(0, unbiased=False).sum())


def map_cosine(mapped: Tensor, known: Tensor, x: Tensor) -> float:
    """Cosine of the displacements ``T(x) - x`` and ``T*(x) - x`` over all samples and coordinates, from -1 to 1.

    Args:
        mapped, known, x: ``[B, d]``.
    """
    _same(mapped, known)
    _same(mapped, x)
    a, b = (mapped - x).double(), (known - x).double()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-300))


def _same(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"shapes are {list(a.shape)} and {list(b.shape)}: give images of the same points, [samples, coordinates]")
