"""What an inference costs the chip: spikes, synaptic operations and updates of neurons, counted; energy and time, estimated from them.

Counted as NeuroBench counts (neurobench 2, ``SynapticOperations``): a synaptic operation is what one spike does at one synapse that is not
zero ("effective"; its Effective_ACs), or what every input does at every synapse in every step ("dense"; its Dense). Where a convolution
looks beyond its input there is no synapse. Recurrent spikes count at recurrent synapses. An operation counts in the step in which the
spike arrives; what would arrive after the last step of a sample does not count.

The same network without spikes multiplies and accumulates once at every synapse for an image, and in every step where the input is made
of steps or layers have a memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polystep_snn.hardware.chip import Report, preflight
from polystep_snn.hardware.delay_line import delay_line_of
from polystep_snn.hardware.energy import LOIHI_1, Constants
from polystep_snn.hardware.fixed_point import ALIGNMENT
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.products import product_of, recurrent_product_of
from polystep_snn.hardware.simulator import RECORDED_BYTES, Simulator, check_spikes, largest_input

# Bytes of a recording at a time.
_PART_BYTES = 2**27


@dataclass(frozen=True)
class LayerCost:
    """What a layer does in a sample, on average.

    Attributes:
        name: "layer 0" and so on.
        neurons: their number.
        synapses: from all inputs, a convolution's written out; recurrent ones, and zeros among them too.
        nonzero: how many of them are not zero.
        weights: that are stored, a convolution's once; zero_weights: how many of these are zero.
        fires: whether its neurons can: those of a readout whose membranes decide are not counted on.
        cores, synapse_bytes: that it takes.
        arrived: spikes that arrive, its own by recurrent synapses among them.
        spikes: of its neurons.
        dense_operations, synaptic_operations: all, and the effective ones.
        neuron_updates: one a neuron and step.
        active_updates: those where a spike arrives at a synapse that is not zero.
        messages: spikes that arrive, once for every core of the layer.
        energy_nj: estimated.
        energy_of: the same for "synaptic operations", "neuron updates" and "messages".
    """

    name: str
    neurons: int
    synapses: int
    nonzero: int
    weights: int
    zero_weights: int
    fires: bool
    cores: int
    synapse_bytes: int
    arrived: float
    spikes: float
    dense_operations: int
    synaptic_operations: float
    neuron_updates: int
    active_updates: float
    messages: float
    energy_of: dict[str, float]

    @property
    def energy_nj(self) -> float:
        """Estimated: the sum of ``energy_of``."""
        return sum(self.energy_of.values())


@dataclass(frozen=True)
class ChipCost:
    """What a network does in a sample, on average.

    Attributes:
        samples: that were counted.
        num_steps: T.
        layers: from the input on.
        input_spikes: of the input.
        latency_ms: estimated: in every step the slowest layer's share of a core, and the time until all cores are through.
        multiply_accumulates: of the same network without spikes.
        constants: what energies and times are computed with.
    """

    samples: int
    num_steps: int
    layers: tuple[LayerCost, ...]
    input_spikes: float
    latency_ms: float
    multiply_accumulates: int
    constants: Constants = LOIHI_1

    def total(self, name: str) -> Any:
        """The sum over all layers of the attribute called ``name``."""
        return sum(getattr(layer, name) for layer in self.layers)

    @property
    def activation_sparsity(self) -> float:
        """The share of steps in which neurons that can fire do not; NeuroBench's ActivationSparsity. 1 where none can."""
        firing = [layer for layer in self.layers if layer.fires]
        return 1 - sum(layer.spikes for layer in firing) / max(1, sum(layer.neuron_updates for layer in firing))

    @property
    def connection_sparsity(self) -> float:
        """The share of weights that are zero, a convolution's counted once; NeuroBench's ConnectionSparsity."""
        return self.total("zero_weights") / self.total("weights")

    @property
    def multiply_accumulates_nj(self) -> float:
        """Estimated: arithmetic alone, in 45 nm."""
        return self.constants.multiply_accumulates_nj(self.multiply_accumulates)

    @property
    def accumulates_nj(self) -> float:
        """Estimated: what the effective operations would take of the same arithmetic."""
        return self.constants.accumulates_nj(self.total("synaptic_operations"))


