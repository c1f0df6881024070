"""Two recordings side by side: every spike and every membrane."""

from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.simulator import LayerRecording


class Difference(NamedTuple):
    """Where two recordings part: layer, neuron, step and sample, the quantity ("z", "u" or "v"), and the values expected and found."""

    layer: int
    neuron: int
    step: int
    sample: int
    quantity: str
    expected: int
    found: int

    def __str__(self) -> str:
        name = {"z": "spike", "u": "current", "v": "membrane"}[self.quantity]
        place = f"layer {self.layer}, neuron {self.neuron}, step {self.step}, sample {self.sample}"
        return f"the {name} of {place} is {self.found} instead of {self.expected}"


class Comparison(NamedTuple):
    """Spikes and membranes compared, differences found, and the first one: by step, then layer, then sample and neuron."""

    spikes: int
    membranes: int
    differences: int
    first: Difference | None


def compare(expected: tuple[LayerRecording, ...], found: tuple[LayerRecording, ...], first_sample: int = 0) -> Comparison:
    """Compare spikes, currents and membranes of all layers.

    Args:
        expected, found: recordings of the same network on the same spikes.
        first_sample: number of the first sample, for messages.

    Raises:
        InputError: recordings of different shapes.
    """
    shapes = [[layer.z.shape for layer in recording] for recording in (expected, found)]
    if shapes[0] != shapes[1]:
        raise InputError(f"the recordings have shapes {shapes[0]} and {shapes[1]}: record the same network on the same spikes")
    differences, first = 0, None
    for k, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        for quantity, a, b in zip(LayerRecording._fields, ours, theirs, strict=True):
            unequal = a != b
            count = int(np.count_nonzero(unequal))
            differences += count
            if count:
                step, sample, neuron = (int(x) for x in np.argwhere(unequal)[0])
                values = int(a[step, sample, neuron]), int(b[step, sample, neuron])
                here = Difference(k, neuron, step, first_sample + sample, quantity, *values)
                if first is None or here.step < first.step:
                    first = here
    size = sum(layer.z.size for layer in expected)
    return Comparison(size, size, differences, first)
