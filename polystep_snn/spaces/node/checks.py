"""What a step refuses: batches that do not fit, numbers that cannot be computed with."""

from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.cost import RateTarget
from polystep_snn.snn.frames import Constant, EventFrames, Frames
from polystep_snn.snn.magnitude import flaw
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.readouts import MembraneReadout
from polystep_snn.spaces.node.memory import one_window_each
from polystep_snn.spaces.node.space import NodeSpace


def check(network: SpikingNetwork, inputs: Frames | Tensor, target: Tensor, weight: Tensor) -> None:
    """InputError for a batch that does not fit a network with such a first weight."""
    if not isinstance(inputs, (Frames, Tensor)) or not isinstance(target, Tensor):
        raise InputError(
            f"inputs and targets are {type(inputs).__name__} and {type(target).__name__}: give tensors, or an encoder's frames"
        )
    if isinstance(inputs, Tensor) and not len(inputs):
        raise InputError("the input has no timesteps: give [T, B, ...] with T >= 1")
    real = target.ndim == 2 and target.shape[1] == network.sizes[-1] and target.dtype == weight.dtype
    if not real and (target.ndim != 1 or target.dtype != torch.int64):
        raise InputError(
            f"targets are {target.dtype} {list(target.shape)}: give int64 classes [B], or real targets, "
            f"{weight.dtype} [B, {network.sizes[-1]}]"
        )
    if not target.shape[0]:
        raise InputError("the batch is empty: give at least one sample")
    frame = inputs.current if isinstance(inputs, Constant) else inputs[0] if isinstance(inputs, Tensor) else None
    if frame is not None:
        if frame.ndim < 2 or frame[0].numel() != network.sizes[0] or frame.dtype != weight.dtype:
            given = f"{inputs.dtype} {list(inputs.shape)}" if isinstance(inputs, Tensor) else f"{frame.dtype} {list(frame.shape)} a step"
            raise InputError(f"inputs are {given}: give {weight.dtype} [T, B, ...] with {network.sizes[0]} values a sample")
        if frame.shape[0] != target.shape[0]:
            raise InputError(f"there are {len(target)} targets for {len(frame)} samples: give one a sample")
    if real:
        return
    # Negative ones are the largest of all without their sign.
    if target.device.type == "cpu" and np.maximum.reduce(target.numpy().view(np.uint64)) < network.sizes[-1]:
        return
    low, high = torch.stack(target.aminmax()).tolist()
    if low < 0 or high >= network.sizes[-1]:
        raise InputError(f"a target is {low if low < 0 else high}, but this network's classes lie in 0..{network.sizes[-1] - 1}")


def decides_over_time(network: SpikingNetwork, every_step: bool) -> bool:
    """Whether membranes of several steps decide: the largest, or those of every step."""
    return every_step or (isinstance(network.readout, MembraneReadout) and network.readout.maximum)


def can_be_followed(network: SpikingNetwork, every_step: bool = False) -> bool:
    """Whether probes can be followed through all layers behind: no spike arrives later, nothing of it is kept but by the membrane, and the
    last step decides alone."""
    if decides_over_time(network, every_step):
        return False
    kept = not network.integer and isinstance(network.readout, MembraneReadout) and network.readout.alpha
    return not network.has_memory and not (kept and len(network.neurons) > 1)


def check_memory(network: SpikingNetwork, space: NodeSpace, points: Tensor, every_step: bool = False) -> None:
    """InputError for a space in which a network whose spikes arrive later is not probed; ``points``: the vertices."""
    if every_step and not isinstance(network.readout, MembraneReadout):
        raise InputError("every step's decision has a cost, but a readout of spike counts decides at the end: choose a MembraneReadout")
    if every_step and decides_over_time(network, False):
        raise InputError("every step's decision has a cost, but the readout's largest membrane decides alone: choose one of both")
    if space.credit == "exact" and not can_be_followed(network, every_step):
        raise InputError(
            "credit is 'exact', but spikes that arrive later, or in a readout with a synapse, or decisions over time, are not followed: "
            "choose 'chained' or 'auto'"
        )
    if any(wiring.recurrent for wiring in network.wirings) and (space.rotate or not one_window_each(points)):
        raise InputError(
            f"the polytope is {space.polytope!r}{', rotated' if space.rotate else ''}, but credit through recurrent weights needs vertices "
            "that shift one window each: choose 'orthoplex', not rotated"
        )


def check_rate_target(network: SpikingNetwork, rate_target: RateTarget | None) -> None:
    """InputError for a cost of firing rates where spikes of the last hidden layer are not counted."""
    readout = network.readout
    if rate_target is None or not isinstance(readout, MembraneReadout):
        return
    if (readout.decay != 1.0 or readout.alpha) and not readout.maximum:
        raise InputError(
            f"firing rates have a cost, but before a readout that keeps {readout.decay:g} of its membrane and {readout.alpha:g} of its "
            "current no spikes are counted: choose a readout without a leak and a synapse"
        )
    if network.wirings[-1].max_delay:
        raise InputError("firing rates have a cost, but the spikes of the last hidden layer leave late and are not counted: leave it out")


def explain(network: SpikingNetwork, inputs: Frames | Tensor) -> NoReturn:
    """InputError that says what cannot be computed with."""
    bad = next((f"{name} contains {found}" for name, p in network.named_parameters() if (found := flaw(p)) is not None), None)
    values = inputs.current if isinstance(inputs, Constant) else inputs
    if bad is None and not isinstance(values, EventFrames) and (not isinstance(values, Tensor) or not values.isfinite().all()):
        bad = "the input contains NaN or infinity"
    if bad is None:
        raise InputError("the cost is NaN or infinite: choose a smaller learning rate, or a cost that is finite")
    raise InputError(f"{bad}: clean the data, or start from finite weights with a smaller learning rate")