class _Counter:
    """Counts what arrives at a layer."""

    def __init__(self, layer: IntegerLayer):
        self.layer = layer
        ones, marks = (_with_weights(layer, f) for f in (np.ones_like, lambda w: (w != 0).astype(np.int8)))
        self.synapses, self.nonzero = (int(x.input_sums()[1].sum()) for x in (ones, marks))
        reach = largest_input(marks)
        self._product, self._recurrent = product_of(marks, reach), recurrent_product_of(marks, reach)
        self.active = self.arrived = self.spikes = 0

    def __call__(self, inputs: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Synaptic operations and active neurons ``[T, B]``, of spikes ``[T, B, M]`` that are sent to it and its own ``[T, B, N]``."""
        line = delay_line_of(self.layer, inputs.shape[1], inputs.dtype)
        arrived = inputs if line is None else line(inputs)
        met = self._product(arrived.reshape(-1, arrived.shape[-1]))
        self.arrived += int(arrived.sum(dtype=np.int64))
        if self._recurrent is not None:
            # In the next step.
            own = np.concatenate([np.zeros_like(z[:1]), z[:-1]])
            met += self._recurrent(own.reshape(-1, own.shape[-1]))
            self.arrived += int(own.sum(dtype=np.int64))
        active = np.count_nonzero(met, 1).reshape(z.shape[:2])
        self.spikes += int(z.sum(dtype=np.int64))
        self.active += int(active.sum())
        return met.sum(1, dtype=np.float64).reshape(z.shape[:2]) / 2**ALIGNMENT, active


class CostMeter:
    """Runs spikes through a network and counts.

    Args:
        network: what runs.
        constants: energies and times.

    Attributes:
        report: the network against the chip's limits, which must have room for it.

    Raises:
        InputError: it does not fit the chip.
    """

    def __init__(self, network: IntegerNetwork, constants: Constants = LOIHI_1):
        self.network, self._constants = network, constants
        self.report: Report = preflight(network)
        self.report.check()
        self._simulator = Simulator(network)
        self._counters = [_Counter(layer) for layer in network.layers]
        self._operations = [0.0] * len(network.layers)
        self._samples, self._input_spikes, self._busy_ns = 0, 0, 0.0

    def run(self, spikes: np.ndarray) -> np.ndarray:
        """Count ``[T, B, M]`` spikes, bool or uint8; returns what ``Simulator.run`` does.

        Raises:
            InputError: spikes of another shape or dtype, or other values.
        """
        check_spikes(spikes, self.network)
        return np.concatenate([self._run(part) for part in self._parts(spikes)])

    def _parts(self, spikes: np.ndarray) -> Iterator[np.ndarray]:
        size = max(1, _PART_BYTES // (RECORDED_BYTES * self.network.num_steps * sum(self.network.sizes)))
        return (spikes[:, start : start + size] for start in range(0, max(1, spikes.shape[1]), size))

    def _run(self, spikes: np.ndarray) -> np.ndarray:
        recording = self._simulator.record(spikes)
        constants, slowest, inputs = self._constants, np.zeros(spikes.shape[:2]), spikes
        for k, (counter, row, layer) in enumerate(zip(self._counters, self.report.rows, recording.layers, strict=True)):
            operations, active = counter(inputs, layer.z)
            self._operations[k] += operations.sum()
            inactive = row.neurons - active
            busy = operations * constants.synaptic_operation_time.value + active * constants.active_update_time.value
            busy += inactive * constants.inactive_update_time.value
            slowest = np.maximum(slowest, busy / row.cores)
            inputs = layer.z
        self._samples += spikes.shape[1]
        self._input_spikes += int(spikes.sum(dtype=np.int64))
        self._busy_ns += slowest.sum()
        return recording.values

    def cost(self) -> ChipCost:
        """Of a sample, on average over all that were run; at least one must have been."""
        network, samples, num_steps = self.network, self._samples, self.network.num_steps
        layers = []
        for k, (counter, row) in enumerate(zip(self._counters, self.report.rows, strict=True)):
            updates, arrived = num_steps * row.neurons, counter.arrived / samples
            operations, active = self._operations[k] / samples, counter.active / samples
            stored = [x for x in (counter.layer.weight, counter.layer.recurrent) if x is not None]
            layers.append(
                LayerCost(
                    row.name,
                    row.neurons,
                    counter.synapses,
                    counter.nonzero,
                    sum(x.size for x in stored),
                    sum(int((x == 0).sum()) for x in stored),
                    network.readout == "count" or k + 1 < len(network.layers),
                    row.cores,
                    row.synapse_bytes,
                    arrived,
                    counter.spikes / samples,
                    num_steps * counter.synapses,
                    operations,
                    updates,
                    active,
                    arrived * row.cores,
                    self._constants.energies_nj(operations, active, updates - active, arrived * row.cores),
                )
            )
        # Each layer sees a spike one step after it was sent.
        barriers = (num_steps + len(layers)) * self._constants.barrier_ns(self.report.cores)
        in_steps = network.encoder == "events" or any(x.recurrent is not None or x.max_delay for x in network.layers)
        passes = num_steps if in_steps else 1
        return ChipCost(
            samples,
            num_steps,
            tuple(layers),
            self._input_spikes / samples,
            (self._busy_ns / samples + barriers) / 1e6,
            passes * sum(counter.synapses for counter in self._counters),
            self._constants,
        )


def _with_weights(layer: IntegerLayer, make: Any) -> IntegerLayer:
    """A layer of the same shape whose synapses count."""
    recurrent = None if layer.recurrent is None else make(layer.recurrent)
    return replace(layer, weight=make(layer.weight), recurrent=recurrent, weight_exp=0)
