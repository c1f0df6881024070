r"""Decisions that do not wait for the last step: a readout whose largest membrane is its value, and costs of every step's membrane.

Both are functions of the membranes ``v[t, c, b]`` of all steps, which a spike changes from the step of its arrival on. Its price is the
slope of the cost: with ``k(s)`` what is left on a membrane s steps after a current of 1 (``MembraneReadout.counts``),

    maximum         D[t, c, b] = dC/dvalue[c, b]  in the step t of the largest membrane, else 0
    every step      D[t, c, b] = dC/dv[t, c, b] / T          the cost is the mean of all steps' costs
    g[m, c, b]      = sum_t D[t, c, b] sum_{i <= t} phi_m(i) k(t - i)          for a unit of current in every step of window m

as of a layer that spikes (``chained.py``), and credit is handed on to the last layer that fires as it is from there to the others. The
sums over t are kept while time goes by, so nothing grows with it. The readout's own probes cost ``C + offset g``. Two approximations: the
cost is taken as linear, and the step of the largest membrane as one that no probe moves.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.cost import Cost, CrossEntropy, MeanSquaredError
from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.readouts import MembraneReadout, ReadoutState
from polystep_snn.snn.wiring import Wiring


class OverTimeEnd(NamedTuple):
    """A readout that integrates and never fires, of which membranes of several steps decide.

    Attributes:
        readout: how it integrates.
        wiring: of its weights.
        neuron: what integrates on the chip, batch last; None in floating point.
        unit: scalar tensor, what a membrane of 1 is worth to the cost.
        every_step: the cost is the mean over all steps of the cost of the membranes.
        neurons: of the readout that fire: none.
        decay: of the traces in the last layer that fires: 1, they count.
    """

    readout: MembraneReadout
    wiring: Wiring
    neuron: CubaNeuron | None
    unit: Tensor
    every_step: bool
    neurons: tuple[()] = ()
    decay: float = 1.0

    def worth(self, windows: Tensor) -> Tensor:
        """How much a unit of current in every step of each window adds to the membrane of each step: ``[T, M]`` of windows ``[T, M]``."""
        num_steps = len(windows)
        left = torch.tensor(self.readout.counts(num_steps), dtype=windows.dtype, device=windows.device)
        ago = torch.arange(num_steps, device=windows.device)[:, None] - torch.arange(num_steps, device=windows.device)
        return torch.where(ago >= 0, left[ago.clamp(min=0)], 0.0) @ windows


class Decisions(NamedTuple):
    """What is kept of a readout's membranes while time goes by; C classes, B samples, M windows.

    Attributes:
        state: of the readout, ``[C, B]``.
        cost: ``[B]``, the sum of all steps' costs so far; zeros where the largest membrane decides.
        slopes: ``[M, C, B]``: ``sum_t D[t] worth[t]`` so far; of the largest membrane, ``worth`` of its step.
    """

    state: ReadoutState
    cost: Tensor
    slopes: Tensor


class Found(NamedTuple):
    """What decisions come to.

    Attributes:
        value: ``[C, B]``, as the cost sees it: the largest membrane, or where every step has a cost, the last.
        cost: ``[B]``.
        slopes: ``[M, C, B]`` of the cost, for a unit of the value a step.
    """

    value: Tensor
    cost: Tensor
    slopes: Tensor


def check_cost(cost: Cost) -> CrossEntropy | MeanSquaredError:
    """InputError for a cost whose slope is not known."""
    if not isinstance(cost, CrossEntropy | MeanSquaredError):
        raise InputError(f"the cost {type(cost).__name__} has no slope, which decisions over time ask for: choose CrossEntropy")
    return cost


def at_first(end: OverTimeEnd, like: Tensor, num_windows: int) -> Decisions:
    """Before the first step; ``like``: ``[C, B]``."""
    state = end.readout.initial_state(like, end.neuron)
    return Decisions(state, like.new_zeros(like.shape[1]), like.new_zeros(num_windows, *like.shape))


def integrated(end: OverTimeEnd, state: ReadoutState, currents: Tensor) -> tuple[ReadoutState, Tensor]:
    """A readout's state after a block of steps under currents ``[U, C, B]``, and its membranes after each of them, ``[U, C, B]``."""
    membranes = []
    for current in currents:
        state = end.readout.step(current, state, end.neuron)
        membranes.append(end.readout.membrane(state))
    return state, torch.stack(membranes)


def follow(end: OverTimeEnd, decisions: Decisions, current: Tensor, worth: Tensor, cost: Cost, target: Tensor) -> Decisions:
    """Through a block of steps.

    Args:
        end: of the network.
        decisions: before the block.
        current: ``[U, C, B]``, what the readout receives.
        worth: ``[U, M]``, the block's part of ``OverTimeEnd.worth``.
        cost, target: of every step's membranes.
    """
    state, summed, slopes = decisions
    before = state.peak
    state, of_steps = integrated(end, state, current)
    if before is not None:
        peak, step = of_steps.max(0)
        slopes = torch.where(peak > before, worth[step].movedim(-1, 0), slopes)
    if end.every_step:
        values, known = of_steps * end.unit, check_cost(cost)
        summed = summed + cost(values, target).sum(0)
        slopes = slopes + torch.tensordot(worth.T, known.slope(values, target), 1)
    return Decisions(state, summed, slopes)


def found_by(end: OverTimeEnd, decisions: Decisions, num_steps: int, cost: Cost, target: Tensor) -> Found:
    """After the last of ``num_steps`` steps; the rest as of ``follow``."""
    state, summed, slopes = decisions
    if end.every_step:
        return Found(end.readout.membrane(state) * end.unit, summed / num_steps, slopes / num_steps)
    assert state.peak is not None
    value = state.peak * end.unit
    return Found(value, cost(value, target), slopes * check_cost(cost).slope(value, target))
