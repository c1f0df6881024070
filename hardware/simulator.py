"""What the chip computes, spike for spike, on a CPU: every layer's ``cuba_step`` at the same step as the layer before it.

The weighted sums of a block of steps come from ``products.py``, in one piece; those of recurrent weights step by step. A sample starts
without spikes on their way: delays and recurrent weights carry nothing from one to another.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.delay_line import delay_line_of
from polystep_snn.hardware.fixed_point import ALIGNMENT, DECAY_BITS, STATE_BITS, V_LIMIT, CubaRegisters
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.products import product_of, recurrent_product_of

# Bytes of spikes and of drives at a time, about what a CPU's caches hold.
_BLOCK_BYTES = 2**24
_BLOCK_STEPS = 16
_INT32_MAX = 2**31 - 1
RECORDED_BYTES = 9
"""Of a neuron, step and sample that is recorded: a spike, a current and a membrane."""


class LayerRecording(NamedTuple):
    """One layer's neurons over time: ``z`` fired [T, B, N] bool; ``u`` and ``v`` after the step, reset included, [T, B, N] int32."""

    z: np.ndarray
    u: np.ndarray
    v: np.ndarray


def value_of(readout: str, last: LayerRecording) -> np.ndarray:
    """``[B, C]`` int32: what a readout (``IntegerNetwork.readout``) makes of its layer over time."""
    if readout == "count":
        return last.z.sum(0, dtype=np.int32)
    return last.v.max(0) if readout == "max" else last.v[-1].copy()


class Recording(NamedTuple):
    """All layers over time, and ``values`` [B, C] int32 as from ``run``."""

    layers: tuple[LayerRecording, ...]
    values: np.ndarray


