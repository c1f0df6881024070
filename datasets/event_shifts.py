"""What happens to a sensor that sends events, seeded: shifts of spikes ``[T, B, M]``.

As of images, the sensor's own randomness is the same for all that it ever sees; the sample's is drawn for every recording.

    drop     every event is lost with probability AMOUNT, of the sample
    noise    AMOUNT events a channel and step come by themselves, at most one in a step, of the sample
    dead     a fraction AMOUNT of the channels, the sensor's own, sends nothing
    hot      a fraction AMOUNT of the channels, the sensor's own, sends an event in every step
    gain     a channel keeps its events with a probability of its own, evenly from 1 - AMOUNT to 1
"""

from dataclasses import dataclass

import numpy as np

from polystep_snn.datasets.shifts import kind_and_amount
from polystep_snn.errors import InputError


@dataclass(frozen=True)
class EventShift:
    """A kind of shift and its amount, from 0 to 1.

    Raises:
        InputError: no such kind, or an amount that it cannot have.
    """

    kind: str
    amount: float

    def __post_init__(self):
        if self.kind not in EVENT_SHIFTS:
            raise InputError(f"there is no shift {self.kind!r} of events: choose one of {', '.join(EVENT_SHIFTS)}")
        if not 0 <= self.amount <= 1:
            raise InputError(f"the amount of {self.kind} is {self.amount:g}: choose from 0 to 1")

    @classmethod
    def parse(cls, text: str) -> "EventShift":
        """From a text such as ``drop:0.3``: ``KIND:AMOUNT``. InputError for anything else."""
        return cls(*kind_and_amount(text, "drop:0.3"))

    def __call__(self, spikes: np.ndarray, seed: int, sensor: int, first: int = 0) -> np.ndarray:
        """Shifted spikes.

        Args:
            spikes: ``[T, B, M]`` uint8, zeros and ones.
            seed: of what is drawn for every sample.
            sensor: seed of what is the sensor's own.
            first: number of the first sample, so that parts of a stream are shifted as the whole.
        """
        num_steps, _, num_channels = spikes.shape
        shifted = spikes.copy()
        own = np.random.default_rng(sensor)
        if self.kind in ("dead", "hot"):
            chosen = own.permutation(num_channels) < round(self.amount * num_channels)
            shifted[..., chosen] = self.kind == "hot"
            return shifted
        kept = 1 - own.random(num_channels) * self.amount if self.kind == "gain" else np.float64(1 - self.amount)
        for column in range(spikes.shape[1]):
            drawn = np.random.default_rng((seed, first + column)).random((num_steps, num_channels))
            if self.kind == "noise":
                shifted[:, column] |= (drawn < self.amount).astype(np.uint8)
            else:
                shifted[:, column] &= (drawn < kept).astype(np.uint8)
        return shifted


EVENT_SHIFTS = ("drop", "noise", "dead", "hot", "gain")
