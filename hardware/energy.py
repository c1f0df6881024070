"""What single operations cost in energy and time, and who says so.

For Loihi 2 nobody has published such figures. Those of Loihi 1 stand in for them: a chip of 14 nm and asynchronous as well, but not the
same one. They come from simulations before there was a chip. So what is computed with them is an estimate, good for comparing networks
with each other; it holds no leakage, no processors, no way between tiles and nothing of what brings the input to the chip.
"""

from typing import NamedTuple

from polystep_snn.hardware.limits import SOURCES as _SOURCES

SOURCES = {
    "Davies": f"{_SOURCES['Davies']}, table 2 (simulated before there was a chip)",
    "Horowitz": "Horowitz, Computing's Energy Problem (and What We Can Do About It), ISSCC 2014, figure 1.1.9 (45 nm, 0.9 V)",
}


class Constant(NamedTuple):
    """A value, its unit, the key of its source in ``SOURCES``, and whether it stands in for one of Loihi 2 that is not known."""

    value: float
    unit: str
    source: str
    stands_in: bool = True


class Constants(NamedTuple):
    """Of a chip that runs the network, and of arithmetic units that run it without spikes.

    Attributes:
        synaptic_operation: the least that is published.
        active_update, inactive_update: of a neuron in a step; here it is active where a spike arrives.
        message: of a spike to a core in the same tile.
        synaptic_operation_time: the most that is published.
        active_update_time, inactive_update_time: as the energies.
        shortest_barrier, longest_barrier: of a step, for all cores to be through: of 1 tile and of ``tiles``.
        tiles, cores_per_tile: of a chip.
        multiplication, addition: of 8 bits times 8 bits, and of 32 bits, in which products are summed; memory apart.
    """

    synaptic_operation: Constant = Constant(23.6, "pJ", "Davies")
    active_update: Constant = Constant(81.0, "pJ", "Davies")
    inactive_update: Constant = Constant(52.0, "pJ", "Davies")
    message: Constant = Constant(1.7, "pJ", "Davies")
    synaptic_operation_time: Constant = Constant(3.5, "ns", "Davies")
    active_update_time: Constant = Constant(8.4, "ns", "Davies")
    inactive_update_time: Constant = Constant(5.3, "ns", "Davies")
    shortest_barrier: Constant = Constant(113.0, "ns", "Davies")
    longest_barrier: Constant = Constant(465.0, "ns", "Davies")
    tiles: Constant = Constant(32, "tiles", "Davies")
    cores_per_tile: Constant = Constant(4, "cores", "Davies")
    multiplication: Constant = Constant(0.2, "pJ", "Horowitz", stands_in=False)
    addition: Constant = Constant(0.1, "pJ", "Horowitz", stands_in=False)

    def energies_nj(self, operations: float, active: float, inactive: float, messages: float) -> dict[str, float]:
        """Of so many synaptic operations, updates of neurons and messages to cores."""
        return {
            "synaptic operations": operations * self.synaptic_operation.value / 1e3,
            "neuron updates": (active * self.active_update.value + inactive * self.inactive_update.value) / 1e3,
            "messages": messages * self.message.value / 1e3,
        }

    def barrier_ns(self, cores: int) -> float:
        """What a step of so many cores takes beside their work; by a straight line between the two that are published."""
        tiles = min(-(-cores // self.cores_per_tile.value), self.tiles.value)
        shortest, longest = self.shortest_barrier.value, self.longest_barrier.value
        return shortest + (longest - shortest) * (tiles - 1) / (self.tiles.value - 1)

    def multiply_accumulates_nj(self, number: float) -> float:
        """Of a number of them, as a network without spikes has, with int8 weights and inputs: arithmetic alone."""
        return number * (self.multiplication.value + self.addition.value) / 1e3

    def accumulates_nj(self, number: float) -> float:
        """Of a number of them, as spikes need, which are not multiplied, on the same arithmetic units."""
        return number * self.addition.value / 1e3


LOIHI_1 = Constants()
