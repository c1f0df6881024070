"""The one protocol of whatever fills gradients: every space, and the baselines that they are compared with."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor


class StepResult(NamedTuple):
    """What a step saw on its batch.

    Attributes:
        loss: mean cost of the unprobed network, a scalar tensor.
        accuracy: fraction of right decisions, or of real targets what ``MeanSquaredError.scores`` says, a scalar tensor.
        rates: firing rate of every neuron in every spiking layer, spikes a step, ``[N_l]`` each; empty for other modules.
    """

    loss: Tensor
    accuracy: Tensor
    rates: list[Tensor]


class Method(Protocol):
    """``NodeStep``, ``LayerStep``, ``WeightStep`` and ``SurrogateBPTT``: ``step`` takes the place of ``loss.backward()``."""

    @property
    def evaluations(self) -> int:
        """Forward passes, or candidates, of the next step."""
        ...

    def step(self, inputs: Any, target: Any, progress: float = 0.0) -> StepResult:
        """Fill the parameters' ``.grad`` from a batch of inputs and its target, with ``progress`` of the run behind it, in [0, 1]."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the network's and the optimizer's own: tensors only."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called, to the bit."""
        ...
