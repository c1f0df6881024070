r"""From the spikes of the last hidden layer to one number a class.

A readout receives, in every step, the current ``I[t] = W s[t] + b`` of its own weights, and after the last step has a value
``[B, C]`` whose largest entry is the decision::

    membrane        v[t] = decay * v[t-1] + I[t]                   value = v[T]; never fires, so it is linear in the spikes
    maximum         the same membrane                              value = max over t of v[t]
    spike count     LIF neurons, c[t] = c[t-1] + z[t]              value = c[T] + residual * v[T] / v_th

With ``decay = 1`` (no leak, the default) the membrane is ``W`` times the spike counts plus ``T b``: exact in integers, and the
cheapest to probe. On the chip's integer neurons the membrane is that of a neuron with the largest threshold there is, in units of
one int8 weight. ``residual`` adds the membrane that is left to the count: ties are broken, and an output that never fires
still shows which way it leans. It can be annealed to 0 while training (``training/build.py``).
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.snn.loihi import ALIGNMENT, CubaNeuron, CubaParameters
from polystep_snn.snn.neurons import LIFParameters, LIFState, starting_current


class ReadoutState(NamedTuple):
    """What a readout carries from one step to the next, ``[B, C]`` each.

    Attributes:
        total: membranes, or spike counts so far.
        neurons: the state of output neurons that fire; None for integrators.
        current: of integrators with a synapse; else None.
        peak: of a readout whose largest membrane decides, the largest so far; else None.
    """

    total: Tensor
    neurons: LIFState | None = None
    current: Tensor | None = None
    peak: Tensor | None = None


@dataclass(frozen=True)
class MembraneReadout:
    """The membranes of integrators that do not fire.

    Attributes:
        decay: fraction of the membrane left after a step; 1 is an integrator without leak.
        alpha: fraction of a synaptic current left after a step; 0 without a synapse. Near 1 the membrane adds up what an integrator's
            membrane was in every step, so that the whole sequence decides; ``MembraneReadout.over_time()`` is such a one.
        i_0: synaptic currents at the start, one a neuron; None for 0. A readout with some runs, and is not trained here.
        maximum: the largest membrane of all steps is the value, not the last one: of events that are short, wherever they lie.
    """

    decay: float = 1.0
    alpha: float = 0.0
    i_0: tuple[float, ...] | None = None
    maximum: bool = False

    def __post_init__(self):
        if not 0.0 < self.decay <= 1.0:
            raise InputError(f"the readout's decay is {self.decay:g}: choose a fraction in (0, 1], 1 for no leak")
        if not 0.0 <= self.alpha < 1.0:
            raise InputError(f"the readout's alpha is {self.alpha:g}: choose a fraction in [0, 1), 0 for no synapse")

    @classmethod
    def over_time(cls) -> "MembraneReadout":
        """An integrator behind a synapse that keeps its current as long as the chip's can (``du = 0``): its membrane is, but for a leak of
        1/4096 a step, the sum over time of what an integrator without a synapse has, so the mean membrane decides, not the last one.
        """
        return cls(alpha=4095 / 4096)

    def check_trainable(self) -> None:
        """InputError for a readout with a current at the start, which no method here trains."""
        if self.i_0 is not None:
            raise InputError("the readout has a current at the start, which is not trained here: set i_0 to None")

    def counts(self, num_steps: int) -> list[float]:
        """What a current of 1 adds to the final membrane, ``[T]``, by how many steps before the last one it arrives."""
        found, synapse = [1.0], 1.0
        for _ in range(num_steps - 1):
            synapse *= self.alpha
            found.append(self.decay * found[-1] + synapse)
        return found

    def full_scale(self, num_steps: int) -> float:
        """What costs are scaled by: T; with a synapse, what a current of 1 in every step leaves on the membrane."""
        return sum(self.counts(num_steps)) if self.alpha else num_steps

    def initial_state(self, like: Tensor, neuron: CubaNeuron | None = None) -> ReadoutState:
        """At rest, in the shape of ``like [B, C]``; ``neuron`` as in ``step``."""
        peak = torch.full_like(like, -math.inf) if self.maximum else None
        if neuron is None and self.alpha:
            return ReadoutState(torch.zeros_like(like), None, starting_current(like, self.i_0), peak)
        return ReadoutState(torch.zeros_like(like), None if neuron is None else neuron.initial_state(like), None, peak)

    def step(self, current: Tensor, state: ReadoutState, neuron: CubaNeuron | None = None) -> ReadoutState:
        """One step of a state under a current ``[B, C]``; ``neuron`` is what integrates on the chip, in whole numbers."""
        after = self._integrated(current, state, neuron)
        return after if state.peak is None else after._replace(peak=torch.maximum(state.peak, self.membrane(after)))

    def _integrated(self, current: Tensor, state: ReadoutState, neuron: CubaNeuron | None) -> ReadoutState:
        if state.current is not None:
            arrived = self.alpha * state.current + current
            return ReadoutState(self.decay * state.total + arrived, current=arrived)
        if neuron is None or state.neurons is None:
            return ReadoutState(self.decay * state.total + current)
        _, neurons = neuron.step(current, state.neurons)
        return ReadoutState(state.total, neurons)

    def membrane(self, state: ReadoutState) -> Tensor:
        """The membranes of a state, ``[B, C]``; of the chip's neurons in the unit of its registers."""
        return state.total if state.neurons is None else state.neurons.v

    def value(self, state: ReadoutState, neuron: CubaNeuron | None = None) -> Tensor:
        """One number a class, ``[B, C]``, of a state; ``neuron`` as in ``step``."""
        found = self.membrane(state) if state.peak is None else state.peak
        return found if state.neurons is None else found / ALIGNMENT


