"""Every spike and membrane of a network on one sample, for figures and comparisons."""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.snn.frames import Frames
from polystep_snn.snn.network import SpikingNetwork


class Recording(NamedTuple):
    """What happened in one sample, time first.

    Attributes:
        inputs: ``[T, N]`` spikes or currents.
        spikes: ``[T, N_l]`` for each hidden layer.
        membranes: ``[T, N_l]`` for each hidden layer, after the step and its reset.
        readout: ``[T, C]``, the readout's value after every step.
    """

    inputs: Tensor
    spikes: list[Tensor]
    membranes: list[Tensor]
    readout: Tensor


@torch.no_grad()
def record(network: SpikingNetwork, frames: Frames | Tensor) -> Recording:
    """Run a network on the frames of a batch of one, ``[T, 1, N]``, and keep everything."""
    inputs, spikes, membranes, values = [], [], [], []
    state = None
    for x in frames:
        state = network.initial_state(len(x)) if state is None else state
        z, state = network.step(x, state)
        inputs.append(x[0])
        spikes.append([layer[0] for layer in z])
        membranes.append([layer.v[0] for layer in state.hidden])
        values.append(network.readout.value(state.readout)[0])

    def by_layer(steps: list[list[Tensor]]) -> list[Tensor]:
        return [torch.stack(layer) for layer in zip(*steps, strict=True)]

    return Recording(torch.stack(inputs), by_layer(spikes), by_layer(membranes), torch.stack(values))
