"""What a probe costs: one number a sample, computed from the readout of a forward pass."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from polystep_snn.errors import InputError


class Cost(Protocol):
    """Any function of the readout, differentiable or not: only its value is used."""

    def __call__(self, value: Tensor, target: Tensor) -> Tensor:
        """Costs ``[..., B]`` for readout values ``[..., C, B]`` and targets: classes ``[B]``, or real ones ``[B, C]``."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of ``softmax(scale * value)``, in nats.

    Attributes:
        scale: inverse temperature: how many nats a unit of the readout (a spike, a unit of membrane) is worth.
    """

    scale: float = 0.5

    def __post_init__(self):
        if not 0.0 < self.scale < math.inf:
            raise InputError(f"scale is {self.scale:g}: choose a positive number")

    def __call__(self, value: Tensor, target: Tensor) -> Tensor:
        logits = self.scale * value
        index = target.view(1, -1).expand(*logits.shape[:-2], 1, -1)
        return torch.logsumexp(logits, -2) - logits.gather(-2, index).squeeze(-2)

    def slope(self, value: Tensor, target: Tensor) -> Tensor:
        """How much the costs change with each entry of the readout, in nats a unit, in the shape of ``value``.

        Args:
            value: ``[..., C, B]``.
            target: ``[B]``.
        """
        return self.scale * (torch.softmax(self.scale * value, -2) - self._targets(value.shape[-2], target, value.dtype))

    def of_change(self, value: Tensor, columns: Tensor, change: Tensor, target: Tensor) -> Tensor:
        """The same for ``value + columns[k] * change[v, k]``, in one pass over the ``[V, K, C, B]`` numbers.

        Relative to the log-probabilities of ``value`` no maximum has to be found first. What a change adds to or takes from one of
        them saturates where exponentials leave the range of the dtype, at more than 80 nats in float32.

        Args:
            value: ``[C, B]``.
            columns: ``[K, C]``.
            change: ``[V, K, B]``.
            target: ``[B]``.
        """
        limit = math.log(torch.finfo(value.dtype).max / (2 * len(value)))
        logits, columns = torch.log_softmax(self.scale * value, 0), self.scale * columns
        # A product with ones and zeros is exact, and faster than picking the right class for every probe.
        targets = self._targets(len(value), target, value.dtype)
        right = torch.addcmul((logits * targets).sum(0), torch.mm(columns, targets), change).clamp_(-limit, limit)
        odds = torch.addcmul(logits, columns[:, :, None], change[:, :, None, :]).clamp_(max=limit).exp_()
        return torch.log(odds.sum(-2) + math.exp(-limit)) - right

    def _targets(self, num_classes: int, target: Tensor, dtype: torch.dtype) -> Tensor:
        """What share of its target each class is, ``[C, B]``."""
        return (torch.arange(num_classes, device=target.device)[:, None] == target).to(dtype)


@dataclass(frozen=True)
class SmoothedCrossEntropy(CrossEntropy):
    """Cross-entropy with targets of which a share is spread evenly over all classes, so that no class is ever quite certain.

    Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", section 7, CVPR 2016.

    Attributes:
        smoothing: the share, 0 to below 1.
    """

    smoothing: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 <= self.smoothing < 1.0:
            raise InputError(f"smoothing is {self.smoothing:g}: choose a fraction from 0 to below 1")

    def __call__(self, value: Tensor, target: Tensor) -> Tensor:
        right = super().__call__(value, target)
        logits = self.scale * value
        return torch.lerp(right, torch.logsumexp(logits, -2) - logits.mean(-2), self.smoothing)

    def _targets(self, num_classes: int, target: Tensor, dtype: torch.dtype) -> Tensor:
        return super()._targets(num_classes, target, dtype) * (1.0 - self.smoothing) + self.smoothing / num_classes


@dataclass(frozen=True)
class MeanSquaredError:
    """Mean over outputs of ``(scale * value - target)^2``, for real targets ``[B, C]``.

    Attributes:
        scale: what a unit of the readout (a spike, a unit of membrane) is worth in units of the target.
    """

    scale: float = 1.0

    def __post_init__(self):
        if not 0.0 < self.scale < math.inf:
            raise InputError(f"scale is {self.scale:g}: choose a positive number")

    def __call__(self, value: Tensor, target: Tensor) -> Tensor:
        return (self.scale * value - target.mT).square().mean(-2)

    def slope(self, value: Tensor, target: Tensor) -> Tensor:
        """How much the costs change with each entry of the readout, in the shape of ``value``.

        Args:
            value: ``[..., C, B]``.
            target: ``[B, C]``.
        """
        return 2.0 * self.scale * (self.scale * value - target.mT) / value.shape[-2]

    def of_change(self, value: Tensor, columns: Tensor, change: Tensor, target: Tensor) -> Tensor:
        """The same for ``value + columns[k] * change[v, k]``, a parabola in the change; shapes as of ``CrossEntropy.of_change``."""
        error, columns = self.scale * value - target.mT, self.scale * columns
        slope, bend = 2.0 * torch.mm(columns, error), columns.square().sum(1, keepdim=True)
        return (error.square().sum(0) + change * (slope + change * bend)) / len(value)

    def scores(self, value: Tensor, target: Tensor) -> Tensor:
        """``1 - cost``, ``[B]``: its mean is R² for targets of mean 0 and variance 1."""
        return 1.0 - self(value, target)


def scores(cost: Cost, value: Tensor, target: Tensor) -> Tensor:
    """How good readouts ``[C, B]`` are, ``[B]``: 1 for the right class and 0 for another one, unless the cost says it otherwise."""
    own = getattr(cost, "scores", None)
    return (value.argmax(0) == target).to(value.dtype) if own is None else own(value, target)


@dataclass(frozen=True)
class ZeroOne:
    """1 for a wrong decision, 0 for a right one: the error rate itself, which has no useful derivative."""

    def __call__(self, value: Tensor, target: Tensor) -> Tensor:
        return (value.argmax(-2) != target).to(value.dtype)


@dataclass(frozen=True)
class RateTarget:
    """A term of the loss for hidden neurons: ``sum_j (weight (r_j - rate)^2 + price r_j)``, r_j the mean firing rate of neuron j.

    Means are over batch and time. It needs no derivative: a probe's own spikes tell by how much it moves the rate of its neuron. With the
    price alone, a probe that takes one of T steps' spikes away costs its sample ``price / T`` less. Credit that is handed on from layer to
    layer carries the term with it; where probes are followed, what they change in the rates of later layers is left out.

    Attributes:
        rate: in spikes a step.
        weight: in nats.
        price: in nats, of a neuron that fires in every step.
    """

    rate: float = 0.0
    weight: float = 0.0
    price: float = 0.0

    def __post_init__(self):
        if not 0.0 <= self.rate <= 1.0:
            raise InputError(f"the target rate is {self.rate:g}: choose spikes a step, from 0 to 1")
        if not 0.0 <= self.weight < math.inf:
            raise InputError(f"the weight of the target rate is {self.weight:g}: choose a number from 0 on")
        if not 0.0 <= self.price < math.inf:
            raise InputError(f"the price of spikes is {self.price:g}: choose a number from 0 on")

    def of_probes(self, counts: Tensor, probed: Tensor, num_steps: int) -> Tensor:
        """What probes add to the costs of their samples, ``[V, K, B]``: B times the change of the term.

        Args:
            counts: ``[K, B]`` spikes of the neurons.
            probed: ``[V, K, B]`` the same under each probe.
            num_steps: T.
        """
        change = (probed - counts) / num_steps
        excess = counts.mean(1, keepdim=True) / num_steps - self.rate
        return (self.weight * (2.0 * excess + change / counts.shape[1]) + self.price) * change


def rate_scale(num_steps: float, per_rate: float = 7.5) -> float:
    """The scale at which a difference of one spike a step is worth ``per_rate`` nats, whatever the number of steps.

    Args:
        num_steps: T; of a readout that counts spikes of some steps more often, ``full_scale(T)``.
    """
    return per_rate / num_steps
