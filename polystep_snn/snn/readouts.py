r"""From the spikes of the last hidden layer to one number a class.

A readout receives, in every step, the current ``I[t] = W s[t] + b`` of its own weights, and after the last step has a value
``[B, C]`` whose largest entry is the decision::

    membrane        v[t] = decay * v[t-1] + I[t]                   value = v[T]; never fires, so it is linear in the spikes
    spike count     LIF neurons, c[t] = c[t-1] + z[t]              value = c[T] + residual * v[T] / v_th

With ``decay = 1`` (no leak, the default) the membrane is ``W`` times the spike counts plus ``T b``: exact in integers, and the
cheapest to probe. ``residual`` adds the membrane that is left to the count: ties are broken, and an output that never fires
still shows which way it leans. It can be annealed to 0 while training (``training/build.py``).
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.snn.neurons import LIFParameters, LIFState, lif_initial_state, lif_step


class ReadoutState(NamedTuple):
    """What a readout carries from one step to the next, ``[B, C]`` each.

    Attributes:
        total: membranes, or spike counts so far.
        neurons: the state of output neurons that fire; None for integrators.
    """

    total: Tensor
    neurons: LIFState | None = None


@dataclass(frozen=True)
class MembraneReadout:
    """The membranes of integrators that do not fire.

    Attributes:
        decay: fraction of the membrane left after a step; 1 is an integrator without leak.
    """

    decay: float = 1.0

    def __post_init__(self):
        if not 0.0 < self.decay <= 1.0:
            raise InputError(f"the readout's decay is {self.decay:g}: choose a fraction in (0, 1], 1 for no leak")

    def initial_state(self, like: Tensor) -> ReadoutState:
        return ReadoutState(torch.zeros_like(like))

    def step(self, current: Tensor, state: ReadoutState) -> ReadoutState:
        return ReadoutState(self.decay * state.total + current)

    def value(self, state: ReadoutState) -> Tensor:
        return state.total


@dataclass(frozen=True)
class SpikeCountReadout:
    """Spike counts of LIF neurons, plus a fraction of the membrane they end with.

    Attributes:
        neuron: constants of the output neurons.
        residual: how many spikes a membrane at threshold is worth; 0 for spike counts alone.
    """

    neuron: LIFParameters = field(default_factory=LIFParameters)
    residual: float = 0.0

    def __post_init__(self):
        self.neuron.checked()
        if not math.isfinite(self.residual):
            raise InputError(f"residual is {self.residual:g}: choose a finite share of the membrane, 0 for none")

    def initial_state(self, like: Tensor) -> ReadoutState:
        return ReadoutState(torch.zeros_like(like), lif_initial_state(like, self.neuron))

    def step(self, current: Tensor, state: ReadoutState) -> ReadoutState:
        assert state.neurons is not None
        z, neurons = lif_step(current, state.neurons, self.neuron)
        return ReadoutState(state.total + z, neurons)

    def value(self, state: ReadoutState) -> Tensor:
        if self.residual == 0.0 or state.neurons is None:
            return state.total
        return state.total + (self.residual / self.neuron.v_th) * state.neurons.v


Readout = MembraneReadout | SpikeCountReadout