class Simulator:
    """Runs batches of spike trains through an integer network, from ``u = v = 0``."""

    def __init__(self, network: IntegerNetwork):
        """
        Args:
            network: its arrays are copied.

        Raises:
            InputError: a layer whose currents 32 bits cannot hold.
        """
        self.network = network
        self._products, self._recurrent = [], []
        for k, layer in enumerate(network.layers):
            reach = largest_input(layer)
            _check_int32(k, layer, reach, network.num_steps)
            self._products.append(product_of(layer, reach))
            self._recurrent.append(recurrent_product_of(layer, reach))

    def run(self, spikes: np.ndarray) -> np.ndarray:
        """What the readout says at the end of each sample; the decision is the ``argmax``, the first one where several are equal.

        Args:
            spikes: ``[T, B, M]`` bool or uint8, zeros and ones.

        Returns:
            ``[B, C]`` int32: the readout's membranes after the last step, the largest of all steps, or its spike counts.

        Raises:
            InputError: spikes of another shape or dtype, or other values.
        """
        return self._run(spikes, None)

    def record(self, spikes: np.ndarray) -> Recording:
        """As ``run``, for spikes ``[T, B, M]``, with every spike, current and membrane: ``RECORDED_BYTES`` a neuron, step and sample."""
        check_spikes(spikes, self.network)
        shapes = [(*spikes.shape[:2], layer.num_neurons) for layer in self.network.layers]
        layers = tuple(LayerRecording(np.empty(s, np.bool_), np.empty(s, np.int32), np.empty(s, np.int32)) for s in shapes)
        return Recording(layers, self._run(spikes, layers))

    def observe(self, spikes: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """As ``run``, with what the neurons of each layer received in each sample.

        Returns:
            The sums over time of weights times spikes, ``[B, N]`` int32 a layer, which 32 bits have to hold; and ``values``.
        """
        sums = [np.zeros((spikes.shape[1], layer.num_neurons), np.int32) for layer in self.network.layers]
        return sums, self._run(spikes, None, sums)

    def _run(self, spikes: np.ndarray, records: tuple[LayerRecording, ...] | None, sums: list[np.ndarray] | None = None) -> np.ndarray:
        check_spikes(spikes, self.network)
        values = np.empty((spikes.shape[1], self.network.layers[-1].num_neurons), np.int32)
        for rows in self._chunks(spikes.shape[1]):
            parts = None if records is None else [LayerRecording(*(x[:, rows] for x in record)) for record in records]
            values[rows] = self._run_chunk(spikes[:, rows], parts, None if sums is None else [x[rows] for x in sums])
        return values

    def _chunks(self, num_samples: int) -> Iterator[slice]:
        widest = max(sum(pair) for pair in pairwise(self.network.sizes))
        # Of delayed spikes, those that were sent before the block are held too.
        steps = min(self.network.num_steps, _BLOCK_STEPS + max(layer.max_delay for layer in self.network.layers))
        size = max(1, _BLOCK_BYTES // (4 * widest * steps))
        return (slice(start, min(start + size, num_samples)) for start in range(0, num_samples, size))

    def _run_chunk(self, spikes: np.ndarray, records: list[LayerRecording] | None, sums: list[np.ndarray] | None) -> np.ndarray:
        """A block of steps goes through one layer after the other, then the next block, while the registers stand."""
        layers, num_samples = self.network.layers, spikes.shape[1]
        registers = [CubaRegisters((num_samples, x.num_neurons), x.du, x.dv, x.vth, x.bias) for x in layers]
        lines = [delay_line_of(x, num_samples, np.float32 if k else spikes.dtype) for k, x in enumerate(layers)]
        counts, largest = np.zeros_like(registers[-1].v), np.full_like(registers[-1].v, np.iinfo(np.int32).min)
        for start in range(0, len(spikes), _BLOCK_STEPS):
            z = spikes[start : start + _BLOCK_STEPS]
            for k, (product, recurrent, line, neurons) in enumerate(zip(self._products, self._recurrent, lines, registers, strict=True)):
                if line is not None:
                    z = line(z)
                drive = product(z.reshape(-1, z.shape[-1])).reshape(len(z), num_samples, -1)
                z = np.empty(drive.shape, np.float32)
                for i in range(len(z)):
                    if recurrent is not None:
                        # Of the step before; none before the first.
                        drive[i] += recurrent(neurons.z)
                    neurons.step(drive[i])
                    z[i] = neurons.z
                    if neurons is registers[-1] and self.network.readout == "max":
                        np.maximum(largest, neurons.v, out=largest)
                    if records is not None:
                        for name in LayerRecording._fields:
                            getattr(records[k], name)[start + i] = getattr(neurons, name)
                if sums is not None:
                    # Exact: multiples of 64, which float64 holds up to 2^59.
                    sums[k] += (drive.sum(0, dtype=np.float64) / 2**ALIGNMENT).astype(np.int32)
            counts += z.sum(0).astype(np.int32)
        return {"count": counts, "max": largest, "membrane": registers[-1].v}[self.network.readout]


def largest_input(layer: IntegerLayer) -> int:
    """The largest ``|a|`` that any spikes can cause in one step: every partial sum of weights lies within it, in any order."""
    negative, positive = layer.input_sums()
    return int(max(positive.max(), -negative.min()))


def _check_int32(k: int, layer: IntegerLayer, reach: int, num_steps: int) -> None:
    """InputError where a current could leave 32 bits.

    A 24-bit register wraps once a step. An input beyond 2^24 is not brought back by that, so such currents can grow from step to step;
    Lava's own int32 would overflow silently.
    """
    half, drive = 2 ** (STATE_BITS - 1), reach << ALIGNMENT
    if layer.convolution is not None and reach >= half:
        raise InputError(
            f"layer {k}: weights of one neuron sum to {reach}, and of a convolution's sums Lava keeps {STATE_BITS} bits: "
            "use a smaller kernel or smaller weights"
        )
    current = sum_ = 0
    for _ in range(num_steps):
        sum_ = (current * (2**DECAY_BITS - layer.du - 1) >> DECAY_BITS) + drive
        after = max(current, min(sum_, half), sum_ - 2 * half)
        if after == current or sum_ > _INT32_MAX:
            break
        current = after
    if max(sum_, current + V_LIMIT + int(np.abs(layer.bias).max())) > _INT32_MAX:
        raise InputError(
            f"layer {k}: weights of one neuron sum to {reach}, so its current can leave the 32 bits that hold it: "
            "use fewer inputs or smaller weights"
        )


def check_spikes(spikes: np.ndarray, network: IntegerNetwork) -> None:
    if not isinstance(spikes, np.ndarray) or spikes.dtype not in (np.uint8, np.bool_) or spikes.ndim != 3:
        given = f"{spikes.dtype} {list(spikes.shape)}" if isinstance(spikes, np.ndarray) else type(spikes).__name__
        raise InputError(f"spikes are {given}: give bool or uint8 [T, B, M]")
    steps, _, channels = spikes.shape
    if (steps, channels) != (network.num_steps, network.sizes[0]):
        raise InputError(
            f"spikes have {steps} steps of {channels} channels, the network takes {network.num_steps} of {network.sizes[0]}: "
            "encode the data as in training"
        )
    if spikes.dtype == np.uint8 and spikes.max(initial=0) > 1:
        raise InputError(f"a spike is {spikes.max()}: give zeros and ones")
