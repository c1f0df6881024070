r"""Populations of neurons through a block of timesteps: the inner loops of node space.

A population is a set of membranes and of traces ``e[t] = decay * e[t-1] + z[t]`` (spike counts for ``decay`` = 1). Each function
below takes one through the U steps of a block and differs only in where its input current comes from. The batch is innermost,
so every operation runs over contiguous memory; the loops over U are unrolled by ``torch.compile`` and keep membranes in
registers. Shapes: U steps, V vertices, K probed neurons, N neurons of a layer, B samples.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.neurons import Fire, LIFParameters, LIFState

Neuron = LIFParameters | CubaNeuron


class Population(NamedTuple):
    """Membranes and traces, of the same shape.

    Attributes:
        state: the neurons' state.
        trace: decaying sum of their spikes.
    """

    state: LIFState
    trace: Tensor


def at_rest(like: Tensor, p: Neuron) -> Population:
    """A population at rest in the shape of ``like``."""
    return Population(p.initial_state(like), torch.zeros_like(like))


def _at(current: Tensor, t: int) -> Tensor:
    """The current of step ``t``; a constant current comes as a block of one step."""
    return current[t] if current.shape[0] > 1 else current[0]


def tick(
    x: Tensor,
    population: Population,
    p: Neuron,
    decay: float,
    shift: Tensor | None = None,
    fire: Fire | None = None,
    share: Tensor | None = None,
) -> tuple[Tensor, Population]:
    """One step under a current of the population's shape; the spikes, and the population after it.

    Args:
        share: what a spike adds to the trace, instead of ``decay``; one number a neuron, with the batch last.
    """
    z, state = p.step(x, population.state, shift, fire)
    if share is not None:
        return z, Population(state, population.trace + share * z)
    trace = population.trace if decay == 1.0 else decay * population.trace
    return z, Population(state, trace + z)


def drive(
    current: Tensor,
    population: Population,
    p: Neuron,
    decay: float,
    num_steps: int,
    keep: bool,
    fire: Fire | None = None,
    shares: Tensor | None = None,
):
    """Neurons under a given current: the network as it is.

    Args:
        current: ``[U, N, B]``, or ``[1, N, B]`` where it is constant.
        population: shapes ``[N, B]``.
        keep: whether the spikes are returned.
        fire: as in ``lif_step``.
        shares: ``[U, N]``, what spikes add to the traces, instead of ``decay``.

    Returns:
        ``(spikes [U, N, B] or None, population)``.
    """
    spikes = []
    for t in range(num_steps):
        z, population = tick(_at(current, t), population, p, decay, fire=fire, share=_share(shares, t))
        if keep:
            spikes.append(z)
    return (torch.stack(spikes) if keep else None), population


def drive_recurrent(
    current: Tensor,
    recurrent: Tensor,
    z: Tensor,
    population: Population,
    p: Neuron,
    decay: float,
    num_steps: int,
    fire: Fire | None = None,
    shares: Tensor | None = None,
) -> tuple[Tensor, Tensor, Population]:
    """Neurons that also receive each other's spikes of the step before.

    Args:
        current: ``[U, N, B]`` or ``[1, N, B]``, what else arrives.
        recurrent: ``[N, N]``.
        z: ``[N, B]``, spikes of the step before the first one.
        population, p, decay, fire, shares: as of ``drive``.

    Returns:
        ``(spikes, currents, population)``: of all steps, ``[U, N, B]``; the currents with what spikes added to them.
    """
    spikes, driven = [], []
    for t in range(num_steps):
        x = torch.addmm(_at(current, t), recurrent, z)
        z, population = tick(x, population, p, decay, fire=fire, share=_share(shares, t))
        spikes.append(z)
        driven.append(x)
    return torch.stack(spikes), torch.stack(driven), population


def _share(shares: Tensor | None, t: int) -> Tensor | None:
    return None if shares is None else shares[t][:, None]


def probe(
    current: Tensor,
    shift: Tensor,
    base: Tensor | None,
    population: Population,
    p: Neuron,
    decay: float,
    num_steps: int,
    shares: Tensor | None = None,
):
    """The probed neurons themselves: the same current, shifted.

    Args:
        current: ``[U, K, B]`` or ``[1, K, B]``, of the K probed neurons.
        shift: ``[U, V]``, the shift at every vertex in every step.
        base: ``[U, K, B]``, their spikes without the shift; None where nobody asks which spikes changed.
        population: shapes ``[V, K, B]``.
        shares: ``[U, K]``, what spikes add to the traces, instead of ``decay``.

    Returns:
        ``(changed [U, V, K, B], moved [V, K, B], population)``: the shifted spikes minus ``base``, -1, 0 or 1, int8; and whether
        any of them is not 0. None and None without ``base``.
    """
    changed, moved = [], None
    for t in range(num_steps):
        z, population = tick(_at(current, t), population, p, decay, shift[t][:, None, None], share=_share(shares, t))
        if base is not None:
            differs = z != base[t]
            moved = differs if moved is None else moved | differs
            changed.append((z - base[t]).to(torch.int8))
    return (torch.stack(changed) if base is not None else None), moved, population


def hop(current: Tensor, columns: Tensor, changed: Tensor, population: Population, p: Neuron, decay: float, num_steps: int) -> Population:
    """The last layer under every probe of the one before: a changed spike moves its current by a column of the weights.

    Args:
        current: ``[U, N, B]``, without the probe.
        columns: ``[K, N]``, the weights that leave the probed neurons.
        changed: ``[U, V, K, B]`` from ``probe``.
        population: shapes ``[V, K, N, B]``.
    """
    for t in range(num_steps):
        moved = columns[:, :, None] * changed[t][:, :, None, :].to(columns.dtype)
        _, population = tick(_at(current, t) + moved, population, p, decay)
    return population
