"""Feed-forward spiking networks: dense layers of LIF neurons and a readout."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError
from polystep_snn.snn.encoders import Constant
from polystep_snn.snn.neurons import LIFParameters, LIFState, lif_initial_state, lif_step
from polystep_snn.snn.readouts import MembraneReadout, Readout, ReadoutState


class NetworkState(NamedTuple):
    """Everything a network carries from one step to the next.

    Attributes:
        hidden: the state of every hidden layer, ``[B, N_l]`` each.
        readout: the readout's state.
    """

    hidden: tuple[LIFState, ...]
    readout: ReadoutState


class SpikingNetwork(nn.Module):
    """Dense layers with hard-threshold LIF neurons between them, and a readout on top.

    ``SpikingNetwork([784, 128, 10])`` has 128 LIF neurons and ten integrators without leak. All weights start uniform in
    ±1/sqrt(fan-in), all biases at zero. Parameters do not require gradients: call ``requires_grad_()`` to differentiate.

    Args:
        sizes: widths from input to readout; two numbers or more.
        neuron: constants of the hidden neurons, one for all layers or one a layer.
        readout: how the last layer's currents become an output.
        generator: source of the initial weights.

    Attributes:
        linears: one ``nn.Linear`` a layer, the readout's last.
        neurons: the hidden layers' constants.
        readout: as given. May be replaced by another one of the same width at any time.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        neuron: LIFParameters | Sequence[LIFParameters] = LIFParameters(),
        readout: Readout = MembraneReadout(),
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        sizes = [int(n) for n in sizes]
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(
                f"sizes is {sizes}: give the widths of input and readout, and of the hidden layers between them, all at least 1"
            )
        num_hidden = len(sizes) - 2
        neurons = [neuron] * num_hidden if isinstance(neuron, LIFParameters) else list(neuron)
        if len(neurons) != num_hidden:
            raise InputError(f"{len(neurons)} neuron parameters for {num_hidden} hidden layers: give one for all or one a layer")
        self.sizes = sizes
        self.neurons = [p.checked() for p in neurons]
        self.readout = readout
        self.linears = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        with torch.no_grad():
            for weight, bias in zip(self.weights, self.biases, strict=True):
                bound = weight.shape[1] ** -0.5
                weight.uniform_(-bound, bound, generator=generator)
                bias.zero_()
        # Whoever trains it fills .grad without autograd, and a forward pass keeps no graph, whatever the number of steps.
        self.requires_grad_(False)

    @property
    def weights(self) -> list[nn.Parameter]:
        """The weights ``[N_l, N_{l-1}]`` of every layer, the readout's last."""
        return [linear.get_parameter("weight") for linear in self.linears]

    @property
    def biases(self) -> list[nn.Parameter]:
        """The biases ``[N_l]`` of every layer, the readout's last."""
        return [linear.get_parameter("bias") for linear in self.linears]

    def initial_state(self, batch_size: int) -> NetworkState:
        """The state at rest, on the device and in the dtype of the weights."""
        weight = self.weights[0]
        rest = [weight.new_zeros(batch_size, n) for n in self.sizes[1:]]
        hidden = tuple(lif_initial_state(v, p) for v, p in zip(rest, self.neurons, strict=False))
        return NetworkState(hidden, self.readout.initial_state(rest[-1]))

    def step(self, x: Tensor, state: NetworkState) -> tuple[list[Tensor], NetworkState]:
        """One timestep.

        Args:
            x: ``[B, N]`` spikes or currents of this step.
            state: the state after the previous step.

        Returns:
            ``(spikes, state)``: the spikes ``[B, N_l]`` of every hidden layer, and the state after the step.
        """
        return self._advance(self.linears[0](x), state)

    def _advance(self, current: Tensor, state: NetworkState) -> tuple[list[Tensor], NetworkState]:
        """One timestep from the first layer's input current on."""
        spikes, hidden = [], []
        for linear, p, before in zip(self.linears[1:], self.neurons, state.hidden, strict=True):
            z, after = lif_step(current, before, p)
            spikes.append(z)
            hidden.append(after)
            current = linear(z)
        return spikes, NetworkState(tuple(hidden), self.readout.step(current, state.readout))

    def forward(self, x: Tensor | Iterable[Tensor], state: NetworkState | None = None) -> tuple[Tensor, NetworkState]:
        """The readout's value after a sequence.

        Args:
            x: ``[T, B, ...]``, or any iterable of T tensors ``[B, ...]`` (what an encoder returns). Trailing dimensions are flattened.
            state: where to go on from; at rest by default. ``forward(x)`` equals ``forward(x[a:], forward(x[:a])[1])``.

        Returns:
            ``(output [B, C], state)``.

        Raises:
            InputError: an empty sequence, or inputs of another width.
        """
        for name, p in self.named_parameters():
            if not p.detach().sum().isfinite():
                raise InputError(f"{name} contains NaN or infinity: start from finite weights")
        current = None
        for frame in x:
            if current is None or not isinstance(x, Constant):
                frame = self._checked(frame)
                current = self.linears[0](frame)
            if state is None:
                state = self.initial_state(len(current))
            elif len(state.hidden) != len(self.neurons) or state.readout.total.shape != (len(current), self.sizes[-1]):
                raise InputError(
                    f"the state is that of another batch or network: this one has sizes {self.sizes} and {len(current)} samples"
                )
            _, state = self._advance(current, state)
        if state is None:
            raise InputError("the input has no timesteps: give x as [T, B, ...] with T >= 1")
        return self.readout.value(state.readout), state

    def _checked(self, frame: Tensor) -> Tensor:
        """One step's input as ``[B, N]``."""
        width, dtype = self.sizes[0], self.weights[0].dtype
        if frame.ndim < 2 or frame[:1].numel() != width:
            raise InputError(
                f"the input of a step is {list(frame.shape)}, but this network takes {width} values a sample: give x as [T, B, ...]"
            )
        if frame.dtype != dtype:
            raise InputError(f"the input is {frame.dtype}, but the weights are {dtype}: convert it with x.to({dtype})")
        # NaN and infinity survive a sum, but not a threshold: a neuron that receives NaN is silent.
        if not frame.sum().isfinite():
            raise InputError("the input contains NaN or infinity: clean the data")
        return frame.flatten(1)

    def extra_repr(self) -> str:
        return f"sizes={self.sizes}, readout={self.readout}"
