"""What compiled loops take: a network's constants and states as plain arrays, which share the tensors' memory."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops.neurons import Lif, cuba_of
from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.spaces.node.populations import Neuron, Population


class Constants(NamedTuple):
    """A layer's neurons.

    Attributes:
        lif, cuba: numbers, as ``engine.loops.neurons`` names them; cuba is None in floating point.
        bias, threshold: ``[N]`` of the chip's neurons; else None.
    """

    lif: tuple[Any, ...]
    cuba: tuple[Any, ...] | None
    bias: np.ndarray | None
    threshold: np.ndarray | None


def constants(p: Neuron, num_neurons: int, dtype: torch.dtype) -> Constants:
    """Numbers of the states' type: a float among them would make all arithmetic that of float64."""
    kind: Any = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    if isinstance(p, CubaNeuron):
        threshold, bias = (x.flatten().expand(num_neurons).contiguous().numpy() for x in (p.threshold, p.bias))
        unused = Lif(kind(0), None, kind(0), None, None, None)
        return Constants(tuple(unused), tuple(cuba_of(p.du, p.dv, kind)), bias, threshold)
    alpha, low, high = (None if x is None else kind(x) for x in (None if p.tau_syn_inv is None else p.alpha, p.v_min, p.v_max))
    lif = Lif(kind(p.beta), alpha, kind(p.v_th), low, high, kind(p.v_th) if p.reset == "subtract" else None)
    return Constants(tuple(lif), None, None, None)


def arrays(population: Population) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Membranes, synapses and traces."""
    (v, i), trace = population
    return v.numpy(), array(i), trace.numpy()


def array(x: Tensor | None) -> np.ndarray | None:
    return None if x is None else x.numpy()


def places(neurons: Tensor | None, num_neurons: int) -> np.ndarray:
    """Which of the probed neurons each is, or -1."""
    if neurons is None:
        return np.arange(num_neurons)
    found = np.full(num_neurons, -1)
    found[neurons.numpy()] = np.arange(len(neurons))
    return found
