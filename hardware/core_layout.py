"""How layers lie on a chip's cores.

A layer has cores of its own. Every neuron of a dense one brings its synapses along, and all inputs reach every core; so do the spikes
of all its neurons where it is recurrent. Every synapse from inputs with delays holds one, as assumed of Loihi 2; recurrent synapses hold
none.

Convolutions share their weights, as assumed of Loihi 2: a core stores one kernel for all the neurons of a channel that it has, and
nothing else in its synaptic memory. It gets a rectangle of places, with the neurons of all channels there or of a part of them, and
what reaches it are the inputs that any of its neurons sees. Of these layouts the one with the fewest cores counts.
"""

import math
from typing import NamedTuple

import numpy as np

from polystep_snn.geometry import Convolution
from polystep_snn.hardware.integer_network import IntegerLayer
from polystep_snn.hardware.limits import Chip


class Layout(NamedTuple):
    """How a layer lies on cores.

    Attributes:
        cores: how many; 0 where not even one neuron fits.
        fan_in: inputs that reach one.
        synapses: all stored weights.
        synapse_bytes: that they take.
    """

    cores: int
    fan_in: int
    synapses: int
    synapse_bytes: int


def layout_of(layer: IntegerLayer, chip: Chip) -> Layout:
    """A layer alone on a chip, however many cores that takes."""
    return _dense(layer, chip) if layer.convolution is None else _convolution(layer.convolution, chip)


def _dense(layer: IntegerLayer, chip: Chip) -> Layout:
    fan_in = layer.num_inputs + (0 if layer.recurrent is None else layer.num_neurons)
    delays = layer.num_inputs if layer.max_delay else 0
    synapse_bytes = fan_in * chip.bytes_per_synapse.value + delays * chip.bytes_per_delay.value
    per_core = min(
        chip.neurons_per_core.value,
        chip.synapse_memory_per_core.value // synapse_bytes,
        chip.memory_per_core.value // (synapse_bytes + chip.bytes_per_neuron.value),
    )
    cores = -(-layer.num_neurons // per_core) if per_core else 0
    return Layout(cores, fan_in, layer.num_neurons * fan_in, layer.num_neurons * synapse_bytes)


def _convolution(convolution: Convolution, chip: Chip) -> Layout:
    """The one of fewest cores, then of fewest stored weights, of all rectangles and numbers of channels."""
    (channels, rows, columns), (inputs, height, width) = convolution.output_shape, convolution.input_shape
    taps = inputs * math.prod(convolution.kernel)
    tall = np.arange(1, rows + 1)
    seen_rows, seen_columns = (
        _seen(np.arange(1, n + 1), n, size, kernel, stride, padding)
        for n, size, kernel, stride, padding in zip(
            (rows, columns), (height, width), convolution.kernel, convolution.stride, convolution.padding, strict=True
        )
    )
    weight_bytes = chip.bytes_per_synapse.value
    best = Layout(0, inputs * int(seen_rows[0] * seen_columns[0]), channels * taps, channels * taps * weight_bytes)
    for groups in range(1, channels + 1):
        depth = -(-channels // groups)
        kernel_bytes = depth * taps * chip.bytes_per_synapse.value
        if kernel_bytes > chip.synapse_memory_per_core.value:
            continue
        neurons = min(chip.neurons_per_core.value, (chip.memory_per_core.value - kernel_bytes) // chip.bytes_per_neuron.value)
        # As wide a rectangle as its neurons and its inputs allow, for every height.
        widest = np.minimum(neurons // (depth * tall), columns)
        widest = np.minimum(widest, np.searchsorted(seen_columns, chip.fan_in.value // (inputs * seen_rows), "right"))
        possible = np.flatnonzero(widest)
        if not possible.size:
            continue
        rectangles = -(-rows // tall[possible]) * -(-columns // widest[possible])
        k = int(rectangles.argmin())
        cores, synapses = groups * int(rectangles[k]), int(rectangles[k]) * channels * taps
        if not best.cores or (cores, synapses) < (best.cores, best.synapses):
            reached = seen_rows[possible[k]] * seen_columns[widest[possible[k]] - 1]
            best = Layout(cores, inputs * int(reached), synapses, synapses * weight_bytes)
    return best


def _seen(neurons: np.ndarray, num_neurons: int, size: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """The most inputs that so many neighbours in a row see. What starts next to the first input has the least padding."""
    first = np.clip(np.array([[padding // stride], [-(-padding // stride)]]), 0, num_neurons - neurons)
    start = first * stride - padding
    return (np.minimum(start + (neurons - 1) * stride + kernel, size) - np.maximum(start, 0)).max(0)
