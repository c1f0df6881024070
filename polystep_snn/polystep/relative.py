"""Transport at a temperature relative to the costs: settings that mean the same for losses of any unit and scale."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from polystep_snn.polystep.schedule import Scheduled
from polystep_snn.polystep.transport import Softmax, Transport

# Costs that differ by this many units in the last place are equal.
_ROUNDING = 2.0


@dataclass(frozen=True)
class Relative:
    """Divides costs by their spread before ``transport`` sees them, so that ``eps`` is in units of that spread.

    The spread is the root mean square, over all particles, of how far the costs at a particle's vertices are from their mean. Where it is
    no more than rounding, costs count as equal, and every vertex weighs the same. Above that the displacement does not vanish as the
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
        known = spread > _ROUNDING * torch.finfo(cost.dtype).eps * cost.abs().amax()
        return self.transport(torch.where(known, relative / spread, 0.0), eps)
