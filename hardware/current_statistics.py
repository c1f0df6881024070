"""What neurons receive in a sample: mean and standard deviation, two integers a neuron, from running sums.

A population is either the input neurons of a code (they receive an intensity) or a layer (its neurons receive the sum of their currents
over the T steps of a sample, weights times spikes, without the bias). Nothing of a sample is stored: of each neuron the
sum and the sum of squares are kept, in 64 bits.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError

MARGIN_UNIT = 64
"""Parts of a membrane's or a count's unit in which a mean margin is kept."""


class Moments(NamedTuple):
    """``mean`` and ``std`` ``[N]`` int32 of what neurons receive in a sample; ``samples``, of how many."""

    mean: np.ndarray
    std: np.ndarray
    samples: int


class RunningMoments:
    """Sums and sums of squares of what N neurons have received, int64."""

    def __init__(self, num_neurons: int):
        self.count = 0
        self.sums, self.squares = np.zeros((2, num_neurons), np.int64)
        self._largest = 0

    def add(self, received: np.ndarray) -> None:
        """More samples.

        Args:
            received: ``[B, N]`` integers.

        Raises:
            InputError: no integers (NaN is none); more than 64 bits hold the squares of.
        """
        if not isinstance(received, np.ndarray) or received.dtype.kind not in "iu" or received.shape[1:] != self.sums.shape:
            given = f"{received.dtype} {list(received.shape)}" if isinstance(received, np.ndarray) else type(received).__name__
            raise InputError(f"what neurons received is {given}: give integers [samples, {len(self.sums)}]")
        wide = received.astype(np.int64)
        self._largest = max(self._largest, int(np.abs(wide).max(initial=0)))
        self.count += len(wide)
        if self._largest**2 * self.count >= 2**63:
            raise InputError(f"{self.count} sums of up to {self._largest} have squares that 64 bits do not hold: take fewer samples")
        self.sums += wide.sum(0)
        self.squares += (wide * wide).sum(0)

    def merge(self, other: "RunningMoments") -> None:
        """What another has gathered too."""
        self._largest = max(self._largest, other._largest)
        self.count += other.count
        if self._largest**2 * self.count >= 2**63:
            raise InputError(f"{self.count} sums of up to {self._largest} have squares that 64 bits do not hold: take fewer samples")
        self.sums += other.sums
        self.squares += other.squares

    def moments(self) -> Moments:
        """Rounded to the nearest; of squares of sums in whole numbers of any length.

        Raises:
            InputError: fewer than two samples, which have no spread.
        """
        n = self.count
        if n < 2:
            raise InputError(f"statistics are of {n} samples: take 2 at least")
        pairs = [(int(s), int(q)) for s, q in zip(self.sums, self.squares, strict=True)]
        mean = [(2 * s + n) // (2 * n) for s, _ in pairs]
        std = [(2 * math.isqrt(n * q - s * s) + n) // (2 * n) for s, q in pairs]
        return Moments(np.array(mean, np.int32), np.array(std, np.int32), n)


@dataclass(frozen=True, eq=False)
class KeptStatistics:
    """What a deployed network received of clean training data.

    Attributes:
        received: of each population, ``Moments``; the input neurons first where the code has them, then the layers.
        margin: mean lead of the readout's first value over its second, in 1/64.
    """

    received: tuple[Moments, ...]
    margin: int

    def __post_init__(self):
        if not self.received:
            raise InputError("statistics are of no population: give at least one")
        for k, moments in enumerate(self.received):
            for name in ("mean", "std"):
                values = getattr(moments, name)
                if not isinstance(values, np.ndarray) or values.dtype != np.int32 or values.shape != self.received[k].mean.shape[:1]:
                    raise InputError(f"{name} of population {k} is no int32 [N]: give one a neuron")
            if moments.std.min(initial=0) < 0:
                raise InputError(f"a standard deviation of population {k} is {moments.std.min()}: give 0 or more")
            if type(moments.samples) is not int or moments.samples < 2:
                raise InputError(f"statistics are of {moments.samples} samples: take 2 at least")
        if type(self.margin) is not int or not 0 <= self.margin < 2**31:
            raise InputError(f"margin is {self.margin}: give a whole number from 0 on")


def margins(values: np.ndarray) -> np.ndarray:
    """By how much each sample's first value leads its second, ``[B]`` int64; ``values`` ``[B, C]``, of one class the value itself."""
    if values.shape[1] == 1:
        return values[:, 0].astype(np.int64)
    two = np.partition(values.astype(np.int64), -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]