@dataclass(frozen=True)
class SpikeCountReadout:
    """Spike counts of LIF neurons, plus a fraction of the membrane they end with.

    Attributes:
        neuron: constants of the output neurons.
        residual: how many spikes a membrane at threshold is worth; 0 for spike counts alone.
    """

    neuron: LIFParameters | CubaParameters = field(default_factory=LIFParameters)
    residual: float = 0.0

    def __post_init__(self):
        self.neuron.checked()
        if not math.isfinite(self.residual):
            raise InputError(f"residual is {self.residual:g}: choose a finite share of the membrane, 0 for none")

    def full_scale(self, num_steps: int) -> float:
        """What costs are scaled by: T (``num_steps``), the most spikes that there can be."""
        return num_steps

    def initial_state(self, like: Tensor, neuron: CubaNeuron | None = None) -> ReadoutState:
        """At rest, in the shape of ``like [B, C]``; ``neuron`` as in ``step``."""
        return ReadoutState(torch.zeros_like(like), self._neuron(neuron).initial_state(like))

    def step(self, current: Tensor, state: ReadoutState, neuron: CubaNeuron | None = None) -> ReadoutState:
        """One step of a state under a current ``[B, C]``; ``neuron`` is what fires on the chip."""
        assert state.neurons is not None
        z, neurons = self._neuron(neuron).step(current, state.neurons)
        return ReadoutState(state.total + z, neurons)

    def value(self, state: ReadoutState, neuron: CubaNeuron | None = None) -> Tensor:
        """One number a class, ``[B, C]``, of a state; ``neuron`` as in ``step``."""
        if self.residual == 0.0 or state.neurons is None:
            return state.total
        return state.total + self.membrane_share(neuron, self.residual) * state.neurons.v

    def membrane_share(self, neuron: CubaNeuron | None, residual: float) -> float | Tensor:
        """What a unit of the final membrane is worth, in spikes."""
        p = self._neuron(neuron)
        return residual / (p.v_th if isinstance(p, LIFParameters) else p.threshold)

    def _neuron(self, neuron: CubaNeuron | None) -> LIFParameters | CubaNeuron:
        if neuron is not None:
            return neuron
        if isinstance(self.neuron, CubaParameters):
            raise InputError("this readout's threshold is an integer that its weights decide: take it from the network's layers()")
        return self.neuron


Readout = MembraneReadout | SpikeCountReadout
