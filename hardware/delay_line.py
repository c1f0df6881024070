"""Spikes on their way: what a layer with delays sees of what was sent, block after block of a sample."""

import numpy as np

from polystep_snn.hardware.integer_network import IntegerLayer


class DelayLine:
    """Holds the spikes of a layer's inputs back, each by its own number of steps. Before the first step of a sample there were none."""

    def __init__(self, delays: np.ndarray, num_samples: int, dtype: type | np.dtype):
        """
        Args:
            delays: ``[M]`` whole numbers, in steps.
            num_samples: B.
            dtype: of the spikes.
        """
        self._longest = int(delays.max())
        # Inputs of the same delay move together.
        self._groups = [(int(delay), np.flatnonzero(delays == delay)) for delay in np.unique(delays)]
        self._sent = np.zeros((self._longest, num_samples, len(delays)), dtype)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """What arrives in the next steps of a sample: ``[S, B, M]`` spikes as they were sent -> the same, delayed."""
        sent = np.concatenate([self._sent, z])
        arrived = np.empty_like(z)
        for delay, inputs in self._groups:
            start = self._longest - delay
            arrived[:, :, inputs] = sent[start : start + len(z), :, inputs]
        self._sent = sent[len(z) :]
        return arrived


def delay_line_of(layer: IntegerLayer, num_samples: int, dtype: type | np.dtype) -> DelayLine | None:
    """A new one for the inputs of a layer; None where all arrive at once."""
    return None if layer.delays is None or not layer.max_delay else DelayLine(layer.delays, num_samples, dtype)
