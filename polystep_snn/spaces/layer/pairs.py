"""Which inputs of its consumer each output of a layer reaches, in the forms that sums over them take."""

from typing import Any

import numpy as np
from torch import Tensor

# Inputs an output, on average, up to which a sum over them is faster than a product of matrices.
_FEW = 2


class Pairs:
    """Of n outputs and k inputs.

    Args:
        reaches: ``[n, k]``, whether an output may move an input.
        like: of the type of what is summed.

    Attributes:
        matrix: ``[k, n]``, 1 where it may.
        few: where there are few, and on a CPU, two arrays: output j reaches the inputs ``second[first[j] : first[j + 1]]``. Else None.
    """

    def __init__(self, reaches: Tensor, like: Tensor):
        self.matrix = reaches.T.to(like)
        self.few: tuple[Any, Any] | None = None
        if reaches.device.type == "cpu" and int(reaches.sum()) <= _FEW * len(reaches):
            outputs, inputs = np.nonzero(reaches.numpy())
            self.few = np.searchsorted(outputs, np.arange(len(reaches) + 1)), inputs
