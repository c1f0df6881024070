"""Decisions over time the slow, obvious way: every step's membranes are kept, and slopes are autograd's."""

import torch

from polystep_snn.snn.readouts import MembraneReadout


def decides_over_time(network, every_step):
    return every_step or (isinstance(network.readout, MembraneReadout) and network.readout.maximum)


def membranes(network, arriving, shift=0.0):
    """``[T, B, C]`` of the readout's integrators, of ``arriving [T, B, N]`` and ``shift [T, B, C]`` of their current."""
    readout, found = network.readout, []
    currents = arriving @ network.weights[-1].T + network.biases[-1] + shift
    membrane = synapse = torch.zeros_like(currents[0])
    for current in currents:
        synapse = readout.alpha * synapse + current
        membrane = readout.decay * membrane + synapse
        found.append(membrane)
    return torch.stack(found)


def decided(network, arriving, cost, target, every_step, shift=0.0):
    """``(value [B, C], cost [B])``."""
    found = membranes(network, arriving, shift)
    if every_step:
        return found[-1], torch.stack([cost(v.T, target) for v in found]).mean(0)
    value = found.max(0).values
    return value, cost(value.T, target)


def slopes(network, arriving, cost, target, every_step, windows):
    """``[M, C, B]``: of the cost, for a unit of the readout's current in every step of each window ``[T, M]``."""
    with torch.enable_grad():
        shift = torch.zeros(windows.shape[1], arriving.shape[1], network.sizes[-1], dtype=arriving.dtype, requires_grad=True)
        of_steps = torch.einsum("tm,mbc->tbc", windows, shift)
        decided(network, arriving, cost, target, every_step, of_steps)[1].sum().backward()
    return shift.grad.transpose(1, 2)
