"""What samples cost, and the cost's own slopes: at a module's output, no layer has to be probed."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError
from polystep_snn.spaces.layer.arithmetic import Eager

Loss = Callable[[Tensor, Tensor], Tensor]
# Numbers of an output up to which the loss is asked for each of them.
_MOST = 128


def costs_of(loss: Loss, output: Any, target: Any) -> Tensor:
    """Each sample's cost, ``[B]``.

    Raises:
        InputError: a loss of another shape, NaN or infinite.
    """
    cost = loss(output, target)
    if not isinstance(cost, Tensor) or cost.ndim != 1 or (isinstance(target, Tensor) and len(cost) != len(target)):
        given = list(cost.shape) if isinstance(cost, Tensor) else type(cost).__name__
        raise InputError(f"the loss gives {given}: give one number a sample, [B], such as nn.CrossEntropyLoss(reduction='none')")
    # A sum is cheaper than a look at every one; of large numbers it may be infinite by itself.
    if not math.isfinite(cost.sum().item()) and not cost.isfinite().all():
        raise InputError("the loss is NaN or infinite: start from finite weights and inputs, or choose a smaller learning rate")
    return cost


def output_slopes(loss: Loss, output: Tensor, target: Tensor, cost: Tensor, arithmetic: Eager) -> Tensor | None:
    """Slopes ``[B, C]`` of each sample's cost at its output ``[B, C]``; None for outputs of another shape, or too large ones.

    They have a closed form, or are differences of the loss alone: no pass of the module.

    Args:
        cost: what the loss gives, ``[B]``.
        arithmetic: what computes them.
    """
    if output.ndim != 2:
        return None
    if _is_plain_entropy(loss) and target.ndim == 1 and not target.is_floating_point():
        return arithmetic.entropy_slopes(output, target, cost)
    if output.shape[1] > _MOST:
        return None
    # Large enough for float32, small beside what outputs differ by.
    step = 1e-2 * output.std().clamp(min=1e-6)
    columns = []
    for c in range(output.shape[1]):
        shift = torch.zeros_like(output)
        shift[:, c] = step
        columns.append((loss(output + shift, target) - loss(output - shift, target)) / (2 * step))
    return torch.stack(columns, 1)


def _is_plain_entropy(loss: Loss) -> bool:
    return isinstance(loss, nn.CrossEntropyLoss) and loss.weight is None and not loss.label_smoothing and loss.ignore_index < 0
