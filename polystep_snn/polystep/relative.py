"""Transport at a temperature relative to the costs: settings that mean the same for losses of any unit and scale."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from polystep_snn.polystep.schedule import Scheduled
from polystep_snn.polystep.transport import Softmax, Transport


@dataclass(frozen=True)
class Relative:
    """Divides costs by their spread before ``transport`` sees them, so that ``eps`` is in units of that spread.

    The spread is the root mean square, over all particles, of how far the costs at a particle's vertices are from their mean. Where all
    costs are equal there is nothing to divide by, and every vertex weighs the same. The displacement does not vanish where the
    costs become flat: learning rate or radius must fall.

    Attributes:
        transport: from relative costs to weights.
    """

    transport: Transport = field(default_factory=Softmax)

    @property
    def eps(self) -> Scheduled:
        """That of the transport, in units of the spread."""
        return self.transport.eps

    def __call__(self, cost: Tensor, eps: Tensor | float) -> Tensor:
        # The least cost goes first: exact for costs with a large common offset.
        relative = cost - cost.amin(0, keepdim=True)
        spread = (relative - relative.mean(0, keepdim=True)).square().mean().sqrt()
        return self.transport(relative / torch.where(spread > 0, spread, torch.ones_like(spread)), eps)
