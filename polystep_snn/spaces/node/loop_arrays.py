"""What compiled loops take: a network's constants and states as plain arrays, which share the tensors' memory."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops.neurons import Lif, cuba_of
from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.spaces.node.populations import Neuron, Population

if TYPE_CHECKING:
    from polystep_snn.spaces.node.pass_state import LayerProbes


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


@lru_cache(maxsize=64)
def _lif(p: LIFParameters, kind: Any) -> Constants:
    alpha, low, high = (None if x is None else kind(x) for x in (None if p.tau_syn_inv is None else p.alpha, p.v_min, p.v_max))
    lif = Lif(kind(p.beta), alpha, kind(p.v_th), low, high, kind(p.v_th) if p.reset == "subtract" else None)
    return Constants(tuple(lif), None, None, None)


def constants(p: Neuron, num_neurons: int, dtype: torch.dtype) -> Constants:
    """Numbers of the states' type: a float among them would make all arithmetic that of float64."""
    kind: Any = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    if isinstance(p, CubaNeuron):
        threshold, bias = (x.flatten().expand(num_neurons).contiguous().numpy() for x in (p.threshold, p.bias))
        unused = Lif(kind(0), None, kind(0), None, None, None)
        return Constants(tuple(unused), tuple(cuba_of(p.du, p.dv, kind)), bias, threshold)
    return _lif(p, kind)


def arrays(population: Population) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Membranes, synapses and traces."""
    (v, i), trace = population
    return v.numpy(), array(i), trace.numpy()


def array(x: Tensor | None) -> np.ndarray | None:
    return None if x is None else x.numpy()


class Prepared(NamedTuple):
    """What loops need of a layer's probes, step after step.

    Attributes:
        shift: ``[T, V]``, of the current at every vertex in every step.
        where: ``[N]``, which of the probed neurons each is, or -1.
        whole: whether the one window is the sequence: then what arrives in it is what arrives at all.
        fraction: ``[M]`` tensor, of the sequence that each window is.
        points: ``[V, M]``, the offsets over their mean length.
    """

    shift: np.ndarray
    where: np.ndarray
    whole: bool
    fraction: Tensor
    points: np.ndarray


def prepared(probes: "LayerProbes", num_neurons: int) -> Prepared:
    """Computed once for probes that do not change from step to step."""
    return _prepared(_Identity(tuple(probes)), num_neurons)


@lru_cache(maxsize=64)
def filled(value: float, count: int, dtype: torch.dtype) -> Tensor:
    """``[count]`` of one value: the same object for the same arguments."""
    return torch.full((count,), value, dtype=dtype)


def weighed(probes: "LayerProbes", num_neurons: int, factor: float, share: Tensor, bias_share: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[V, M]`` times a factor and what their windows count for the weights; and ``[M]``, how much more they count for the biases.

    Computed once for tensors that are the same objects from step to step.
    """
    return _weighed(_Identity((*probes, share, bias_share)), num_neurons, factor)


@lru_cache(maxsize=16)
def _weighed(tensors: "_Identity", num_neurons: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    *probes, share, bias_share = tensors.tensors
    assert share is not None
    assert bias_share is not None
    points = _prepared(_Identity(tuple(probes)), num_neurons).points
    weighs = share.numpy()
    return (points * (factor * weighs)).astype(points.dtype), bias_share.numpy() / np.where(weighs == 0, 1, weighs)


class _Identity:
    """Tensors, equal if they are the same objects."""

    def __init__(self, tensors: tuple[Tensor | None, ...]):
        self.tensors = tensors

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.tensors)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and all(a is b for a, b in zip(self.tensors, other.tensors, strict=True))


@lru_cache(maxsize=16)
def _prepared(probes: _Identity, num_neurons: int) -> Prepared:
    offsets, windows, neurons = probes.tensors
    assert offsets is not None
    assert windows is not None
    where = np.arange(num_neurons)
    if neurons is not None:
        where = np.full(num_neurons, -1)
        where[neurons.numpy()] = np.arange(len(neurons))
    points = offsets / torch.linalg.vector_norm(offsets, dim=1).mean()
    whole = windows.shape[1] == 1 and bool((windows == 1).all())
    return Prepared((windows @ offsets.T).numpy(), where, whole, windows.sum(0) / len(windows), points.contiguous().numpy())
