r"""Hard-threshold leaky integrate-and-fire neurons.

One step of length ``dt``, for an input current ``x`` (weights times spikes, plus bias)::

    i[t] = alpha * i[t-1] + x[t]      alpha = 1 - dt * tau_syn_inv   (without a synapse, tau_syn_inv = None: i = x)
    v[t] = beta * v[t-1] + i[t]       beta  = 1 - dt * tau_mem_inv
    v[t] = clip(v[t], v_min, v_max)   (only if bounds are set)
    z[t] = 1 if v[t] > v_th else 0    (strictly greater, as in Norse, Lava and NIR)
    v[t] = 0            where z[t] = 1  (reset = "zero")
    v[t] = v[t] - v_th  where z[t] = 1  (reset = "subtract")

The names are Norse's. Norse multiplies the input by ``dt * tau_mem_inv``; here, as on Loihi and in snnTorch, the current
enters with gain one, so a weight means the same whatever the time constant (``snn/from_norse.py`` converts). The threshold has
no derivative: it is the one that is deployed.

Source: Gerstner and Kistler, Spiking Neuron Models, section 4.1; the discretisation is Norse's (``lif_feed_forward_step``).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError


class LIFParameters(NamedTuple):
    """Constants of a population of LIF neurons.

    Attributes:
        tau_mem_inv: inverse membrane time constant, in 1/s. 50 (20 ms) gives ``beta = 0.95`` at ``dt`` = 1 ms.
        tau_syn_inv: inverse synaptic time constant, in 1/s, or None for neurons whose input current does not decay but is gone
            after one step (Norse's ``LIFBox``).
        v_th: firing threshold, in the unit of the input current.
        reset: "zero" (hard, what Loihi does) or "subtract" (soft).
        v_min, v_max: bounds of the membrane, or None. Loihi's registers bound it too.
        dt: length of a timestep, in s.
        i_0: synaptic currents at the start, one a neuron; None for 0. With ``i_0 = b / (1 - alpha)`` a bias b is a constant drive of the
            membrane behind the synapse, as a leak potential and the chip's bias are.
    """

    tau_mem_inv: float = 50.0
    tau_syn_inv: float | None = None
    v_th: float = 1.0
    reset: str = "zero"
    v_min: float | None = None
    v_max: float | None = None
    dt: float = 0.001
    i_0: tuple[Any, ...] | None = None

    @classmethod
    def from_beta(cls, beta: float, **others) -> "LIFParameters":
        """Parameters whose membrane keeps the fraction ``beta`` of itself from one step to the next; ``others`` as above."""
        p = cls(**others)
        return p._replace(tau_mem_inv=(1.0 - beta) / p.dt).checked()

    @property
    def beta(self) -> float:
        """Fraction of the membrane that is left after one step."""
        return _tidy(1.0 - self.dt * self.tau_mem_inv)

    @property
    def alpha(self) -> float:
        """Fraction of the synaptic current that is left after one step; 0 without a synapse."""
        return 0.0 if self.tau_syn_inv is None else _tidy(1.0 - self.dt * self.tau_syn_inv)

    def checked(self) -> "LIFParameters":
        """These parameters, or InputError where they describe no neuron."""
        for name, constant, value in (("beta", "tau_mem_inv", self.beta), ("alpha", "tau_syn_inv", self.alpha)):
            if not 0.0 <= value <= 1.0:
                raise InputError(f"{name} is {value:g}, but a fraction that is left lies in [0, 1]: choose dt * {constant} in [0, 1]")
        if not (math.isfinite(self.v_th) and self.v_th > 0):
            raise InputError(f"v_th is {self.v_th:g}, but a threshold is a positive number")
        if self.reset not in ("zero", "subtract"):
            raise InputError(f"reset is {self.reset!r}: choose 'zero' or 'subtract'")
        if self.v_min is not None and not self.v_min <= 0:
            raise InputError(f"v_min is {self.v_min:g}, but a membrane rests at 0: choose v_min <= 0")
        if self.v_max is not None and not self.v_max > self.v_th:
            raise InputError(f"v_max is {self.v_max:g}: a membrane that cannot pass v_th = {self.v_th:g} never fires")
        if self.i_0 is not None and (self.tau_syn_inv is None or not all(math.isfinite(current) for current in self.i_0)):
            raise InputError("i_0 is a current of synapses at the start: give finite numbers, and a tau_syn_inv")
        return self

    def batch_last(self) -> "LIFParameters":
        """The same for states ``[N, B]``."""
        return self if self.i_0 is None else self._replace(i_0=tuple((current,) for current in self.i_0))

    def rows(self, index: Tensor | None) -> "LIFParameters":
        """Some of the neurons, those at ``index [K]``; None for all."""
        return self if self.i_0 is None or index is None else self._replace(i_0=tuple(self.i_0[k] for k in index.tolist()))

    def shifts(self, points: Tensor) -> Tensor:
        """Shifts ``points``, any shape, that are given in thresholds, in units of the input current."""
        return points * self.v_th

    def initial_state(self, like: Tensor) -> "LIFState":
        """``lif_initial_state``: at rest, in the shape of ``like``."""
        return lif_initial_state(like, self)

    def step(self, x: Tensor, state: "LIFState", shift: Tensor | None = None, fire: "Fire | None" = None) -> "tuple[Tensor, LIFState]":
        """``lif_step`` from a state, with ``shift`` added to the input current ``x``, any shape; ``fire`` as there."""
        return lif_step(x if shift is None else x + shift, state, self, fire)


def _tidy(x: float) -> float:
    # 1 - 0.001 * ((1 - 0.9) / 0.001) is 0.9000000000000000222…: twelve digits give back the decimal that was meant.
    return round(x, 12)


class LIFState(NamedTuple):
    """What a population carries from one step to the next.

    Attributes:
        v: membrane, any shape.
        i: synaptic current, the same shape; None for neurons without a synapse.
    """

    v: Tensor
    i: Tensor | None = None


def lif_initial_state(like: Tensor, p: LIFParameters) -> LIFState:
    """The state at rest of neurons that receive currents of the shape, dtype and device of ``like``."""
    if p.tau_syn_inv is None:
        return LIFState(torch.zeros_like(like))
    return LIFState(torch.zeros_like(like), starting_current(like, p.i_0))


def starting_current(like: Tensor, i_0: tuple[Any, ...] | None) -> Tensor:
    """The synaptic currents of ``i_0`` in the shape of ``like``."""
    zeros = torch.zeros_like(like)
    return zeros if i_0 is None else zeros + torch.tensor(i_0, dtype=like.dtype, device=like.device)


Fire = Callable[[Tensor], Tensor]
"""From distances to the threshold ``v - v_th`` to spikes."""


def lif_step(x: Tensor, state: LIFState, p: LIFParameters, fire: Fire | None = None) -> tuple[Tensor, LIFState]:
    """One step of the equations at the top of this file.

    Args:
        x: input current, any shape that broadcasts against the state.
        state: the state after the previous step.
        p: the neurons' constants.
        fire: a threshold with a derivative of its own, for those who differentiate; None for the hard one. The reset is
            never differentiated.

    Returns:
        ``(z, state)``: the spikes, 0 or 1 in the dtype of ``x``, and the state after the step.
    """
    i = x if state.i is None else p.alpha * state.i + x
    v = p.beta * state.v + i
    if p.v_min is not None or p.v_max is not None:
        v = torch.clamp(v, p.v_min, p.v_max)
    # Two ways to the same numbers: bools where they are fused away, floats where they would be written out, several times as fast.
    if torch.compiler.is_compiling():
        fired = v > p.v_th
        spiked = fired.to(v.dtype)
        rested = torch.where(fired, 0.0, v)
    else:
        spiked = torch.gt(v.detach(), p.v_th, out=torch.empty_like(v))
        rested = torch.addcmul(v, v, spiked, value=-1.0)
    z = spiked if fire is None else fire(v - p.v_th)
    v = rested if p.reset == "zero" else v - p.v_th * spiked
    return z, LIFState(v, None if state.i is None else i)


class LIF(nn.Module):
    """``lif_step`` as a module: ``forward(x, state=None) -> (z, state)``, one timestep, any shape. Keeps no state itself."""

    def __init__(self, p: LIFParameters = LIFParameters()):
        super().__init__()
        self.p = p.checked()

    def forward(self, x: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        return lif_step(x, lif_initial_state(x, self.p) if state is None else state, self.p)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.p._asdict().items())
