"""What arrays are kept for."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from polystep_snn.snn.frames import Constant, EventFrames, Frames
from polystep_snn.snn.layer import Layer
from polystep_snn.snn.loihi import NO_CURRENT, CubaNeuron
from polystep_snn.spaces.node.last_hop import End, LinearEnd
from polystep_snn.spaces.node.pass_state import LayerProbes


class Shape(NamedTuple):
    """What arrays are kept for.

    Attributes:
        num_steps, batch_size: of a batch.
        constant: whether all frames are the same.
        sparse: whether they stay events.
        probes: V, M and K of every layer, the readout's last.
        decay: of the traces of the last layer that fires, and ``alpha`` of a readout's synapse.
        synapses: which layers' neurons keep a current; a network's may be replaced at any time.
    """

    num_steps: int
    batch_size: int
    constant: bool
    sparse: bool
    probes: tuple[tuple[int, ...], ...]
    decay: float
    alpha: float
    synapses: tuple[bool, ...]

    @classmethod
    def of(cls, inputs: Frames | Tensor, batch_size: int, layers: Sequence[Layer], end: End, probes: Sequence[LayerProbes]) -> "Shape":
        sizes = tuple(
            (*p.offsets.shape, layer.wiring.num_neurons if p.neurons is None else len(p.neurons))
            for layer, p in zip(layers, probes, strict=True)
        )
        sparse = isinstance(inputs, EventFrames) and layers[0].wiring.is_matrix
        alpha = end.alpha if isinstance(end, LinearEnd) else 0.0
        rest = sizes, end.decay, alpha, tuple(map(_keeps_current, layers))
        return cls(len(inputs), batch_size, isinstance(inputs, Constant), sparse, *rest)


def _keeps_current(layer: Layer) -> bool:
    neuron = layer.neuron
    return neuron.du != NO_CURRENT if isinstance(neuron, CubaNeuron) else neuron is not None and neuron.tau_syn_inv is not None
