"""Spiking networks: dense, recurrent, delayed and convolutional layers of LIF neurons and a readout."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError
from polystep_snn.geometry import Item, Recurrent
from polystep_snn.snn.frames import Constant, EventBlock, EventFrames, time_blocks
from polystep_snn.snn.layer import Layer, NetworkState, remembered
from polystep_snn.snn.loihi import ALIGNMENT, CubaNeuron, CubaParameters
from polystep_snn.snn.magnitude import flaw
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.quantize import IntegerWeights, quantize
from polystep_snn.snn.readouts import MembraneReadout, Readout, SpikeCountReadout
from polystep_snn.snn.wiring import Wiring, past_steps, wirings_of

Neuron = LIFParameters | CubaParameters


class SpikingNetwork(nn.Module):
    """Layers of hard-threshold LIF neurons, and a readout on top.

    ``SpikingNetwork([784, 128, 10])`` has 128 LIF neurons and ten integrators without leak;
    ``SpikingNetwork([(1, 28, 28), Conv(12, 5), SumPool(2), 10])`` has 12 maps of 24 x 24 neurons; the neurons of ``Recurrent(128)`` receive
    each other's spikes one step later; those of ``Delayed(128, 16)`` arrive up to 16 steps later. All weights start uniform in
    ±1/sqrt(fan-in), all biases at zero. Parameters do not require gradients: call ``requires_grad_()`` to differentiate.

    Args:
        architecture: from input to readout: the input's width, or its channels, height and width; then widths of dense layers,
            ``Recurrent``, ``Delayed``, ``Conv`` and ``SumPool``; the number of classes last.
        neuron: constants of the hidden neurons, one for all layers or one a layer.
        readout: how the last layer's currents become an output.
        generator: source of the initial weights.
        weight_bits: 32, or 8 to compute with every layer's weights on its int8 grid. The chip's integer neurons take nothing else.

    Attributes:
        architecture: as given.
        sizes: neurons of every layer, the input's numbers first.
        wirings: where each layer's weights go, the readout's last.
        linears: one ``nn.Linear`` or ``nn.Conv2d`` a layer, the readout's last.
        lateness: of learned delays, by the number of the layer where the spikes arrive, ``[N_{l-1}]``: (d - D / 2) / D, not rounded, of
            delays d from 0 to D.
        recurrents: the recurrent weights ``[N_l, N_l]`` of those layers that have some, by the layer's number.
        neurons: the hidden layers' constants.
        readout: as given. May be replaced by another one of the same width at any time.
    """

    def __init__(
        self,
        architecture: Sequence[Item],
        neuron: Neuron | Sequence[Neuron] = LIFParameters(),
        readout: Readout = MembraneReadout(),
        generator: torch.Generator | None = None,
        weight_bits: int = 32,
    ):
        super().__init__()
        architecture = [item if isinstance(item, tuple) else int(item) for item in architecture]
        if len(architecture) < 2 or not all(n >= 1 for n in architecture if isinstance(n, int)):
            raise InputError(
                f"architecture is {architecture}: give the widths of input and readout, and what lies between them, all at least 1"
            )
        self.architecture = architecture
        self.wirings = wirings_of(architecture)
        self.sizes = [self.wirings[0].num_inputs, *(wiring.num_neurons for wiring in self.wirings)]
        num_hidden = len(self.wirings) - 1
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
        self.neurons = [p.checked() for p in neurons]
        self.readout = readout
        # All at once, and given back: what does not fit is known before the first layer is filled.
        torch.empty(sum(prod(wiring.weight_shape) for wiring in self.wirings))
        self.linears = nn.ModuleList(_module(wiring) for wiring in self.wirings)
        with torch.no_grad():
            for weight, bias in zip(self.weights, self.biases, strict=True):
                bound = weight[0].numel() ** -0.5
                weight.uniform_(-bound, bound, generator=generator)
                bias.zero_()
            self.recurrents, self.lateness = nn.ParameterDict(), nn.ParameterDict()
            for k, wiring in enumerate(self.wirings):
                late = bool(wiring.max_delay)
                delays = torch.randint(0, wiring.max_delay + 1, (wiring.num_inputs,), generator=generator) if late else None
                self.register_buffer(f"delays_{k}", None if wiring.learned_delays else delays)
                if wiring.learned_delays and delays is not None:
                    self.lateness[str(k)] = nn.Parameter(delays / wiring.max_delay - 0.5)
                if wiring.recurrent:
                    self.recurrents[str(k)] = nn.Parameter(torch.empty(wiring.num_neurons, wiring.num_neurons))
            widths = [item for item in architecture if isinstance(item, Recurrent)]
            for weight, item in zip(self.recurrents.values(), widths, strict=True):
                weight.uniform_(-item.scale * item.width**-0.5, item.scale * item.width**-0.5, generator=generator)
        # Whoever trains it fills .grad without autograd, and a forward pass keeps no graph, whatever the number of steps.
        self.requires_grad_(False)

    @property
    def weights(self) -> list[nn.Parameter]:
        """The weights of every layer, ``[N_l, N_{l-1}]`` or a convolution's, the readout's last."""
        return [cast(nn.Parameter, linear.weight) for linear in self.linears]

    @property
    def biases(self) -> list[nn.Parameter]:
        """The biases of every layer, one a neuron or one a convolution's channel, the readout's last."""
        return [cast(nn.Parameter, linear.bias) for linear in self.linears]

    @property
    def delays(self) -> list[Tensor | None]:
        """For every layer how many steps later the spikes of each of its inputs arrive, ``[N_{l-1}]``; None where all arrive at once."""
        return [self._delays_of(k) for k in range(len(self.wirings))]

    def _delays_of(self, layer: int) -> Tensor | None:
        if not self.wirings[layer].learned_delays:
            return cast("Tensor | None", getattr(self, f"delays_{layer}"))
        share = self.lateness[str(layer)].detach().clamp(-0.5, 0.5) + 0.5
        return (share * self.wirings[layer].max_delay).round().long()

    @property
    def has_memory(self) -> bool:
        """Whether spikes of earlier steps arrive anywhere: by recurrent weights or by delays."""
        return any(wiring.recurrent or wiring.max_delay for wiring in self.wirings)

    def layers(self, quantizer: Callable[..., IntegerWeights] = quantize) -> list[Layer]:
        """What the network computes with, from the parameters as they are now; the readout's layer last.

        Args:
            quantizer: ``quantize``, compiled for example.
        """
        neurons: list[Neuron | None] = [*self.neurons, self.readout.neuron if isinstance(self.readout, SpikeCountReadout) else None]
        return [
            self._layer(k, weight.detach(), bias.detach(), p, quantizer)
            for k, (weight, bias, p) in enumerate(zip(self.weights, self.biases, neurons, strict=True))
        ]

    def _layer(self, k: int, weight: Tensor, bias: Tensor, p: Neuron | None, quantizer: Callable[..., IntegerWeights]) -> Layer:
        wiring, delays = self.wirings[k], self._delays_of(k)
        recurrent = self.recurrents[str(k)].detach() if wiring.recurrent else None
        if self.weight_bits == 32:
            assert not isinstance(p, CubaParameters)
            return Layer(weight, wiring.spread(bias), wiring, p, recurrent=recurrent, delays=delays)
        integers = quantizer(weight, bias, None if p is None else p.v_th, recurrent)
        recurrent = integers.recurrent
        if not self.integer:
            assert not isinstance(p, CubaParameters)
            recurrent = None if recurrent is None else recurrent * integers.scale
            return Layer(integers.weight * integers.scale, wiring.spread(bias), wiring, p, None, integers, recurrent, delays)
        if p is None:
            assert isinstance(self.readout, MembraneReadout)
            p = CubaParameters.from_beta(self.readout.decay, self.readout.alpha)
        assert isinstance(p, CubaParameters)
        offset = wiring.spread(integers.bias)
        neuron = CubaNeuron(p.du, p.dv, ALIGNMENT * integers.vth, offset)
        recurrent = None if recurrent is None else ALIGNMENT * recurrent
        unit = integers.scale / ALIGNMENT
        return Layer(ALIGNMENT * integers.weight, torch.zeros_like(offset), wiring, neuron, unit, integers, recurrent, delays)

    def initial_state(self, batch_size: int) -> NetworkState:
        """The state at rest, on the device and in the dtype of the weights."""
        return self._initial_state(batch_size, self.layers())

    def _initial_state(self, batch_size: int, layers: list[Layer]) -> NetworkState:
        rest = [layer.weight.new_zeros(batch_size, layer.wiring.num_neurons) for layer in layers]
        hidden = tuple(_neuron(layer).initial_state(v) for v, layer in zip(rest[:-1], layers, strict=False))
        past = tuple(like.expand(n, *like.shape) if n else None for n, like in zip(past_steps(self.wirings), rest[:-1], strict=False))
        return NetworkState(hidden, self.readout.initial_state(rest[-1], _on_chip(layers[-1])), past)

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
        return self._advance(layers[0].current(x), state, layers)

    def _advance(self, current: Tensor, state: NetworkState, layers: list[Layer]) -> tuple[list[Tensor], NetworkState]:
        """One timestep from the first layer's input current on."""
        spikes, hidden, remaining = [], [], []
        for layer, behind, before, past in zip(layers, layers[1:], state.hidden, state.past, strict=False):
            z, after = _neuron(layer).step(layer.with_own(current, past), before)
            spikes.append(z)
            hidden.append(after)
            current = behind.current(behind.arriving(z, past))
            remaining.append(remembered(z, past))
        return spikes, NetworkState(tuple(hidden), self.readout.step(current, state.readout, _on_chip(layers[-1])), tuple(remaining))

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
            if (found := flaw(p)) is not None:
                raise InputError(f"{name} contains {found}: start from finite weights")
        layers = self.layers()
        for current in self._currents(x, layers[0]):
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

    def _currents(self, x: Tensor | Iterable[Tensor], layer: Layer) -> Iterator[Tensor]:
        """What the first layer receives in every step, ``[B, N]``."""
        if isinstance(x, EventFrames) and layer.wiring.is_matrix:
            _, batch_size, width = x.shape
            # That they are finite was seen to when they were made.
            self._check_frame((batch_size, width), width, x.dtype, x.values is None or bool((x.values == 1).all()))
            columns = layer.weight.T.contiguous()
            for _, _, block in time_blocks(x, sparse=True):
                assert isinstance(block, EventBlock)
                yield from block.times(columns) + layer.bias
            return
        current = None
        for frame in x:
            if current is None or not isinstance(x, Constant):
                current = layer.current(self._checked(frame))
            yield current

    def _checked(self, frame: Tensor) -> Tensor:
        """One step's input as ``[B, N]``."""
        spikes = not self.integer or bool(((frame == 0) | (frame == 1) | ~frame.isfinite()).all())
        self._check_frame(frame.shape, frame[:1].numel() if frame.ndim > 1 else 0, frame.dtype, spikes)
        # NaN and infinity survive a sum, but not a threshold: a neuron that receives NaN is silent.
        if not frame.sum().isfinite():
            raise InputError("the input contains NaN or infinity: clean the data")
        return frame.flatten(1)

    def _check_frame(self, shape: Sequence[int], given: int, dtype: torch.dtype, spikes: bool) -> None:
        """InputError unless a step's input has the network's width and dtype, and the chip's neurons get 0 and 1 alone."""
        width, own = self.sizes[0], self.weights[0].dtype
        if given != width:
            raise InputError(f"the input of a step is {list(shape)}, but this network takes {width} values a sample: give x as [T, B, ...]")
        if dtype != own:
            raise InputError(f"the input is {dtype}, but the weights are {own}: convert it with x.to({own})")
        if self.integer and not spikes:
            raise InputError(
                "the input holds other values than 0 and 1, but the chip's neurons take spikes: choose an encoder that gives some"
            )

    @property
    def unit(self) -> Tensor | float:
        """What 1 in the output is worth in units of the latent weights: 1 in floating point and for spike counts."""
        layer = self.layers()[-1]
        return layer.integers.scale if self.integer and layer.integers and isinstance(self.readout, MembraneReadout) else 1.0

    def extra_repr(self) -> str:
        return f"architecture={self.architecture}, readout={self.readout}"


def _module(wiring: Wiring) -> nn.Module:
    """What holds a layer's parameters."""
    if wiring.convolution is None:
        return nn.Linear(wiring.weight_shape[1], wiring.num_neurons)
    geometry = wiring.convolution
    return nn.Conv2d(geometry.input_shape[0], geometry.channels, geometry.kernel, geometry.stride, geometry.padding)


def _neuron(layer: Layer) -> LIFParameters | CubaNeuron:
    assert layer.neuron is not None
    return layer.neuron


def _on_chip(layer: Layer) -> CubaNeuron | None:
    return layer.neuron if isinstance(layer.neuron, CubaNeuron) else None
