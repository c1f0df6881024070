"""Cross-entropies in integers, by tables: what the learning rule and the chip both can compute."""

import math

import numpy as np

from polystep_snn.errors import InputError

# Costs are in 1/1024 nat, exponentials in 1/32768.
NAT = 1024
_ONE = 2**15


class Costs:
    """Cross-entropies by tables.

    Args:
        nats_per_unit: what 1 on the readout (a membrane over 64) is worth.
        num_classes: C.
    """

    def __init__(self, nats_per_unit: float, num_classes: int):
        # Ten bits of mantissa, so that readouts of 2^20 units stay within 32 bits.
        self._shift = max(0, 10 - math.frexp(nats_per_unit * NAT)[1])
        self._factor = round(math.ldexp(nats_per_unit * NAT, self._shift))
        if not 1 <= self._factor < 2**11:
            raise InputError(f"a unit of the readout is worth {nats_per_unit:g} nats: choose a rule with from 1e-6 to 1")
        self._exp = np.round(_ONE * np.exp(-np.arange(16 * NAT) / NAT)).astype(np.int32)
        self._log = np.round(NAT * np.log(np.arange(NAT, num_classes * NAT + 2) / NAT)).astype(np.int32)

    def holds(self, largest: int) -> bool:
        """Whether 32 bits hold the logits of readouts up to ``largest``, and their costs."""
        product = largest * self._factor
        return product < 2**31 and 2 * (product >> self._shift) + int(self._log[-1]) < 2**31

    def logits(self, readout: np.ndarray) -> np.ndarray:
        """Readouts as multiples of 1/1024 nat."""
        return (readout * self._factor) >> self._shift

    def __call__(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Costs ``[..., B]`` of logits ``[..., C, B]``, in 1/1024 nat."""
        largest = logits.max(-2)
        below = np.minimum(largest[..., None, :] - logits, len(self._exp) - 1)
        total = np.take(self._exp, below).sum(-2, dtype=np.int32)
        right = logits[..., labels, np.arange(len(labels))]
        return largest + np.take(self._log, (total >> 5) - NAT) - right
