r"""From images to spikes, one timestep at a time.

An encoder is a value: its number of steps and its constants. Called on a batch ``x: [B, N]`` of intensities in [0, 1] it
returns ``num_steps`` tensors ``[B, M]`` one after the other, so that training never holds a ``[T, B, M]`` buffer::

    direct       I[t] = x                                           the image itself as a constant current
    rate         c[t] = floor(x * t + 1e-4), s[t] = c[t] - c[t-1]   integrate-and-fire on a constant current x, threshold 1
    poisson      s[t] = 1 with probability x                        independent in every step
    latency      s[t] = 1 at t = floor((1 - x) * (T - 1) + 0.5)     one spike, early where the image is bright, none where x = 0
    population   P receptive fields a pixel, then rate              M = P * N
    rows         I[t] = x[t * M : (t + 1) * M]                      M = N / T pixels a step as currents: row by row where T is the height

Poisson and population are Norse's (``poisson_encode_step``, ``population_encode``).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.snn.frames import Constant, Frames

# The membrane that the rate code's neuron starts with, so that x = 1/3 fires after three steps in float32 as it does on paper.
_FLOOR_SLACK = 1e-4


@dataclass(frozen=True)
class Encoder:
    """Base of all encoders: checks the batch, knows its width. Subclasses implement ``_spikes``.

    Attributes:
        num_steps: T, the number of timesteps.
    """

    num_steps: int
    name: ClassVar[str]

    def __post_init__(self):
        if not isinstance(self.num_steps, int) or self.num_steps < 1:
            raise InputError(f"num_steps is {self.num_steps}, but a spike train has a whole number of steps, at least one")

    def num_channels(self, num_inputs: int) -> int:
        """Width M of the encoded signal for images of ``num_inputs`` pixels."""
        return num_inputs

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Frames:
        """The spikes (or currents) of a batch.

        Args:
            x: ``[B, N]`` floating point intensities in [0, 1].
            generator: source of randomness for the encoders that need one.

        Returns:
            ``num_steps`` tensors ``[B, M]``, to be iterated over once; ``len`` is ``num_steps``.

        Raises:
            InputError: wrong shape or dtype, NaN, intensities outside [0, 1].
        """
        if not isinstance(x, Tensor):
            raise InputError(f"an encoder takes a tensor, got {type(x).__name__}: use torch.as_tensor")
        if x.ndim != 2 or not x.is_floating_point():
            raise InputError(
                f"an encoder takes floating point intensities [B, N], got {x.dtype} {list(x.shape)}: flatten and scale to [0, 1]"
            )
        self._check_values(x)
        return self._encode(x, generator)

    def _check_values(self, x: Tensor) -> None:
        if not ((x >= 0) & (x <= 1)).all():
            raise InputError("the input contains values outside [0, 1], or NaN: scale it, or clean the data")

    def _encode(self, x: Tensor, generator: torch.Generator | None) -> Frames:
        return Frames(self._spikes(x, generator), self.num_steps)

    def _spikes(self, x: Tensor, generator: torch.Generator | None) -> Iterator[Tensor]:
        raise NotImplementedError


def check_finite(x: Tensor) -> None:
    """InputError for NaN or infinity."""
    if not math.isfinite(x.sum().item()):
        raise InputError("the input contains NaN or infinity: clean the data")


@dataclass(frozen=True)
class DirectCurrent(Encoder):
    """The intensities as a constant input current. They may be any finite numbers."""

    name = "direct"

    def _check_values(self, x):
        check_finite(x)

    def _encode(self, x, generator):
        return Constant(x, self.num_steps)


@dataclass(frozen=True)
class Rate(Encoder):
    """Deterministic rate code: the spike train of an integrate-and-fire neuron with threshold 1 under the constant current ``x``.

    After t steps it has fired ``floor(x * t)`` times; intensity 1 fires in every step.
    """

    name = "rate"

    def _spikes(self, x, generator):
        count = torch.zeros_like(x)
        for t in range(1, self.num_steps + 1):
            previous, count = count, (x * t).add_(_FLOOR_SLACK).floor_()
            yield count - previous


@dataclass(frozen=True)
class Poisson(Encoder):
    """Independent spikes with probability ``x * f_max * dt`` in every step.

    Attributes:
        f_max: rate of intensity 1, in Hz.
        dt: length of a step, in s.
    """

    f_max: float = 1000.0
    dt: float = 0.001
    name = "poisson"

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 <= self.f_max * self.dt <= 1.0:
            raise InputError(f"f_max * dt is {self.f_max * self.dt:g}, but it is the probability of a spike: choose a product in [0, 1]")

    def _spikes(self, x, generator):
        probability = self.dt * self.f_max * x
        for _ in range(self.num_steps):
            yield (torch.rand(x.shape, device=x.device, generator=generator) < probability).to(x.dtype)


@dataclass(frozen=True)
class Latency(Encoder):
    """One spike a pixel: intensity 1 in the first step, faint pixels towards the last, intensity 0 never."""

    name = "latency"

    def _spikes(self, x, generator):
        when = torch.floor((1.0 - x) * (self.num_steps - 1) + 0.5)
        when = torch.where(x > 0, when, -1.0)
        for t in range(self.num_steps):
            yield (when == t).to(x.dtype)


@dataclass(frozen=True)
class Population(Encoder):
    """``fields`` Gaussian receptive fields a pixel, centres evenly on [0, 1], each firing at the rate of its response.

    Attributes:
        fields: receptive fields (output channels) a pixel.
        width: standard deviation of a field's response, in units of intensity.
    """

    fields: int = 4
    width: float = 0.2
    name = "population"

    def __post_init__(self):
        super().__post_init__()
        if self.fields < 2 or not self.width > 0:
            raise InputError(f"fields is {self.fields} and width {self.width:g}: choose at least two fields, and a positive width")

    def num_channels(self, num_inputs: int) -> int:
        return num_inputs * self.fields

    def _spikes(self, x, generator):
        from norse.torch.functional.encode import gaussian_rbf, population_encode

        # Norse scales the distance by `scale`, which must be 1 for the centres to span [0, 1] whatever the batch holds; its
        # kernel is exp(-d / (2 sigma^2)) of the squared distance d. It puts the centres on the CPU.
        response = population_encode(x.cpu(), self.fields, scale=1, kernel=lambda d: gaussian_rbf(d, self.width))
        return Rate(self.num_steps)._spikes(response.to(x).flatten(1), generator)


@dataclass(frozen=True)
class Rows(Encoder):
    """The image in reading order, ``N / T`` pixels a step as currents: row by row where T is its height. They may be any finite numbers."""

    name = "rows"

    def num_channels(self, num_inputs: int) -> int:
        """Pixels a step. InputError unless ``num_inputs`` is a multiple of the number of steps."""
        if num_inputs % self.num_steps:
            raise InputError(
                f"{num_inputs} pixels cannot be read in {self.num_steps} steps of equally many: choose a number of steps that divides "
                "them, such as the number of rows"
            )
        return num_inputs // self.num_steps

    def _check_values(self, x):
        check_finite(x)

    def _spikes(self, x, generator):
        yield from x.view(len(x), self.num_steps, self.num_channels(x.shape[1])).unbind(1)


ENCODERS: dict[str, Callable[..., Encoder]] = {e.name: e for e in (DirectCurrent, Rate, Poisson, Latency, Population, Rows)}


def make_encoder(name: str, num_steps: int) -> Encoder:
    """The encoder called ``name`` (a key of ``ENCODERS``) with its default constants."""
    if name not in ENCODERS:
        raise InputError(f"there is no encoder {name!r}: choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name](num_steps)
