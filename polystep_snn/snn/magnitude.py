"""Which numbers a parameter may hold."""

import torch
from torch import Tensor

# A thousand times a thousand of these, squared, are still numbers in float32.
LARGEST = 1e15


def flaw(tensor: Tensor, largest: float = LARGEST) -> str | None:
    """What a tensor contains that cannot be computed with, in words; None if nothing."""
    if not tensor.numel():
        return None
    extreme = torch.stack(tensor.detach().aminmax()).abs().max()  # NaN where there is one
    if extreme <= largest:
        return None
    return f"numbers beyond {largest:g}" if extreme.isfinite() else "NaN or infinity"
