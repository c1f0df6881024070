"""The neurons that turn a sample's intensities into spikes, and their registers: a threshold and a bias each.

The rate code is an integrate-and-fire neuron a channel that receives its intensity x in every step and fires at 1. With a threshold and a
bias of its own it fires as one does that receives::

    x' = clip((x + bias / 4096) / (vth / 4096), 0, 1)

``vth = 4096`` and ``bias = 0`` are the code itself, bit for bit. The latency code has the same registers.
"""

from dataclasses import dataclass

import numpy as np

from polystep_snn.errors import InputError

UNIT = 4096
VTH_BITS = 17
BIAS_LIMIT = 2**17
SILENT = -2 * UNIT
"""A bias that keeps a neuron from ever firing, with the threshold of the code."""
CODES = ("rate", "latency")


@dataclass(frozen=True, eq=False)
class InputNeurons:
    """Registers ``[M]`` int32 of a code's neurons, in 1/4096 of an intensity: ``vth`` 1 to 2^17 - 1, ``bias`` within 2^17."""

    vth: np.ndarray
    bias: np.ndarray

    def __post_init__(self):
        for name, low, high in (("vth", 1, 2**VTH_BITS - 1), ("bias", -BIAS_LIMIT, BIAS_LIMIT)):
            values = getattr(self, name)
            if not isinstance(values, np.ndarray) or values.dtype != np.int32 or values.ndim != 1 or values.shape != self.vth.shape:
                raise InputError(f"{name} of input neurons is no int32 [M]: give one a channel")
            if values.size and not (low <= values.min() and values.max() <= high):
                wrong = int(values.min() if values.min() < low else values.max())
                raise InputError(f"{name} of an input neuron is {wrong}: choose from {low} to {high}")

    @classmethod
    def of_code(cls, num_channels: int) -> "InputNeurons":
        """Those of ``num_channels`` channels that are the code itself."""
        return cls(np.full(num_channels, UNIT, np.int32), np.zeros(num_channels, np.int32))

    def __call__(self, intensities: np.ndarray) -> np.ndarray:
        """What they fire for, ``[B, M]`` float32 in [0, 1]."""
        moved = intensities + self.bias.astype(np.float32) / np.float32(UNIT)
        return np.clip(moved / (self.vth.astype(np.float32) / np.float32(UNIT)), np.float32(0), np.float32(1))


def received(intensities: np.ndarray) -> np.ndarray:
    """What input neurons receive, ``[B, M]`` int32 in 1/4096.

    Raises:
        InputError: values outside [0, 1], or NaN.
    """
    if intensities.size and not (intensities.min() >= 0 and intensities.max() <= 1):
        raise InputError("the stream contains intensities outside [0, 1], or NaN: scale them, or clean the data")
    return np.rint(intensities * np.float32(UNIT)).astype(np.int32)
