"""A trained network as the chip holds it: integers, and nothing that training needs.

Layer after layer, the spikes of a step are multiplied by int8 weights and drive the CUBA neurons of ``fixed_point.py``. Layer
l at step t sees the spikes of layer l - 1 at the same step; a backend that delays each layer by a step computes the same trains,
shifted. Every neuron starts a sample at ``u = v = 0``.

A dense layer may have recurrent weights R, by which its own spikes of the step before arrive, and delays, one for each of its inputs::

    a[t, n] = 2^weight_exp * (sum_m weight[n, m] x[t - delays[m], m] + sum_k recurrent[n, k] z[t - 1, k])

x are the spikes of layer l - 1, or the network's input; z are the layer's own. Before the first step of a sample there are no spikes, and
what is still on its way after the last one is lost: nothing of a sample arrives in another one.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import repr as shown
from typing import Any

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.geometry import MAX_DELAY, Convolution
from polystep_snn.hardware.current_statistics import KeptStatistics
from polystep_snn.hardware.fixed_point import DECAY_BITS
from polystep_snn.hardware.input_neurons import CODES, InputNeurons

VTH_BITS = 17
BIAS_BITS = 16
EXPONENTS = range(8)
READOUTS = ("membrane", "max", "count")
ENCODERS = ("rate", "latency", "poisson", "population", "events")
MAX_NUM_STEPS = 2**16
MAX_DIMENSIONS = 8
# Of a convolution, whose few weights may look at any number of inputs: as many as a file can hold of a neuron that sees all of them.
MAX_INPUTS = 2**28


@dataclass(frozen=True)
class IntegerLayer:
    """int8 weights and the CUBA neurons behind them, N neurons that see M inputs. Names are Lava's.

    Attributes:
        weight: ``[N, M]`` int8; of a convolution its ``weight_shape``, ``[channels, input channels, kernel height, kernel width]``.
        vth: ``[N]`` int32 thresholds before alignment, 0 to 2^17 - 1.
        bias_mant: ``[N]`` int16; the membrane receives ``bias_mant << bias_exp`` in every step.
        bias_exp: 0 to 7.
        du, dv: decays of current and membrane in 1/4096, 0 to 4095; ``du = 4095`` keeps no current at all.
        scale: what one unit of weight stood for while training; exchange formats keep it, nothing computes with it.
        convolution: where the neurons look, numbered by channel, then row, then column, as the inputs are; None where each sees all.
        weight_exp: 0 to 7; what arrives is multiplied by ``2 ** weight_exp``, as the chip's synapses can.
        recurrent: ``[N, N]`` int8, from neuron k (column) to neuron n (row), in the unit and with the exponent of ``weight``; the layer's
            spikes of a step arrive in the next one, by no other delay. None where there are none, as in every convolution.
        delays: ``[M]`` uint8, 0 to ``MAX_DELAY``: how many steps later each input's spikes arrive; None for none, as in convolutions.
    """

    weight: np.ndarray
    vth: np.ndarray
    bias_mant: np.ndarray
    bias_exp: int = 0
    du: int = 4095
    dv: int = 0
    scale: float = 1.0
    convolution: Convolution | None = None
    weight_exp: int = 0
    recurrent: np.ndarray | None = None
    delays: np.ndarray | None = None

    def __post_init__(self):
        _check_array("weights", self.weight, np.int8, 2 if self.convolution is None else 4)
        if self.convolution is not None:
            self._check_convolution(self.convolution)
        if not self.weight.size:
            raise InputError(f"weights are {list(self.weight.shape)}: a layer has at least one neuron and one input")
        for name, dtype in (("vth", np.int32), ("bias_mant", np.int16)):
            _check_array(name, getattr(self, name), dtype, 1)
            if len(getattr(self, name)) != self.num_neurons:
                raise InputError(f"{name} has {len(getattr(self, name))} entries for {self.num_neurons} neurons: give one a neuron")
        self._check_memory()
        low, high = int(self.vth.min()), int(self.vth.max())
        if low < 0 or high >= 2**VTH_BITS:
            raise InputError(f"a threshold is {low if low < 0 else high}: it must fit {VTH_BITS} bits, 0 to {2**VTH_BITS - 1}")
        for name in ("bias_exp", "weight_exp"):
            check_whole(name, getattr(self, name), EXPONENTS[0], EXPONENTS[-1])
        for name in ("du", "dv"):
            check_whole(name, getattr(self, name), 0, 2**DECAY_BITS - 1, f"it must fit {DECAY_BITS} bits")
        if isinstance(self.scale, bool) or not isinstance(self.scale, int | float) or not 0 < self.scale <= sys.float_info.max:
            raise InputError(f"scale is {shown(self.scale)}: give a positive number")

    def _check_convolution(self, convolution: Convolution) -> None:
        if not isinstance(convolution, Convolution):
            raise InputError(f"convolution is {type(convolution).__name__}: give a Convolution, or None")
        if self.weight.shape != convolution.checked().weight_shape:
            raise InputError(
                f"weights are {list(self.weight.shape)}, the convolution's are {list(convolution.weight_shape)}: give one a tap"
            )
        if convolution.num_inputs > MAX_INPUTS:
            raise InputError(f"a convolution sees {convolution.num_inputs} inputs: give it at most {MAX_INPUTS}")

    def _check_memory(self) -> None:
        """InputError unless recurrent weights and delays, where there are any, are a dense layer's."""
        if self.recurrent is not None:
            if self.convolution is not None:
                raise InputError("a convolution has recurrent weights, but recurrent layers are dense: take a dense layer")
            _check_array("recurrent", self.recurrent, np.int8, 2)
            if self.recurrent.shape != (self.num_neurons, self.num_neurons):
                raise InputError(
                    f"recurrent is {list(self.recurrent.shape)} for {self.num_neurons} neurons: give one weight from each to each"
                )
        if self.delays is not None:
            if self.convolution is not None:
                raise InputError("the inputs of a convolution have delays, but those of dense layers alone can: take a dense layer")
            _check_array("delays", self.delays, np.uint8, 1)
            if len(self.delays) != self.num_inputs:
                raise InputError(f"delays has {len(self.delays)} entries for {self.num_inputs} inputs: give one an input")
            if self.max_delay > MAX_DELAY:
                raise InputError(f"a delay is {self.max_delay}, but the chip holds a spike back for at most {MAX_DELAY} steps: shorten it")

    @property
    def max_delay(self) -> int:
        """The longest delay, in steps; 0 where all inputs arrive at once."""
        return 0 if self.delays is None else int(self.delays.max())

    @property
    def num_neurons(self) -> int:
        """N."""
        return self.weight.shape[0] if self.convolution is None else self.convolution.num_neurons

    @property
    def num_inputs(self) -> int:
        """M."""
        return self.weight.shape[1] if self.convolution is None else self.convolution.num_inputs

    @property
    def bias(self) -> np.ndarray:
        """What the membranes receive in every step, ``[N]`` int32."""
        return self.bias_mant.astype(np.int32) << self.bias_exp

    def dense_weight(self) -> np.ndarray:
        """The weights as a matrix, ``[N, M]`` int8: a convolution's written out, zeros where a neuron does not look."""
        if self.convolution is None:
            return self.weight
        (_, height, width), (channels, rows, columns) = self.convolution.input_shape, self.convolution.output_shape
        (down, across), (above, left) = self.convolution.stride, self.convolution.padding
        matrix = np.zeros((channels, rows, columns, *self.convolution.input_shape), np.int8)
        for y, x in np.ndindex(rows, columns):
            top, start = y * down - above, x * across - left
            # Of the kernel, what lies on the input.
            seen = self.weight[:, :, max(0, -top) : height - top, max(0, -start) : width - start]
            matrix[:, y, x, :, max(0, top) : max(0, top) + seen.shape[2], max(0, start) : max(0, start) + seen.shape[3]] = seen
        return matrix.reshape(self.num_neurons, self.num_inputs)

    def input_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Each neuron's negative weights summed, and its positive ones, recurrent ones and exponent included: two of ``[N]`` int64."""
        weight = self.weight if self.recurrent is None else np.hstack([self.weight, self.recurrent])
        negative, positive = (f(weight, 0).sum(1, dtype=np.int64) << self.weight_exp for f in (np.minimum, np.maximum))
        if self.convolution is None:
            return negative, positive
        return _windows(negative, self.convolution), _windows(positive, self.convolution)


