"""Feed-forward spiking networks: dense layers of LIF neurons and a readout."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from polystep_snn.errors import InputError
from polystep_snn.snn.encoders import Constant
from polystep_snn.snn.loihi import ALIGNMENT, CubaNeuron, CubaParameters
from polystep_snn.snn.neurons import LIFParameters, LIFState
from polystep_snn.snn.quantize import IntegerWeights, quantize
from polystep_snn.snn.readouts import MembraneReadout, Readout, ReadoutState, SpikeCountReadout

Neuron = LIFParameters | CubaParameters


class NetworkState(NamedTuple):
    """Everything a network carries from one step to the next.

    Attributes:
        hidden: the state of every hidden layer, ``[B, N_l]`` each.
        readout: the readout's state.
    """

    hidden: tuple[LIFState, ...]
    readout: ReadoutState


class Layer(NamedTuple):
    """What a layer computes with.

    Attributes:
        weight: ``[N, M]``.
        bias: ``[N]``.
        neuron: its neurons; None for a readout that integrates in floating point.
        unit: what a current of 1 in the readout's layer is worth in units of the latent weights; None for 1.
        integers: where weight and neuron come from, on the int8 grid; None in floating point.
    """

    weight: Tensor
    bias: Tensor
    neuron: LIFParameters | CubaNeuron | None
    unit: Tensor | None = None
    integers: IntegerWeights | None = None


class SpikingNetwork(nn.Module):
    """Dense layers with hard-threshold LIF neurons between them, and a readout on top.

    ``SpikingNetwork([784, 128, 10])`` has 128 LIF neurons and ten integrators without leak. All weights start uniform in
    ±1/sqrt(fan-in), all biases at zero. Parameters do not require gradients: call ``requires_grad_()`` to differentiate.

    Args:
        sizes: widths from input to readout; two numbers or more.
        neuron: constants of the hidden neurons, one for all layers or one a layer.
        readout: how the last layer's currents become an output.
        generator: source of the initial weights.
        weight_bits: 32, or 8 to compute with every layer's weights on its int8 grid. The chip's integer neurons take nothing else.

    Attributes:
        linears: one ``nn.Linear`` a layer, the readout's last.
        neurons: the hidden layers' constants.
        readout: as given. May be replaced by another one of the same width at any time.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        neuron: Neuron | Sequence[Neuron] = LIFParameters(),
        readout: Readout = MembraneReadout(),
        generator: torch.Generator | None = None,
        weight_bits: int = 32,
    ):
        super().__init__()
        sizes = [int(n) for n in sizes]
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(
                f"sizes is {sizes}: give the widths of input and readout, and of the hidden layers between them, all at least 1"
            )
        num_hidden = len(sizes) - 2
        neurons = [neuron] * num_hidden if isinstance(neuron, LIFParameters | CubaParameters) else list(neuron)
        if len(neurons) != num_hidden:
            raise InputError(f"{len(neurons)} neuron parameters for {num_hidden} hidden layers: give one for all or one a layer")
        kinds = {isinstance(p, CubaParameters) for p in neurons}
        if isinstance(readout, SpikeCountReadout):
            kinds.add(isinstance(readout.neuron, CubaParameters))
        if len(kinds) > 1:
            raise InputError("some neurons are the chip's integer ones and some are not: choose one kind for all layers and the readout")
        if weight_bits not in (8, 32) or (weight_bits == 32 and True in kinds):
            raise InputError(f"weight_bits is {weight_bits}: choose 8" + ("" if True in kinds else " or 32"))
        self.integer = True in kinds
        self.weight_bits = weight_bits
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

    def layers(self, quantizer: Callable[..., IntegerWeights] = quantize) -> list[Layer]:
        """What the network computes with, from the parameters as they are now; the readout's layer last.

        Args:
            quantizer: ``quantize``, compiled for example.
        """
        neurons: list[Neuron | None] = [*self.neurons, self.readout.neuron if isinstance(self.readout, SpikeCountReadout) else None]
        return [
            self._layer(weight.detach(), bias.detach(), p, quantizer)
            for weight, bias, p in zip(self.weights, self.biases, neurons, strict=True)
        ]

    def _layer(self, weight: Tensor, bias: Tensor, p: Neuron | None, quantizer: Callable[..., IntegerWeights]) -> Layer:
        if self.weight_bits == 32:
            assert not isinstance(p, CubaParameters)
            return Layer(weight, bias, p)
        integers = quantizer(weight, bias, None if p is None else p.v_th)
        if not self.integer:
            assert not isinstance(p, CubaParameters)
            return Layer(integers.weight * integers.scale, bias, p, None, integers)
        if p is None:
            assert isinstance(self.readout, MembraneReadout)
            p = CubaParameters.from_beta(self.readout.decay)
        assert isinstance(p, CubaParameters)
        neuron = CubaNeuron(p.du, p.dv, ALIGNMENT * integers.vth, integers.bias)
        return Layer(ALIGNMENT * integers.weight, torch.zeros_like(bias), neuron, integers.scale / ALIGNMENT, integers)

    def initial_state(self, batch_size: int) -> NetworkState:
        """The state at rest, on the device and in the dtype of the weights."""
        return self._initial_state(batch_size, self.layers())

    def _initial_state(self, batch_size: int, layers: list[Layer]) -> NetworkState:
        rest = [layer.weight.new_zeros(batch_size, len(layer.weight)) for layer in layers]
        hidden = tuple(_neuron(layer).initial_state(v) for v, layer in zip(rest[:-1], layers, strict=False))
        return NetworkState(hidden, self.readout.initial_state(rest[-1], _on_chip(layers[-1])))

    def step(self, x: Tensor, state: NetworkState, layers: list[Layer] | None = None) -> tuple[list[Tensor], NetworkState]:
        """One timestep.

        Args:
            x: ``[B, N]`` spikes or currents of this step.
            state: the state after the previous step.
            layers: what ``layers()`` returned; None to make them anew.

        Returns:
            ``(spikes, state)``: the spikes ``[B, N_l]`` of every hidden layer, and the state after the step.
        """
        layers = self.layers() if layers is None else layers
        return self._advance(linear(x, layers[0].weight, layers[0].bias), state, layers)

    def _advance(self, current: Tensor, state: NetworkState, layers: list[Layer]) -> tuple[list[Tensor], NetworkState]:
        """One timestep from the first layer's input current on."""
        spikes, hidden = [], []
        for layer, behind, before in zip(layers, layers[1:], state.hidden, strict=False):
            z, after = _neuron(layer).step(current, before)
            spikes.append(z)
            hidden.append(after)
            current = linear(z, behind.weight, behind.bias)
        return spikes, NetworkState(tuple(hidden), self.readout.step(current, state.readout, _on_chip(layers[-1])))

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
        current, layers = None, self.layers()
        for frame in x:
            if current is None or not isinstance(x, Constant):
                frame = self._checked(frame)
                current = linear(frame, layers[0].weight, layers[0].bias)
            if state is None:
                state = self._initial_state(len(current), layers)
            elif len(state.hidden) != len(self.neurons) or state.readout.total.shape != (len(current), self.sizes[-1]):
                raise InputError(
                    f"the state is that of another batch or network: this one has sizes {self.sizes} and {len(current)} samples"
                )
            _, state = self._advance(current, state, layers)
        if state is None:
            raise InputError("the input has no timesteps: give x as [T, B, ...] with T >= 1")
        return self.readout.value(state.readout, _on_chip(layers[-1])), state

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
        if self.integer and not ((frame == 0) | (frame == 1)).all():
            raise InputError(
                "the input holds other values than 0 and 1, but the chip's neurons take spikes: choose an encoder that gives some"
            )
        return frame.flatten(1)

    @property
    def unit(self) -> Tensor | float:
        """What 1 in the output is worth in units of the latent weights: 1 in floating point and for spike counts."""
        layer = self.layers()[-1]
        return layer.integers.scale if self.integer and layer.integers and isinstance(self.readout, MembraneReadout) else 1.0

    def extra_repr(self) -> str:
        return f"sizes={self.sizes}, readout={self.readout}"


def _neuron(layer: Layer) -> LIFParameters | CubaNeuron:
    assert layer.neuron is not None
    return layer.neuron


def _on_chip(layer: Layer) -> CubaNeuron | None:
    return layer.neuron if isinstance(layer.neuron, CubaNeuron) else None
