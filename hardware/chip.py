"""Does a network fit Loihi 2? The chip's published limits, what each layer needs of them, and how large its registers can grow.

``preflight(network)`` counts; ``report.table()`` shows; ``report.check()`` refuses, naming the layer. Nothing here has been tried on a
chip: limits marked as assumed are taken over from Loihi 1 or from Lava, or fill what the published ones leave open.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.fixed_point import ALIGNMENT, DECAY_BITS, STATE_BITS, V_LIMIT, decay
from polystep_snn.hardware.integer_network import BIAS_BITS, VTH_BITS, IntegerLayer, IntegerNetwork

SOURCES = {
    "Intel": "Intel Labs, Taking Neuromorphic Computing to the Next Level with Loihi 2, technology brief, 2021",
    "Davies": "Davies et al., Loihi: A Neuromorphic Manycore Processor with On-Chip Learning, IEEE Micro 38(1), 2018",
    "Lava": "lava-nc 0.10, lava.proc.lif.models (PyLifModelBitAcc) and lava.proc.dense.models (PyDenseModelBitAcc)",
}


class Limit(NamedTuple):
    """A number, the key of its source in ``SOURCES``, and whether it is assumed to hold for Loihi 2 rather than stated of it."""

    value: int
    source: str
    assumed: bool = False


class Chip(NamedTuple):
    """Limits of a chip. Sizes in bytes; KiB are 1,024 bytes.

    Attributes:
        cores, neurons, synapses: of a chip.
        neurons_per_core, memory_per_core, synapse_memory_per_core: the synapses' memory is a part of a core's.
        fan_in: inputs (axons) that reach a core.
        bytes_per_synapse: a dense 8-bit weight, zeros included, uncompressed.
        bytes_per_neuron: state and parameters of a CUBA neuron.
        weight_bits, vth_bits, bias_bits, decay_bits, state_bits: signed ones with their sign.
        input_bits: of the weighted sum that reaches a neuron in a step. Lava declares it and does not enforce it.
        documented_bias_bits: of the mantissa. Lava documents 13 and computes with 16.
    """

    cores: Limit = Limit(128, "Intel")
    neurons: Limit = Limit(1_000_000, "Intel")
    synapses: Limit = Limit(120_000_000, "Intel")
    neurons_per_core: Limit = Limit(8192, "Intel")
    memory_per_core: Limit = Limit(192 * 1024, "Intel")
    synapse_memory_per_core: Limit = Limit(128 * 1024, "Intel")
    fan_in: Limit = Limit(4096, "Davies", assumed=True)
    bytes_per_synapse: Limit = Limit(1, "Lava", assumed=True)
    bytes_per_neuron: Limit = Limit(24, "Intel", assumed=True)
    weight_bits: Limit = Limit(8, "Lava")
    vth_bits: Limit = Limit(VTH_BITS, "Lava")
    bias_bits: Limit = Limit(BIAS_BITS, "Lava")
    decay_bits: Limit = Limit(DECAY_BITS, "Lava")
    state_bits: Limit = Limit(STATE_BITS, "Lava")
    input_bits: Limit = Limit(16, "Lava", assumed=True)
    documented_bias_bits: Limit = Limit(13, "Lava", assumed=True)


LOIHI_2 = Chip()


@dataclass(frozen=True)
class Row:
    """What one layer needs.

    Attributes:
        name: "layer 0" and so on.
        neurons, fan_in, synapses: numbers; zeros among the weights count.
        synapse_bytes: of all its weights.
        cores: of its own; 0 where not even one neuron fits a core.
        weight_bits, vth_bits, bias_bits, decay_bits: that its parameters use, signs included.
        input_max: the largest ``|a|``.
        u_max, v_max: the largest magnitudes that any input could ask of the registers, before they wrap or saturate.
    """

    name: str
    neurons: int
    fan_in: int
    synapses: int
    synapse_bytes: int
    cores: int
    weight_bits: int
    vth_bits: int
    bias_bits: int
    decay_bits: int
    input_max: int
    u_max: int
    v_max: int


@dataclass(frozen=True)
class Report:
    """A network against a chip's limits."""

    chip: Chip
    num_steps: int
    rows: tuple[Row, ...]

    @property
    def cores(self) -> int:
        return sum(row.cores for row in self.rows)

    @property
    def neurons(self) -> int:
        return sum(row.neurons for row in self.rows)

    @property
    def synapses(self) -> int:
        return sum(row.synapses for row in self.rows)

    def check(self) -> None:
        """InputError naming the first layer that does not fit, and what would."""
        problems = self.problems()
        if problems:
            raise InputError(problems[0])

    def problems(self) -> list[str]:
        """What does not fit, a line each; empty where everything does."""
        found, chip = [], self.chip
        totals = dict.fromkeys(("cores", "neurons", "synapses"), 0)
        for row in self.rows:
            for name in ("weight_bits", "vth_bits", "bias_bits", "decay_bits"):
                limit, used = getattr(chip, name), getattr(row, name)
                if used > limit.value:
                    found.append(f"{row.name} uses {used} {name.replace('_', ' ')}, the chip has {limit.value}: scale the layer down")
            if row.fan_in > chip.fan_in.value:
                assumed = " (assumed of Loihi 2)" if chip.fan_in.assumed else ""
                found.append(f"{row.name} has {row.fan_in} inputs, a core takes {chip.fan_in.value}{assumed}: use fewer inputs")
            elif not row.cores:
                found.append(f"{row.name}: a neuron with {row.fan_in} synapses does not fit a core's memory: use fewer inputs")
            for name, total in totals.items():
                limit = getattr(chip, name).value
                totals[name] += getattr(row, name)
                if total <= limit < totals[name]:
                    found.append(f"{row.name} brings the network to {totals[name]:,} {name}, a chip has {limit:,}: use a smaller network")
        return found

    def notes(self) -> list[str]:
        """What fits, but deserves a look: registers that some input could overflow, widths beyond what Lava documents."""
        found, chip = [], self.chip
        for row in self.rows:
            if row.u_max > V_LIMIT:
                found.append(f"{row.name}: a current can reach {row.u_max:,} and would wrap at {V_LIMIT + 1:,}")
            if row.v_max > V_LIMIT:
                found.append(f"{row.name}: a membrane can reach {row.v_max:,} and would saturate at {V_LIMIT:,}")
            if _signed_bits(row.input_max) > chip.input_bits.value:
                found.append(
                    f"{row.name}: an input can reach {row.input_max:,}, {_signed_bits(row.input_max)} bits; "
                    f"Lava declares {chip.input_bits.value} and enforces none"
                )
            documented = chip.documented_bias_bits.value
            if row.bias_bits > documented:
                found.append(f"{row.name}: a bias takes {row.bias_bits} bits; Lava documents {documented} and computes with more")
        return found

    def table(self) -> str:
        """Text for a terminal: a line a layer, the limits below them, totals, notes and sources."""
        chip = self.chip
        head = ("", "neurons", "fan-in", "synapses", "KiB", "cores", "weight", "vth", "bias", "decay", "u", "v")
        lines = [
            (
                row.name,
                f"{row.neurons:,}",
                f"{row.fan_in:,}",
                f"{row.synapses:,}",
                f"{row.synapse_bytes / 1024:,.1f}",
                f"{row.cores or '-'}",
                *map(str, (row.weight_bits, row.vth_bits, row.bias_bits, row.decay_bits)),
                *(str(_signed_bits(x)) for x in (row.u_max, row.v_max)),
            )
            for row in self.rows
        ]
        kib = sum(row.synapse_bytes for row in self.rows) / 1024
        total = ("total", f"{self.neurons:,}", "", f"{self.synapses:,}", f"{kib:,.1f}", str(self.cores), *[""] * 6)
        widths = (chip.weight_bits, chip.vth_bits, chip.bias_bits, chip.decay_bits, chip.state_bits, chip.state_bits)
        bits = [str(limit.value) for limit in widths]
        per_chip = ("a chip", f"{chip.neurons.value:,}", "", f"{chip.synapses.value:,}", "", str(chip.cores.value), *[""] * 6)
        memory = f"{chip.synapse_memory_per_core.value / 1024:,.1f}"
        per_core = (
            "a core",
            f"{chip.neurons_per_core.value:,}",
            f"{chip.fan_in.value:,}{'*' * chip.fan_in.assumed}",
            "",
            memory,
            "",
            *bits,
        )
        rows = [head, *lines, total, per_chip, per_core]
        columns = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join([r[0].ljust(columns[0]), *map(str.rjust, r[1:], columns[1:])]).rstrip() for r in rows]
        rule = "-" * max(map(len, table))
        table = [table[0], rule, *table[1:-3], rule, *table[-3:]]
        text = [*table, f"From weight to v: bits; u and v: the most that any input of {self.num_steps} steps could ask for."]
        text += [f"Does not fit: {problem}" for problem in self.problems()]
        text += [f"Note: {note}" for note in self.notes()]
        text.append("* Assumed of Loihi 2, and that no two layers share a core. Sources:")
        limits = {name.replace("_", " "): limit for name, limit in chip._asdict().items()}
        for key, source in SOURCES.items():
            names = [name + "*" * limit.assumed for name, limit in limits.items() if limit.source == key]
            text.append(f"  {source}: {', '.join(names)}")
        return "\n".join(text)


