"""What compiled loops take: the constants of neurons and probes, as plain arrays and numbers."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from polystep_snn.engine.loops.neurons import Lif, cuba_of
from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.spaces.node.pass_state import LayerProbes
from polystep_snn.spaces.node.populations import Neuron


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

    @property
    def has_synapse(self) -> bool:
        return self.lif[1] is not None or (self.cuba is not None and self.cuba[0] is not None)

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for neurons that the same compiled loop computes."""
        return self.cuba is None, *(x is None for x in (*self.lif, *(self.cuba or ())))


@lru_cache(maxsize=64)
def _lif(p: LIFParameters, kind: Any) -> Constants:
    alpha, low, high = (None if x is None else kind(x) for x in (None if p.tau_syn_inv is None else p.alpha, p.v_min, p.v_max))
    lif = Lif(kind(p.beta), alpha, kind(p.v_th), low, high, kind(p.v_th) if p.reset == "subtract" else None)
    return Constants(tuple(lif), None, None, None)


def constants(p: Neuron, num_neurons: int, kind: Any) -> Constants:
    """Numbers of the states' type: a float among them would make all arithmetic that of float64."""
    if isinstance(p, CubaNeuron):
        threshold, bias = (x.flatten().expand(num_neurons).contiguous().numpy() for x in (p.threshold, p.bias))
        unused = Lif(kind(0), None, kind(0), None, None, None)
        return Constants(tuple(unused), tuple(cuba_of(p.du, p.dv, kind)), bias, threshold)
    return _lif(p, kind)


class Probing(NamedTuple):
    """A layer's probes.

    Attributes:
        shift: ``[T, V]``, of the current at every vertex in every step; ``[1, V]`` where the one window is the sequence.
        starts: ``[V]``, the first step in which each vertex shifts.
        chosen: ``[K]``, the probed neurons.
        place: ``[N]``, which of the probed neurons each is, or -1.
        all_probed: whether K is N.
        whole: whether the one window is the sequence: then what arrives in it is what arrives at all.
        apart: whether every step belongs to one window.
        windows: ``[T, M]``.
        points: ``[V, M]``, the negative offsets over their mean length, times what a displacement of one of K neurons in one of B samples
            stands for, and what an input in each window counts for the weights.
        bias_share: ``[M]``, how much more it counts for the biases.
        share: ``[M]``, what an input in each window counts for the weights.
    """

    shift: np.ndarray
    starts: np.ndarray
    chosen: np.ndarray
    place: np.ndarray
    all_probed: bool
    whole: bool
    apart: bool
    windows: Tensor
    points: np.ndarray
    bias_share: np.ndarray
    share: np.ndarray

    def of_biases(self, sums: np.ndarray) -> np.ndarray:
        """Sums of displacements ``[M, K]`` as biases see them: ``[K]``, no view."""
        return sums[0] * self.bias_share[0] if len(sums) == 1 else self.bias_share @ sums

    def of(self, neurons: Tensor | None) -> "Probing":
        """The same probes of as many other neurons ``[K]``; None for all."""
        if neurons is None:
            return self
        chosen, place = neurons.numpy(), np.full(len(self.place), -1)
        place[chosen] = np.arange(len(chosen))
        return self._replace(chosen=chosen, place=place)


def probing(probes: LayerProbes, num_neurons: int, batch_size: int, share: np.ndarray, bias_share: np.ndarray) -> Probing:
    """Probes as loops take them; ``share`` and ``bias_share`` as of ``last_hop.LayerCosts``."""
    offsets, windows = probes.offsets.numpy(), probes.windows.numpy()
    kind = offsets.dtype.type
    place = np.arange(num_neurons)
    chosen = place if probes.neurons is None else probes.neurons.numpy()
    if probes.neurons is not None:
        place = np.full(num_neurons, -1)
        place[chosen] = np.arange(len(chosen))
    length = np.sqrt((offsets * offsets).sum(1)).mean()
    points = offsets * (share * (-num_neurons / len(chosen) / batch_size / length))
    whole = windows.shape[1] == 1 and bool((windows == 1).all())
    apart = bool(((windows == 0) | (windows == 1)).all() and (windows.sum(1) == 1).all())
    more = bias_share / np.where(share == 0, 1, share)
    shift = offsets.T.copy() if whole else windows @ offsets.T
    starts = np.where((shift != 0).any(0), (shift != 0).argmax(0), len(windows))
    return Probing(
        shift,
        starts,
        chosen,
        place,
        len(chosen) == num_neurons,
        whole,
        apart,
        probes.windows,
        points.astype(kind),
        more.astype(kind),
        share,
    )


def array(x: Tensor | None) -> np.ndarray | None:
    return None if x is None else x.numpy()
