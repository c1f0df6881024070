"""Samples of a distribution: a tensor, or a function that draws as many as it is asked for."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError

Drawn = Tensor | tuple[Tensor, Tensor]
Samples = Tensor | np.ndarray | Callable[[int], Drawn]
"""``[N, d]`` floating point; or a function of N that returns them, or a pair of them and their labels ``[N]``."""

NUM_DRAWN = 100_000


def points(name: str, values: Tensor | np.ndarray, dim: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Points of a distribution, checked.

    Args:
        name: what messages call them.
        values: ``[N, d]``, float32 or float64.
        dim: d, where it is known.
        dtype: what they are converted to.

    Raises:
        InputError: another type or shape, no sample, or a value that is not finite.
    """
    if not isinstance(values, Tensor | np.ndarray):
        raise InputError(f"{name} is of type {type(values).__name__}: give a tensor of shape [samples, coordinates]")
    found = torch.as_tensor(values).detach()
    if found.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{name} holds {str(found.dtype).removeprefix('torch.')}: convert it to float32 or float64")
    if found.ndim != 2 or not found.numel():
        raise InputError(f"{name} has shape {list(found.shape)}: give [samples, coordinates], at least one of each")
    if dim is not None and found.shape[1] != dim:
        raise InputError(f"{name} has {found.shape[1]} coordinates instead of {dim}: give points of the same space")
    wrong = ~found.isfinite()
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        raise InputError(f"{name} holds {found[row, column].item()} in sample {row}, coordinate {column}: leave out what is not finite")
    return found if dtype is None else found.to(dtype)


def draw(name: str, samples: Samples, count: int = NUM_DRAWN) -> tuple[Tensor, Tensor | None]:
    """A distribution's points ``[N, d]``, and labels where a function returns them.

    Raises:
        InputError: as ``points``, or a function that returns another number of points than it was asked for.
    """
    if isinstance(samples, Tensor | np.ndarray) or not callable(samples):
        return points(name, samples), None
    drawn = samples(count)
    values, labels = drawn if isinstance(drawn, tuple) else (drawn, None)
    found = points(name, values)
    if len(found) != count:
        raise InputError(f"{name} returned {len(found)} samples instead of {count}: let the function return as many as it is asked for")
    return found, labels


def pair(source: Samples, target: Samples) -> tuple[Tensor, Tensor]:
    """Points of both distributions, of equal dimension and in float64. Labels that functions return are left out."""
    x, _ = draw("source", source)
    z, _ = draw("target", target)
    points("target", z, x.shape[1])
    return x.double(), z.double()


def checked_labels(name: str, labels: Tensor | np.ndarray | None, count: int, num_labels: int) -> Tensor:
    """Labels ``[count]`` int64 below ``num_labels``; zeros where there is only one.

    Raises:
        InputError: labels that are missing, too many, of another type, or out of range.
    """
    if labels is None:
        if num_labels == 1:
            return torch.zeros(count, dtype=torch.int64)
        raise InputError(f"{name} has no labels: give one of 0 to {num_labels - 1} for each of the {count} samples")
    found = torch.as_tensor(labels)
    if found.shape != (count,) or found.dtype.is_floating_point or found.dtype.is_complex or found.dtype is torch.bool:
        kind = str(found.dtype).removeprefix("torch.")
        raise InputError(f"labels of {name} are {kind} of shape {list(found.shape)}: give whole numbers of shape [{count}]")
    found = found.long()
    if found.min() < 0 or found.max() >= num_labels:
        raise InputError(f"labels of {name} go from {found.min()} to {found.max()}: give 0 to {num_labels - 1}")
    return found
