"""Memory that is used again, step after step: new one is asked of the system every time, page by page."""

import torch
from torch import Tensor


class Workspace:
    """Tensors by name."""

    def __init__(self):
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int, dtype: torch.dtype) -> Tensor:
        """The tensor of this name, with the contents that it was left with; zeros where there was none of this shape and type."""
        kept = self._kept.get(name)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            # torch's memory begins at a cache line; numpy's does not, and then every second row of lanes lies in two.
            kept = self._kept[name] = torch.zeros(*shape, dtype=dtype)
        return kept
