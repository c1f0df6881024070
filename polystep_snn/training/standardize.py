r"""A first layer that learns as if every input had mean 0 and standard deviation 1, while its weights stay those of the inputs as they are.

With the mean m and the spread s of every input

    W x + b = V (x - m) / s + c,      V = W s,      c = b + W m
    dL/dc = dL/db,                    dL/dV = (dL/dW - dL/db m^T) / s

so an optimizer's step on V and c is one on W and b. Pixels that are nearly always dark learn as fast as others, and what all inputs have in
common moves the bias alone. Nothing is left to be done when a network is evaluated, rounded or deployed.

Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", section 4.3, 1998.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polystep_snn.snn.frames import Constant
from polystep_snn.training.feed import Feed

# Samples that are measured, at most, and how many of them at a time.
_MEASURED, _BATCH = 10_000, 500
# Is added to standard deviations, so that inputs that hardly ever change are not blown up: of what was tried on the validation part of
# Fashion-MNIST (0.05 and 0.2) the better. In units of an input's full scale, or of a spike in every step.
FLOOR = 0.2


class InputStatistics(NamedTuple):
    """Of every input of a network: ``[N]`` each, float32.

    Attributes:
        mean: over samples and steps.
        spread: the standard deviation over samples of the mean over steps, plus ``FLOOR``.
    """

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, feed: Feed, seed: int) -> "InputStatistics":
        """Of up to 10,000 samples, which ``seed`` draws, as they are fed in the first epoch."""
        device = feed.labels.device
        indices = torch.randperm(len(feed), generator=torch.Generator().manual_seed(seed))[:_MEASURED]
        generator = torch.Generator(device).manual_seed(seed)
        total = torch.zeros(2, feed.num_inputs, dtype=torch.float64, device=device)
        for batch in indices.split(_BATCH):
            frames, _ = feed.batch(batch, generator=generator)
            x = torch.zeros(len(batch), feed.num_inputs, dtype=torch.float64, device=device)
            for frame in [frames.current] if isinstance(frames, Constant) else frames:
                x += frame
            x /= 1 if isinstance(frames, Constant) else len(frames)
            total += torch.stack([x.sum(0), x.square().sum(0)])
        mean, square = total / len(indices)
        deviation = (square - mean.square()).clamp_(min=0).sqrt_()
        return cls(mean.float(), (deviation + FLOOR).float())


class StandardizedInputs:
    """A dense layer's weights and biases, to be moved as those behind standardized inputs.

    Args:
        weight: ``[M, N]``, changed in place.
        bias: ``[M]``, changed in place.
        inputs: the statistics of the N inputs.
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter, inputs: InputStatistics):
        self._weight, self._bias, self._inputs = weight, bias, inputs

    @torch.no_grad()
    def fold(self) -> None:
        """From V and c to W and b: what was drawn for standardized inputs serves inputs as they are."""
        self._weight.div_(self._inputs.spread)
        self._bias.sub_(self._weight @ self._inputs.mean)

    @contextmanager
    @torch.no_grad()
    def unfolded(self) -> Iterator[None]:
        """Within it, weight, bias and their gradients are those behind standardized inputs; their gradients are not turned back."""
        mean, spread = self._inputs
        self._bias.add_(self._weight @ mean)
        self._weight.mul_(spread)
        if self._weight.grad is not None and self._bias.grad is not None:
            self._weight.grad.addr_(self._bias.grad, mean, alpha=-1).div_(spread)
        yield
        self.fold()
