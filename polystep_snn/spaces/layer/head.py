"""What samples cost, and the cost's own slopes: at a module's output, no layer has to be probed."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

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


class End(NamedTuple):
    """The end of the unprobed pass.

    Attributes:
        size: B.
        loss, accuracy: mean cost, and the share of right classes, NaN where there are none.
        slopes: as of ``output_slopes``.
    """

    size: int
    loss: Tensor
    accuracy: Tensor
    slopes: Tensor | None


def end_of(loss: Loss, output: Any, target: Any, arithmetic: Eager) -> End:
    """What a module's output costs.

    Raises:
        InputError: as of ``costs_of``.
    """
    both = isinstance(output, Tensor) and isinstance(target, Tensor)
    classes = both and output.ndim == 2 and target.ndim == 1 and not target.is_floating_point()
    if classes and len(output) == len(target) and _is_plain_entropy(loss):
        found = arithmetic.entropy(output, target)
        if found is not None:
            return End(len(target), *found)
    cost = costs_of(loss, output, target)
    accuracy = (output.argmax(1) == target).to(cost.dtype).mean() if classes else torch.tensor(float("nan"))
    return End(len(cost), cost.mean(), accuracy, output_slopes(loss, output, target, cost) if isinstance(output, Tensor) else None)


def output_slopes(loss: Loss, output: Tensor, target: Tensor, cost: Tensor) -> Tensor | None:
    """Slopes ``[B, C]`` of each sample's cost ``[B]`` at its output ``[B, C]``; None for outputs of another shape, or too large ones.

    They have a closed form, or are differences of the loss alone: no pass of the module.
    """
    if output.ndim != 2:
        return None
    if _is_plain_entropy(loss) and target.ndim == 1 and not target.is_floating_point():
        # Samples with a negative class cost nothing.
        own = target.clamp(min=0)[:, None]
        # The cost and the target's output are together the logarithm of the sum over classes.
        slopes = (output - output.gather(1, own)).sub_(cost[:, None]).exp_()
        return slopes.scatter_add_(1, own, slopes.new_full((), -1).expand(own.shape)).mul_(target[:, None] >= 0)
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
    if type(loss) is not nn.CrossEntropyLoss or loss.reduction != "none":
        return False
    return loss.weight is None and not loss.label_smoothing and loss.ignore_index < 0