@dataclass(frozen=True)
class IntegerNetwork:
    """Layers, and what is needed to feed them and to read them.

    Attributes:
        layers: from the input on; the last one is the readout, one neuron a class.
        readout: what decides: "membrane" (the readout's membranes after the last step), "max" (the largest membrane of each of its
            neurons after any step) or "count" (its spike counts). In all, the readout's neurons are those of its layer.
        num_steps: T, at most 2^16.
        encoder: name of the input's code: "rate", "latency", "poisson", "population", or "events" for spikes that need none.
        input_shape: of one sample before it is encoded, such as (28, 28); in front of a convolution what it sees, a single channel apart.
        classes: their names.
        provenance: where it comes from: versions, seed, accuracy. Plain values.
        input_neurons: registers of the code's neurons, where they are not the code's own.
        statistics: what its neurons received of clean training data, where that was kept.
    """

    layers: tuple[IntegerLayer, ...]
    readout: str
    num_steps: int
    encoder: str
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)
    input_neurons: InputNeurons | None = None
    statistics: KeptStatistics | None = None

    def __post_init__(self):
        if not self.layers:
            raise InputError("the network has no layers: give at least one")
        for k, (before, after) in enumerate(zip(self.layers, self.layers[1:], strict=False), 1):
            if after.num_inputs != before.num_neurons:
                raise InputError(f"layer {k} takes {after.num_inputs} inputs, but layer {k - 1} has {before.num_neurons} neurons")
        for name, choices in (("readout", READOUTS), ("encoder", ENCODERS)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {shown(getattr(self, name))}: choose one of {', '.join(choices)}")
        check_whole("num_steps", self.num_steps, 1, MAX_NUM_STEPS)
        for k, layer in enumerate(self.layers):
            if layer.max_delay >= self.num_steps:
                raise InputError(
                    f"layer {k} has a delay of {layer.max_delay} in samples of {self.num_steps} steps, so those spikes never arrive: "
                    "shorten the delay, or let samples go on with blank steps"
                )
        self._check_input()
        if len(self.classes) != self.layers[-1].num_neurons:
            raise InputError(f"{len(self.classes)} classes for a readout of {self.layers[-1].num_neurons} neurons: give one a neuron")
        for name in self.classes:
            _check_text("a class", name)
        for key, value in self.provenance.items():
            _check_text("a key of provenance", key)
            if isinstance(value, str):
                _check_text(f"provenance {key!r}", value)
            elif not isinstance(value, int | float) or not abs(value) < 2.0**64:
                raise InputError(f"provenance {key!r} is {shown(value)}: give text or a finite number")
        self._check_adapted()

    def _check_input(self) -> None:
        """InputError unless a sample of ``input_shape``, encoded, is what the first layer sees."""
        if not 1 <= len(self.input_shape) <= MAX_DIMENSIONS:
            raise InputError(f"input_shape has {len(self.input_shape)} sizes: give those of one sample, 1 to {MAX_DIMENSIONS}")
        for size in self.input_shape:
            check_whole("a size of input_shape", size, 1, 2**31)
        sizes, channels = math.prod(self.input_shape), self.layers[0].num_inputs
        # Population is the one code with more channels than pixels.
        fits = channels % sizes == 0 if self.encoder == "population" else channels == sizes
        if not fits:
            shape = " x ".join(map(str, self.input_shape))
            raise InputError(f"layer 0 takes {channels} inputs, but a sample is {shape}: give the shape that {self.encoder} encodes")
        convolution = self.layers[0].convolution
        if convolution is not None and convolution.input_shape not in (tuple(self.input_shape), (1, *self.input_shape)):
            raise InputError(
                f"layer 0 sees {list(convolution.input_shape)}, but a sample is {list(self.input_shape)}: give channels, height and width"
            )

    def _check_adapted(self) -> None:
        """InputError unless input neurons and statistics, where there are any, are this network's."""
        if self.input_neurons is not None and (self.encoder not in CODES or len(self.input_neurons.vth) != self.sizes[0]):
            raise InputError(
                f"{len(self.input_neurons.vth)} input neurons for {self.sizes[0]} channels of the code {self.encoder!r}: give one a channel"
            )
        if self.statistics is not None:
            found = [len(moments.mean) for moments in self.statistics.received]
            if found != self.population_sizes:
                raise InputError(f"statistics are of {found} neurons, but the populations are {self.population_sizes}: gather them anew")

    @property
    def population_sizes(self) -> list[int]:
        """Of what statistics are kept of: input neurons, where the code has them, and layers."""
        return self.sizes[self.encoder not in CODES :]

    @property
    def reads_membranes(self) -> bool:
        """Whether the readout's membranes decide, not its spikes."""
        return self.readout != "count"

    @property
    def sizes(self) -> list[int]:
        """Widths from input to readout."""
        return [self.layers[0].num_inputs, *(layer.num_neurons for layer in self.layers)]


def _windows(taps: np.ndarray, convolution: Convolution) -> np.ndarray:
    """Sums of the taps ``[channels, kernel height, kernel width]`` that lie on the input, for every neuron, ``[N]``.

    At any place they are a rectangle of the kernel, whose sum is four values of the table of all sums from its first corner on.
    """
    table = np.pad(taps.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    edges = []
    given = convolution.output_shape[1:], convolution.kernel, convolution.stride, convolution.padding
    for size, places, kernel, stride, padding in zip(convolution.input_shape[1:], *given, strict=True):
        first = np.arange(places) * stride - padding
        edges.append((np.maximum(-first, 0), np.minimum(size - first, kernel)))
    (top, bottom), (left, right) = edges
    between = table[:, bottom] - table[:, top]
    return (between[:, :, right] - between[:, :, left]).reshape(-1)


def _check_array(name: str, value: np.ndarray, dtype: type, ndim: int) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != ndim:
        given = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{name} is {given}: give {np.dtype(dtype).name} with {ndim} dimension{'s' if ndim > 1 else ''}")


def check_whole(name: str, value: Any, low: int, high: int, reason: str = "give a whole number") -> None:
    """InputError unless a value is an integer from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InputError(f"{name} is {shown(value)}: {reason}, {low} to {high}")


def _check_text(name: str, value: Any) -> None:
    """Names are printed on terminals and in figures: no control characters, no broken Unicode."""
    if not isinstance(value, str) or not value.isprintable():
        raise InputError(f"{name} is {shown(value)}: give printable text")
