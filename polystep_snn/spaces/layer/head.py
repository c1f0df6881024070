"""The cost's own slopes: at a module's output, no layer has to be probed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
# Numbers of an output up to which the loss is asked for each of them.
_MOST = 128


def output_slopes(loss: Loss, output: Tensor, target: Tensor) -> Tensor | None:
    """Slopes ``[B, C]`` of each sample's cost at its output ``[B, C]``; None for outputs of another shape, or too large ones.

    They have a closed form, or are differences of the loss alone: no pass of the module.
    """
    if output.ndim != 2:
        return None
    if _is_plain_entropy(loss) and target.ndim == 1 and not target.is_floating_point():
        slopes = torch.softmax(output, 1)
        slopes[torch.arange(len(target), device=output.device), target] -= 1
        return slopes
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
    return isinstance(loss, nn.CrossEntropyLoss) and loss.weight is None and not loss.label_smoothing
