"""What a step by loops tells its caller."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import rates_of
from polystep_snn.polystep.method import StepResult
from polystep_snn.spaces.node.last_hop import NeuronEnd
from polystep_snn.spaces.node.loops.layer import LoopLayer
from polystep_snn.spaces.node.loops.readout import Readout
from polystep_snn.spaces.node.loops.shape import Shape


def result(layers: Sequence[LoopLayer], readout: Readout, shape: Shape) -> StepResult:
    """Loss, accuracy and firing rates of a batch."""
    real, kind = shape.batch_size, readout.odds.dtype.type
    # The chip's leaky integrators are simulated, and do not fire.
    silent = isinstance(readout.end, NeuronEnd) and not readout.end.counts
    rates = [_rates(x, shape) for x in layers[: len(layers) - silent]]
    loss, right = (torch.from_numpy(np.asarray(x / real, kind)) for x in (readout.loss, readout.right))
    return StepResult(loss, right, rates)


def _rates(layer: LoopLayer, shape: Shape) -> Tensor:
    counts = layer.counts.numpy()
    found = np.empty(len(counts), counts.dtype)
    rates_of(counts, shape.batch_size, shape.num_steps, found)
    return torch.from_numpy(found)
