"""Candidates of a spiking network through time: pure functions of tensors, so that they can be compiled.

The batch is innermost: T steps, V vertices, K particles, N neurons, B samples.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polystep_snn.snn.neurons import LIFParameters, lif_initial_state, lif_step
from polystep_snn.snn.readouts import Readout


class Layers(NamedTuple):
    """The layers that a candidate is simulated through, the readout last.

    Attributes:
        currents: ``[T, N, B]`` of the unprobed network, or ``[1, N, B]`` where constant, into the first of these layers.
        weights, biases: of the layers after the first.
        neurons: constants of the layers but the readout.
    """

    currents: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    neurons: tuple[LIFParameters, ...]
    readout: Readout


def step_of(x: Tensor | Sequence[Tensor], t: int) -> Tensor:
    """The entry of step t; what does not change in time comes as one step."""
    return x[t] if len(x) > 1 else x[0]


def row_change(current: Tensor, shift: Tensor, spikes: Tensor, p: LIFParameters, num_steps: int) -> list[Tensor]:
    """What a shift changes in the spikes of single neurons, ``[V, K, B]`` a step.

    Args:
        current: ``[T, K, B]`` of the unprobed neurons.
        shift: ``[T, V, K, B]``.
        spikes: ``[T, K, B]`` of the unprobed neurons.
    """
    state, changed = None, []
    for t in range(num_steps):
        x = step_of(current, t) + step_of(shift, t)
        z, state = lif_step(x, lif_initial_state(x, p) if state is None else state, p)
        changed.append(z - spikes[t])
    return changed


def readout_of(layers: Layers, columns: list[Tensor], changes: list[Sequence[Tensor] | Tensor], num_steps: int) -> Tensor:
    """The readout's value ``[V, K, C, B]`` when the first of these layers receives ``sum_q columns[q] changes[q][t]`` more.

    Args:
        columns: ``[V or 1, K, N]`` each, for changes of rank one; ``[V, K, N, M]`` for whole matrices.
        changes: for each step (or once, where constant) ``[V or 1, K, B]``; ``[M, B]`` for whole matrices.
    """
    states: list[Any] = [None] * len(layers.neurons)
    total = driven = None
    constant = all(len(given) == 1 for given in (layers.currents, *changes))
    for t in range(num_steps):
        if driven is None or not constant:
            driven = step_of(layers.currents, t)
            for column, change in zip(columns, changes, strict=True):
                now = step_of(change, t)
                driven = driven + (torch.matmul(column, now) if now.ndim == 2 else column[..., None] * now[..., None, :])
        x = driven
        for k, p in enumerate(layers.neurons):
            z, states[k] = lif_step(x, lif_initial_state(x, p) if states[k] is None else states[k], p)
            x = torch.matmul(layers.weights[k], z) + layers.biases[k][:, None]
        total = layers.readout.step(x, layers.readout.initial_state(x) if total is None else total)
    assert total is not None
    return layers.readout.value(total)


def row_readout(current: Tensor, shift: Tensor, readout: Readout, num_steps: int) -> Tensor:
    """The value ``[V, K, B]`` of single readout neurons whose current is shifted; arguments as of ``row_change``."""
    state = None
    for t in range(num_steps):
        x = step_of(current, t) + step_of(shift, t)
        state = readout.step(x, readout.initial_state(x) if state is None else state)
    assert state is not None
    return readout.value(state)


def spikes_of(current: Tensor, p: LIFParameters, num_steps: int) -> Tensor:
    """The spikes ``[T, N, B]`` of neurons under a current ``[T, N, B]``, or ``[1, N, B]`` where it is constant."""
    state = lif_initial_state(current[0], p)
    spikes = []
    for t in range(num_steps):
        z, state = lif_step(step_of(current, t), state, p)
        spikes.append(z)
    return torch.stack(spikes)
