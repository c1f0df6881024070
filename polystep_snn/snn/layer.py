"""One layer of a network as it computes: weights, neurons, and what it remembers of its own spikes.

In step t a layer receives::

    I[t] = W x[t] + b                             x[t]: the spikes or currents that arrive
    I[t] = W x[t] + b + R z[t-1]                  with recurrent weights R: its own spikes of the step before
    x_j[t] = z_j[t - d_j]                         with delays d: spikes that left the layer before it d_j steps ago

Before the first step nobody has fired. These are Lava's and the chip's conventions.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.neurons import LIFParameters, LIFState
from polystep_snn.snn.quantize import IntegerWeights
from polystep_snn.snn.readouts import ReadoutState
from polystep_snn.snn.wiring import Wiring


class NetworkState(NamedTuple):
    """Everything a network carries from one step to the next.

    Attributes:
        hidden: the state of every hidden layer, ``[B, N_l]`` each.
        readout: the readout's state.
        past: the last spikes of every hidden layer, ``[P, B, N_l]``, the latest last; None where nobody will ask for them.
    """

    hidden: tuple[LIFState, ...]
    readout: ReadoutState
    past: tuple[Tensor | None, ...]


class Layer(NamedTuple):
    """What a layer computes with.

    Attributes:
        weight: ``[N, M]``, or a convolution's ``[C, C_in, kernel, kernel]``.
        bias: ``[N]``.
        wiring: where the weights go.
        neuron: its neurons; None for a readout that integrates in floating point.
        unit: what a current of 1 in the readout's layer is worth in units of the latent weights; None for 1.
        integers: where weight and neuron come from, on the int8 grid; None in floating point.
        recurrent: ``[N, N]``, from neuron (column) to neuron (row); None where there are none.
        delays: ``[M]`` int64, how many steps later the spikes of each input arrive; None where all arrive at once.
    """

    weight: Tensor
    bias: Tensor
    wiring: Wiring
    neuron: LIFParameters | CubaNeuron | None
    unit: Tensor | None = None
    integers: IntegerWeights | None = None
    recurrent: Tensor | None = None
    delays: Tensor | None = None

    def current(self, x: Tensor) -> Tensor:
        """What the neurons receive, ``[B, N]``, of spikes or currents ``[B, M]``."""
        if self.wiring.is_matrix:
            return torch.nn.functional.linear(x, self.weight, self.bias)
        return self.wiring.multiply(self.weight, x) + self.bias

    def with_own(self, current: Tensor, past: Tensor | None) -> Tensor:
        """The same with what the layer's own spikes of the step before add, ``past[-1]``."""
        return current if self.recurrent is None or past is None else torch.addmm(current, past[-1], self.recurrent.T)

    def arriving(self, z: Tensor, past: Tensor | None) -> Tensor:
        """Which spikes ``[B, M]`` arrive here when the layer before sends ``z`` and has sent ``past: [P, B, M]`` in the steps before."""
        if self.delays is None or past is None:
            return z
        sent = torch.cat([past, z[None]])
        return sent.gather(0, (len(past) - self.delays).expand(1, *z.shape))[0]


def remembered(z: Tensor, past: Tensor | None) -> Tensor | None:
    """The past after a step in which a layer sent ``z``."""
    return None if past is None else torch.cat([past[1:], z[None]])