def preflight(network: IntegerNetwork, chip: Chip = LOIHI_2) -> Report:
    """Count what a network needs of a chip. A layer's neurons spread over cores of its own, each with all of its inputs."""
    rows = tuple(_row(f"layer {k}", layer, network.num_steps, chip) for k, layer in enumerate(network.layers))
    return Report(chip, network.num_steps, rows)


def _row(name: str, layer: IntegerLayer, num_steps: int, chip: Chip) -> Row:
    synapse_bytes = layer.num_inputs * chip.bytes_per_synapse.value
    per_core = min(
        chip.neurons_per_core.value,
        chip.synapse_memory_per_core.value // synapse_bytes,
        chip.memory_per_core.value // (synapse_bytes + chip.bytes_per_neuron.value),
    )
    input_max, u_max, v_max = register_bounds(layer, num_steps)
    return Row(
        name,
        layer.num_neurons,
        layer.num_inputs,
        layer.weight.size,
        layer.num_neurons * synapse_bytes,
        -(-layer.num_neurons // per_core) if per_core else 0,
        weight_bits=_bits_of(layer.weight),
        vth_bits=int(layer.vth.max()).bit_length(),
        bias_bits=_bits_of(layer.bias_mant),
        decay_bits=max(int(layer.du), int(layer.dv)).bit_length(),
        input_max=input_max,
        u_max=u_max,
        v_max=v_max,
    )


def register_bounds(layer: IntegerLayer, num_steps: int) -> tuple[int, int, int]:
    """How large a layer's registers could grow, whatever spikes arrive. Interval arithmetic on each neuron's currents and membrane.

    Returns:
        The largest ``|a|``, ``|u|`` and ``|v|``, the latter two before wrapping, saturation and reset.
    """
    weight = layer.weight.astype(np.int64)
    inputs = np.stack([np.minimum(weight, 0).sum(1), np.maximum(weight, 0).sum(1)])
    threshold, bias = layer.vth.astype(np.int64) << ALIGNMENT, layer.bias.astype(np.int64)
    u = v = np.zeros((2, layer.num_neurons), np.int64)
    u_max = v_max = 0
    for _ in range(num_steps):
        before = u, v
        u = decay(u, layer.du + 1) + (inputs << ALIGNMENT)
        u_max = max(u_max, int(np.abs(u).max()))
        u = _wrapped(u[0], u[1])
        v = decay(v, layer.dv) + u + bias
        v_max = max(v_max, int(np.abs(v).max()))
        low, high = np.clip(v, -V_LIMIT, V_LIMIT)
        v = _reset(low, high, threshold)
        if np.array_equal(before, (u, v)):
            break
    return int(np.abs(inputs).max()), u_max, v_max


def _wrapped(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The interval of a current after ``wrap24``: one that may wrap may have any value of 24 bits, or what one wrap left of more."""
    half = 2 ** (STATE_BITS - 1)
    above, below = high > half, low <= -half
    return np.stack(
        [
            np.where(below, np.minimum(1 - half, low + 2 * half), np.where(above, 1 - half, low)),
            np.where(above, np.maximum(half, high - 2 * half), np.where(below, half, high)),
        ]
    )


def _reset(low: np.ndarray, high: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """The interval of a membrane after the reset: what may stand above the threshold may be zero, or anything up to the threshold."""
    fires, always = high > threshold, low > threshold
    return np.stack([np.where(fires, np.minimum(low, 0), low), np.where(fires, np.where(always, 0, threshold), high)])


def _signed_bits(magnitude: int) -> int:
    return magnitude.bit_length() + 1


def _bits_of(values: np.ndarray) -> int:
    """Of the two's complement that holds them all."""
    low, high = int(values.min()), int(values.max())
    return max(max(high, 0).bit_length(), (~min(low, -1)).bit_length()) + 1
