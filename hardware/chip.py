"""Does a network fit Loihi 2? The chip's published limits, what each layer needs of them, and how large its registers can grow.

``preflight(network)`` counts; ``report.table()`` shows; ``report.check()`` refuses, naming the layer. Nothing here has been tried on a
chip: limits marked as assumed are taken over from Loihi 1 or from Lava, or fill what the published ones leave open.
"""

from dataclasses import dataclass

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.core_layout import layout_of
from polystep_snn.hardware.fixed_point import V_LIMIT
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.limits import LOIHI_2, SOURCES, Chip
from polystep_snn.hardware.limits import Limit as Limit
from polystep_snn.hardware.register_bounds import register_bounds


@dataclass(frozen=True)
class Row:
    """What one layer needs.

    Attributes:
        name: "layer 0" and so on.
        neurons: their number.
        fan_in: inputs that reach a core, a recurrent layer's own spikes among them; of a convolution that fits none, a neuron's.
        synapses: stored weights, recurrent ones and zeros among them too; of a convolution, once for every core that has neurons of the
            channel.
        synapse_bytes: of all stored weights.
        cores: of its own; 0 where not even one neuron fits a core.
        weight_bits, vth_bits, bias_bits, decay_bits: that its parameters use, signs included.
        input_max: the largest ``|a|``.
        u_max, v_max: the largest magnitudes that any input could ask of the registers, before they wrap or saturate.
        recurrent: how many of the synapses are recurrent.
        max_delay: the longest delay, in steps.
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
    recurrent: int = 0
    max_delay: int = 0


@dataclass(frozen=True)
class Report:
    """A network against a chip's limits.

    Attributes:
        chip: its limits.
        num_steps: T.
        rows: what each layer needs.
        shares_weights: whether some layer is a convolution.
    """

    chip: Chip
    num_steps: int
    rows: tuple[Row, ...]
    shares_weights: bool = False

    @property
    def cores(self) -> int:
        """Cores of all layers."""
        return sum(row.cores for row in self.rows)

    @property
    def neurons(self) -> int:
        """Neurons of all layers."""
        return sum(row.neurons for row in self.rows)

    @property
    def synapses(self) -> int:
        """Synapses of all layers."""
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
            if row.max_delay > chip.delay_steps.value:
                found.append(f"{row.name} has a delay of {row.max_delay} steps, the chip has {chip.delay_steps.value}: shorten it")
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
        with_memory = any(row.recurrent or row.max_delay for row in self.rows)
        if with_memory:
            more = [(f"{row.recurrent:,}", str(row.max_delay)) for row in self.rows]
            recurrent = f"{sum(row.recurrent for row in self.rows):,}"
            more = [("recurrent", "delay"), *more, (recurrent, ""), ("", ""), ("", str(chip.delay_steps.value))]
            rows = [(*row, *cells) for row, cells in zip(rows, more, strict=True)]
        columns = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join([r[0].ljust(columns[0]), *map(str.rjust, r[1:], columns[1:])]).rstrip() for r in rows]
        rule = "-" * max(map(len, table))
        table = [table[0], rule, *table[1:-3], rule, *table[-3:]]
        text = [*table, f"From weight to v: bits; u and v: the most that any input of {self.num_steps} steps could ask for."]
        if with_memory:
            text.append("Recurrent: those of the synapses that are; delay: the longest one, in steps.")
        text += [f"Does not fit: {problem}" for problem in self.problems()]
        text += [f"Note: {note}" for note in self.notes()]
        delays = ", that a delay is stored with every synapse" if any(row.max_delay for row in self.rows) else ""
        shares = ", and that a core stores one kernel for all the neurons of a channel that it has" if self.shares_weights else ""
        text.append(f"* Assumed of Loihi 2, and that no two layers share a core{delays}{shares}. Sources:")
        limits = {name.replace("_", " "): limit for name, limit in chip._asdict().items()}
        for key, source in SOURCES.items():
            names = [name + "*" * limit.assumed for name, limit in limits.items() if limit.source == key]
            text.append(f"  {source}: {', '.join(names)}")
        return "\n".join(text)


def preflight(network: IntegerNetwork, chip: Chip = LOIHI_2) -> Report:
    """Count what a network needs of a chip. A layer's neurons spread over cores of its own, each with all of its inputs."""
    rows = tuple(_row(f"layer {k}", layer, network.num_steps, chip) for k, layer in enumerate(network.layers))
    return Report(chip, network.num_steps, rows, any(layer.convolution is not None for layer in network.layers))


def _row(name: str, layer: IntegerLayer, num_steps: int, chip: Chip) -> Row:
    layout = layout_of(layer, chip)
    input_max, u_max, v_max = register_bounds(layer, num_steps)
    return Row(
        name,
        layer.num_neurons,
        layout.fan_in,
        layout.synapses,
        layout.synapse_bytes,
        layout.cores,
        weight_bits=max(_bits_of(weight) for weight in (layer.weight, layer.recurrent) if weight is not None),
        vth_bits=int(layer.vth.max()).bit_length(),
        bias_bits=_bits_of(layer.bias_mant),
        decay_bits=max(int(layer.du), int(layer.dv)).bit_length(),
        input_max=input_max,
        u_max=u_max,
        v_max=v_max,
        recurrent=0 if layer.recurrent is None else layer.recurrent.size,
        max_delay=layer.max_delay,
    )


def _signed_bits(magnitude: int) -> int:
    return magnitude.bit_length() + 1


def _bits_of(values: np.ndarray) -> int:
    """Of the two's complement that holds them all."""
    low, high = int(values.min()), int(values.max())
    return max(max(high, 0).bit_length(), (~min(low, -1)).bit_length()) + 1
