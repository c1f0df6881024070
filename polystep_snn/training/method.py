"""What a training loop asks of whatever fills the gradients."""

from typing import Protocol

from torch import Tensor

from polystep_snn.polystep.step import StepResult
from polystep_snn.snn.frames import Frames


class Method(Protocol):
    """``PolyStep``, ``WeightStep`` and ``SurrogateBPTT``: ``step`` takes the place of ``loss.backward()``."""

    @property
    def evaluations(self) -> int:
        """Forward passes, or candidates, of the next step."""
        ...

    def step(self, inputs: Frames, target: Tensor, progress: float) -> StepResult:
        """Fill the parameters' ``.grad`` from a batch, with ``progress`` of the run behind it, in [0, 1]."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the network's and the optimizer's own: tensors only."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called, to the bit."""
        ...
