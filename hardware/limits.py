"""What Loihi 2 has, and who says so. Limits marked as assumed are taken over from Loihi 1 or from Lava, or fill what those leave open."""

from typing import NamedTuple

from polystep_snn.hardware.fixed_point import DECAY_BITS, STATE_BITS
from polystep_snn.hardware.integer_network import BIAS_BITS, MAX_DELAY, VTH_BITS

SOURCES = {
    "Intel": "Intel Labs, Taking Neuromorphic Computing to the Next Level with Loihi 2, technology brief, 2021",
    "Davies": "Davies et al., Loihi: A Neuromorphic Manycore Processor with On-Chip Learning, IEEE Micro 38(1), 2018",
    "Lava": "lava-nc 0.10, lava.proc.lif.models (PyLifModelBitAcc), lava.proc.dense.models (PyDenseModelBitAcc, PyDelayDenseModelBitAcc)",
    "lava-dl": "lava-dl 0.6, lava.lib.dl.netx.utils (num_delay_bits)",
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
        bytes_per_delay: that a synapse takes more where inputs are delayed: 6 bits, filled up.
        bytes_per_neuron: state and parameters of a CUBA neuron.
        weight_bits, vth_bits, bias_bits, decay_bits, state_bits: signed ones with their sign.
        delay_steps: how long a spike may be on its way. Lava's 6 bits hold 63 steps, lava-dl uses 62.
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
    bytes_per_delay: Limit = Limit(1, "Lava", assumed=True)
    bytes_per_neuron: Limit = Limit(24, "Intel", assumed=True)
    weight_bits: Limit = Limit(8, "Lava")
    vth_bits: Limit = Limit(VTH_BITS, "Lava")
    bias_bits: Limit = Limit(BIAS_BITS, "Lava")
    decay_bits: Limit = Limit(DECAY_BITS, "Lava")
    state_bits: Limit = Limit(STATE_BITS, "Lava")
    delay_steps: Limit = Limit(MAX_DELAY, "lava-dl")
    input_bits: Limit = Limit(16, "Lava", assumed=True)
    documented_bias_bits: Limit = Limit(13, "Lava", assumed=True)


LOIHI_2 = Chip()
