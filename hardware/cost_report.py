"""What an inference costs, for people and for programs."""

from typing import Any

from polystep_snn.hardware.chip_cost import ChipCost
from polystep_snn.hardware.energy import SOURCES

_NOT_COUNTED = "leakage, processors, ways between tiles and what brings the input to the chip"


def table(cost: ChipCost) -> str:
    """Text for a terminal: a line a layer, totals, and what the estimates rest on."""
    head = ("", "neurons", "spikes", "arrived", "operations", "dense", "share", "updates", "active", "cores", "KiB", "nJ*")
    names = ("neurons", "spikes", "arrived", "synaptic_operations", "dense_operations", "neuron_updates", "active_updates", "cores")
    rows: list[tuple[str, ...]] = [head]
    for name, values in [*((x.name, vars(x) | {"energy_nj": x.energy_nj}) for x in cost.layers), ("total", None)]:
        of = cost.total if values is None else values.__getitem__
        cells = [f"{of(x):,.0f}" for x in names]
        cells.insert(5, f"{of('synaptic_operations') / of('dense_operations'):.1%}")
        rows.append((name, *cells, f"{of('synapse_bytes') / 1024:,.1f}", f"{of('energy_nj'):,.2f}"))
    columns = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([r[0].ljust(columns[0]), *map(str.rjust, r[1:], columns[1:])]) for r in rows]
    rule = "-" * len(lines[0])
    c, energies = cost.constants, ", ".join(f"{name} {nj:,.2f}" for name, nj in _energies(cost).items())
    operation = f"{c.synaptic_operation.value:g} pJ and {c.synaptic_operation_time.value:g} ns a synaptic operation"
    update = f"{c.active_update.value:g} pJ and {c.active_update_time.value:g} ns an active update of a neuron"
    other = f"{c.inactive_update.value:g} pJ and {c.inactive_update_time.value:g} ns an inactive one"
    barrier = f"{c.shortest_barrier.value:g} to {c.longest_barrier.value:g} ns between steps"
    text = [
        lines[0].rstrip(),
        rule,
        *lines[1:-1],
        rule,
        lines[-1],
        f"Of a sample of {cost.num_steps} steps, on average over {cost.samples:,}. The input has {cost.input_spikes:,.1f} spikes.",
        "Operations: one for a spike at a synapse that is not zero. Dense: one for every input at every synapse in every step.",
        f"Sparsity of activations {cost.activation_sparsity:.4f}, of connections {cost.connection_sparsity:.4f}; all as NeuroBench counts.",
        "Active: updates where a spike arrives.",
        f"Energy*: {cost.total('energy_nj'):,.2f} nJ ({energies}).",
        f"Latency*: {cost.latency_ms:.4f} ms, as fast as the cores can.",
        f"Without spikes: {cost.multiply_accumulates:,} int8 multiply-accumulates, {cost.multiply_accumulates_nj:,.2f} nJ** of arithmetic.",
        f"The sums that spikes need: {cost.accumulates_nj:,.2f} nJ** of the same arithmetic.",
        "* Estimates. Nothing is published of Loihi 2; Loihi 1 stands in for it:",
        f"  {operation}, {update}, {other},",
        f"  {c.message.value:g} pJ a spike to a core, {barrier}.",
        f"  Not counted: {_NOT_COUNTED}.",
        f"  Source: {SOURCES['Davies']}.",
        f"** {c.multiplication.value:g} pJ an 8-bit multiplication, {c.addition.value:g} pJ a 32-bit addition; without memory.",
        f"  Source: {SOURCES['Horowitz']}.",
    ]
    return "\n".join(text)


def as_values(cost: ChipCost) -> dict[str, Any]:
    """Plain values, of a sample: energies in nJ, times in ms."""
    layers = []
    for layer in cost.layers:
        values = dict(vars(layer))
        values["energy_nj_of"] = values.pop("energy_of")
        layers.append({**values, "energy_nj": layer.energy_nj})
    return {
        "samples": cost.samples,
        "num_steps": cost.num_steps,
        "spikes": cost.total("spikes"),
        "input_spikes": cost.input_spikes,
        "synaptic_operations": cost.total("synaptic_operations"),
        "dense_operations": cost.total("dense_operations"),
        "activation_sparsity": cost.activation_sparsity,
        "connection_sparsity": cost.connection_sparsity,
        "neuron_updates": cost.total("neuron_updates"),
        "active_updates": cost.total("active_updates"),
        "cores": cost.total("cores"),
        "synapse_bytes": cost.total("synapse_bytes"),
        "energy_nj": cost.total("energy_nj"),
        "energy_nj_of": _energies(cost),
        "latency_ms": cost.latency_ms,
        "multiply_accumulates": cost.multiply_accumulates,
        "multiply_accumulates_nj": cost.multiply_accumulates_nj,
        "accumulates_nj": cost.accumulates_nj,
        "layers": layers,
        "constants": {name: constant._asdict() for name, constant in cost.constants._asdict().items()},
        "sources": SOURCES,
        "not_counted": _NOT_COUNTED,
    }


def _energies(cost: ChipCost) -> dict[str, float]:
    return {name: sum(layer.energy_of[name] for layer in cost.layers) for name in cost.layers[0].energy_of}
