r"""Loihi 2's current-based LIF neuron (CUBA) in torch: the chip's integers, carried in floating point.

One step, for what arrives ``a`` (int8 weights times spikes), as ``hardware/fixed_point.py`` computes it in numpy::

    u = wrap24(decay(u, du + 1) + 64 a)
    v = clip(decay(v, dv) + u + bias)            to plus or minus 2^23 - 1
    z = v > 64 vth                               strictly
    v = 0 where z                                hard reset; u is kept

``decay(x, d) = x (4096 - d) / 4096``, rounded toward zero; ``du = 4095`` keeps no current at all. Every number is an integer
below 2^24 in size, which float32 represents exactly, so training runs on the same kernels as any other network and computes
spike for spike what the chip does. Weights arrive multiplied by 64 already. Names are Lava's.

Source: ``lava.proc.lif.models`` of lava-nc 0.10.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.snn.neurons import Fire, LIFState

ALIGNMENT = 64
NO_CURRENT = 4095
LARGEST_VTH = 2**17 - 1
_V_LIMIT = 2.0**23 - 1


class CubaParameters(NamedTuple):
    """Constants of a population of CUBA neurons, as a network is built with them.

    Attributes:
        du: decay of the current in 1/4096, 0 to 4095; 4095 keeps none of it from one step to the next.
        dv: decay of the membrane in 1/4096, 0 to 4095.
        v_th: threshold, in units of the latent weights. The quantizer makes an integer of it.
    """

    du: int = NO_CURRENT
    dv: int = 205
    v_th: float = 1.0

    @classmethod
    def from_beta(cls, beta: float, alpha: float = 0.0, v_th: float = 1.0) -> "CubaParameters":
        """The nearest neuron that keeps ``beta`` of its membrane and ``alpha`` of its current from one step to the next, with the threshold
        ``v_th``. InputError for fractions outside of [0, 1]."""
        if not (0 <= beta <= 1 and 0 <= alpha <= 1):
            raise InputError(f"beta is {beta:g} and alpha {alpha:g}: choose fractions from 0 to 1")
        du, dv = max(round(4096 * (1 - alpha)) - 1, 0), min(round(4096 * (1 - beta)), 4095)
        return cls(du, dv, v_th).checked()

    def checked(self) -> "CubaParameters":
        """These parameters, or InputError where they describe no neuron of the chip."""
        for name, value in (("du", self.du), ("dv", self.dv)):
            if not isinstance(value, int) or not 0 <= value <= 4095:
                raise InputError(f"{name} is {value}: choose a whole number from 0 to 4095")
        if not 0 < self.v_th < float("inf"):
            raise InputError(f"v_th is {self.v_th:g}, but a threshold is a positive number")
        return self


class CubaNeuron(NamedTuple):
    """Constants of a population as its steps need them, in units of the membrane's register.

    Attributes:
        du, dv: as in ``CubaParameters``.
        threshold: 64 vth, a scalar tensor or one number a neuron, as ``bias``.
        bias: ``[N]``, or ``[N, 1]`` where the batch is innermost.
    """

    du: int
    dv: int
    threshold: Tensor
    bias: Tensor

    @property
    def adds_up(self) -> bool:
        """Whether the membrane is a plain sum of what arrives, as long as it does not fire."""
        return self.du == NO_CURRENT and self.dv == 0

    def batch_last(self) -> "CubaNeuron":
        """The same for states ``[N, B]``."""
        return self._replace(bias=self.bias[:, None], threshold=self.threshold[:, None] if self.threshold.ndim else self.threshold)

    def rows(self, index: Tensor | None) -> "CubaNeuron":
        """Some of the neurons, in the shape of the index; all for None."""
        if index is None:
            return self
        return self._replace(bias=self.bias[index], threshold=self.threshold[index] if self.threshold.ndim else self.threshold)

    def shifts(self, points: Tensor) -> Tensor:
        """Shifts that are given in thresholds, in the register's units: whole numbers."""
        return (points * self.threshold).round()

    def initial_state(self, like: Tensor) -> LIFState:
        """The state at rest. Neurons that keep no current carry none."""
        return LIFState(torch.zeros_like(like), None if self.du == NO_CURRENT else torch.zeros_like(like))

    def current(self, x: Tensor, state: LIFState) -> Tensor:
        """``u`` after a step that starts from ``state``; ``x`` is 64 times what arrives."""
        return wrap24(x if state.i is None else decay(state.i, self.du + 1) + x)

    def step(self, x: Tensor, state: LIFState, shift: Tensor | None = None, fire: Fire | None = None) -> tuple[Tensor, LIFState]:
        """One step of the equations at the top of this file.

        Args:
            x: 64 times what arrives, any shape that broadcasts against the state.
            state: after the previous step.
            shift: added to the bias.
            fire: None: integers have no derivative.
        """
        if fire is not None:
            raise InputError("the chip's integer neuron cannot be differentiated: choose the neuron 'lif' for surrogate gradients")
        u = self.current(x, state)
        drive = u + self.bias if shift is None else u + (self.bias + shift)
        v = torch.clamp(decay(state.v, self.dv) + drive, -_V_LIMIT, _V_LIMIT)
        if torch.compiler.is_compiling():
            fired = v > self.threshold
            z, v = fired.to(v.dtype), torch.where(fired, 0.0, v)
        else:
            z = torch.gt(v, self.threshold, out=torch.empty_like(v))
            v = torch.addcmul(v, v, z, value=-1.0)
        return z, LIFState(v, None if state.i is None else u)


def decay(x: Tensor, d: int) -> Tensor:
    """``x`` with the fraction ``d / 4096`` taken away, rounded toward zero; exact in float32 for ``|x| <= 2^24``."""
    if d == 0:
        return x
    keep = 4096 - d
    if keep == 0:
        return torch.zeros_like(x)
    # The product needs 36 bits: high and low half of x, one after the other, stay below 2^24.
    high = torch.trunc(x * 2.0**-12)
    low = x - high * 4096
    return high * keep + torch.trunc(low * (keep * 2.0**-12))


def wrap24(x: Tensor) -> Tensor:
    """``x`` after one overflow of a 24-bit register at most, as ``hardware.fixed_point.wrap24``."""
    half = 2.0**23
    return x - 2 * half * ((x > half).to(x.dtype) - (x <= -half).to(x.dtype))
