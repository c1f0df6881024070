"""Between training and the chip: a ``SpikingNetwork`` as an ``IntegerNetwork``, and the chip's layers in torch.

A network that was trained on the chip's neurons already computes in these integers: nothing is rounded here, and nothing is lost.
One that was trained in floating point is quantized first (``quantized``), and says what that costs.
"""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.simulator import LayerRecording
from polystep_snn.snn.frames import Frames
from polystep_snn.snn.layer import Layer, remembered
from polystep_snn.snn.loihi import ALIGNMENT, CubaNeuron, CubaParameters
from polystep_snn.snn.network import Neuron, SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters, LIFState
from polystep_snn.snn.quantize import IntegerWeights, check_rows
from polystep_snn.snn.readouts import MembraneReadout, Readout, SpikeCountReadout
from polystep_snn.snn.wiring import Wiring, past_steps

_log = logging.getLogger("polystep_snn")
# Where the largest weight of the grid is looked for, as a fraction of the largest weight.
_CLIPS = torch.linspace(1.0, 0.4, 61).tolist()


def to_integer_network(
    network: SpikingNetwork,
    num_steps: int,
    encoder: str,
    input_shape: Sequence[int],
    classes: Sequence[str],
    provenance: dict[str, str | int | float] | None = None,
) -> IntegerNetwork:
    """A network of the chip's neurons as one artifact.

    Args:
        network: built with ``CubaParameters``.
        num_steps: T.
        encoder: name of the code that makes spikes of its input.
        input_shape: of a sample, before it is encoded.
        classes: their names.
        provenance: where it comes from.

    Raises:
        InputError: neurons in floating point, a residual membrane at the readout, sums that float32 does not hold exactly, a delay as
            long as a sample.
    """
    if not network.integer:
        raise InputError("the network's neurons compute in floating point: train with the neuron 'loihi', or quantize it first")
    readout = network.readout
    if isinstance(readout, SpikeCountReadout) and readout.residual:
        raise InputError(
            f"the readout adds {readout.residual:g} of its final membrane to its counts, which no chip does: set residual to 0"
        )
    layers = []
    for k, layer in enumerate(network.layers()):
        integers, neuron = layer.integers, _neuron(layer)
        assert integers is not None
        weight, convolution = _unpooled(layer.wiring, integers.weight)
        vth = np.full(layer.wiring.num_neurons, int(integers.vth), np.int32)
        _tell_of_cut_biases(k, network.biases[k].detach(), integers)
        mantissa = layer.wiring.spread(integers.bias_mant).cpu().numpy().astype(np.int16)
        exponent = int(math.log2(integers.bias_step))
        layers.append(
            IntegerLayer(
                weight.cpu().numpy().astype(np.int8),
                vth,
                mantissa,
                exponent,
                neuron.du,
                neuron.dv,
                float(integers.scale),
                convolution,
                recurrent=None if integers.recurrent is None else integers.recurrent.cpu().numpy().astype(np.int8),
                delays=None if layer.delays is None else layer.delays.cpu().numpy().astype(np.uint8),
            )
        )
    if network.weights[0].dtype == torch.float32:
        check_rows([(x.integers, x.wiring.pooled) for x in network.layers() if x.integers is not None])
    kind = "count" if isinstance(readout, SpikeCountReadout) else "max" if readout.maximum else "membrane"
    return IntegerNetwork(tuple(layers), kind, num_steps, encoder, tuple(input_shape), tuple(classes), provenance or {})


def _tell_of_cut_biases(k: int, bias: Tensor, integers: IntegerWeights) -> None:
    cut = int(((bias * ALIGNMENT / integers.scale / integers.bias_step).round() != integers.bias_mant).sum())
    if cut:
        _log.warning("layer %d: %d of %d biases do not fit into the chip's 13 bits and are cut off there", k, cut, len(bias))


def _unpooled(wiring: Wiring, weight: Tensor) -> tuple[Tensor, Convolution | None]:
    """A layer's weights and convolution as the chip holds them: what is summed first are inputs with the same weight."""
    if wiring.pool is None:
        return weight, wiring.convolution
    size = wiring.pool.size
    if wiring.convolution is None:
        squares = wiring.pool.squares(torch.arange(wiring.num_inputs, device=weight.device))
        return weight.index_select(1, squares), None
    kernel, stride, padding = (
        (pair[0] * size, pair[1] * size) for pair in (wiring.convolution.kernel, wiring.convolution.stride, wiring.convolution.padding)
    )
    merged = Convolution(wiring.pool.shape, wiring.convolution.channels, kernel, stride, padding)
    return weight.repeat_interleave(size, 2).repeat_interleave(size, 3), merged


def layers_of(network: IntegerNetwork, dtype: torch.dtype = torch.float64) -> list[Layer]:
    """An integer network's layers as torch computes with them in a dtype, exact for every legal network in float64."""
    return [_layer_of(layer, dtype) for layer in network.layers]


def _layer_of(layer: IntegerLayer, dtype: torch.dtype) -> Layer:
    def integers(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.int32)).to(dtype)

    unit = ALIGNMENT * 2**layer.weight_exp
    return Layer(
        unit * integers(layer.weight),
        torch.zeros(layer.num_neurons, dtype=dtype),
        Wiring(layer.num_inputs, layer.num_neurons, layer.convolution, recurrent=layer.recurrent is not None, max_delay=layer.max_delay),
        CubaNeuron(layer.du, layer.dv, ALIGNMENT * integers(layer.vth), integers(layer.bias)),
        recurrent=None if layer.recurrent is None else unit * integers(layer.recurrent),
        delays=None if layer.delays is None else torch.from_numpy(layer.delays.astype(np.int64)),
    )


@torch.no_grad()
def record_registers(layers: Sequence[Layer], frames: Frames | Tensor) -> tuple[LayerRecording, ...]:
    """Every spike, current and membrane of integer layers, computed by torch.

    Args:
        layers: as from ``layers_of``, or a network's own ``layers()``.
        frames: T tensors ``[B, M]`` of spikes.

    Returns:
        For each layer ``z, u, v``, ``[T, B, N]``, as a backend's ``record`` gives them.
    """
    steps: list[list[tuple[Tensor, Tensor, Tensor]]] = []
    states: list[LIFState] = []
    # What was sent before: by the input, then by every layer.
    past: list[Tensor | None] = []
    for frame in frames:
        sent = frame.to(layers[0].weight)
        if not states:
            rest = [sent.new_zeros(len(sent), layer.wiring.num_neurons) for layer in layers]
            states = [_neuron(layer).initial_state(like) for layer, like in zip(layers, rest, strict=True)]
            wirings = [layer.wiring for layer in layers]
            numbers = [wirings[0].max_delay, *past_steps(wirings)]
            past = [like.new_zeros(n, *like.shape) if n else None for n, like in zip(numbers, [sent, *rest], strict=True)]
        step = []
        for k, layer in enumerate(layers):
            arrived = layer.with_own(layer.wiring.multiply(layer.weight, layer.arriving(sent, past[k])), past[k + 1])
            past[k] = remembered(sent, past[k])
            u = _neuron(layer).current(arrived, states[k])
            sent, states[k] = _neuron(layer).step(arrived, states[k])
            step.append((sent, u, states[k].v))
        past[-1] = remembered(sent, past[-1])
        steps.append(step)
    return tuple(
        LayerRecording(
            *(torch.stack(values).cpu().numpy().astype(kind) for values, kind in zip(zip(*layer, strict=True), _KINDS, strict=True))
        )
        for layer in zip(*steps, strict=True)
    )


_KINDS = (np.bool_, np.int32, np.int32)


def _neuron(layer: Layer) -> CubaNeuron:
    assert isinstance(layer.neuron, CubaNeuron)
    return layer.neuron


class LayerFit(NamedTuple):
    """What the grid made of a layer's weights, recurrent ones included.

    Attributes:
        scale: size of one unit.
        clipped: fraction of the weights that was clipped.
        error: root mean square, in units of the weights' own.
    """

    scale: float
    clipped: float
    error: float


def quantized(network: SpikingNetwork) -> tuple[SpikingNetwork, list[LayerFit]]:
    """A network in floating point on the chip's neurons and int8 weights: post-training quantization.

    Each layer's weights are clipped where the squared error of rounding and clipping is smallest, input and recurrent weights alike: the
    chip has one unit for both. Decays become the nearest multiples of 1/4096; resets become hard; thresholds and delays stay as they are.
    The chip's biases drive membranes: where they drove a synapse here, they become what it would keep up.

    Returns:
        The quantized network, and what it did to each layer. What it costs in accuracy and firing rates, an evaluation tells.

    Raises:
        InputError: neurons that have no counterpart on the chip.
    """
    if network.integer:
        raise InputError("the network computes in the chip's integers already: convert it as it is")
    readout: Readout = network.readout
    if isinstance(readout, MembraneReadout) and readout.alpha:
        raise InputError(f"the readout keeps {readout.alpha:g} of its current, which is not carried over to the chip: set alpha to 0")
    if isinstance(readout, SpikeCountReadout):
        assert isinstance(readout.neuron, LIFParameters)
        readout = SpikeCountReadout(_on_chip(readout.neuron), readout.residual)
    neurons: list[Neuron] = [_on_chip(p) for p in network.neurons if isinstance(p, LIFParameters)]
    result = SpikingNetwork(network.architecture, neurons, readout, weight_bits=8).to(network.weights[0])
    result.load_state_dict(network.state_dict())
    fits = []
    with torch.no_grad():
        for bias, p in zip(result.biases, _fire(network), strict=False):
            if p.alpha == 1 and bias.any():
                raise InputError(
                    "a synaptic current that does not decay has biases, which add up without end: set tau_syn_inv or the biases"
                )
            bias.div_(1 - p.alpha if p.alpha < 1 else 1)
        for k, weight in enumerate(result.weights):
            tensors = [weight, result.recurrents[str(k)]] if str(k) in result.recurrents else [weight]
            original = torch.cat([tensor.flatten() for tensor in tensors])
            size = original.square().mean().sqrt().clamp(min=torch.finfo(weight.dtype).tiny)
            clip, error = min(((c, _error(original, c)) for c in _CLIPS), key=lambda pair: pair[1])
            limit = clip * original.abs().max()
            for tensor in tensors:
                tensor.clamp_(-limit, limit)
            fits.append(LayerFit(float(limit) / 127, (original.abs() > limit).double().mean().item(), float(error / size)))
    return result, fits


def _fire(network: SpikingNetwork) -> list[LIFParameters]:
    """The constants of every layer that fires."""
    last = [network.readout.neuron] if isinstance(network.readout, SpikeCountReadout) else []
    return [p for p in [*network.neurons, *last] if isinstance(p, LIFParameters)]


def _on_chip(p: LIFParameters) -> CubaParameters:
    if p.v_min is not None or p.v_max is not None:
        raise InputError(f"v_min is {p.v_min} and v_max {p.v_max}, but the chip's membranes have no such bounds: leave them out")
    return CubaParameters.from_beta(p.beta, p.alpha, p.v_th)


def _error(weight: Tensor, clip: float) -> float:
    scale = (clip * weight.abs().max() / 127).clamp(min=torch.finfo(weight.dtype).tiny)
    return float(((weight / scale).round().clamp(-127, 127) * scale - weight).square().mean().sqrt())
