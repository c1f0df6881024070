r"""From images to spikes: the codes that need no chance, in numpy, bit for bit those of training.

::

    rate       c[t] = floor(x * t + 1e-4), s[t] = c[t] - c[t-1]   for t = 1 .. T
    latency    s[t] = 1 at t = floor((1 - x) * (T - 1) + 0.5)     for t = 0 .. T - 1; none where x = 0

Both in float32, as in ``polystep_snn.snn.encoders``.
"""

from collections.abc import Callable

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.input_neurons import InputNeurons
from polystep_snn.hardware.integer_network import ENCODERS as KNOWN
from polystep_snn.hardware.integer_network import MAX_NUM_STEPS, check_whole

# The membrane that the rate code's neuron starts with.
_FLOOR_SLACK = np.float32(1e-4)
# Images a chunk, so that the counts of one stay in the cache.
_CHUNK = 64


def encode(encoder: str, num_steps: int, images: np.ndarray, neurons: InputNeurons | None = None) -> np.ndarray:
    """The spikes of a batch of images.

    Args:
        encoder: "rate" or "latency".
        num_steps: T.
        images: ``[B, M]`` float32 intensities in [0, 1].
        neurons: the registers of the code's neurons, where they are not the code's own.

    Returns:
        ``[T, B, M]`` uint8, zeros and ones.

    Raises:
        InputError: a code that needs chance, or whose constants a network does not hold, or that is none; images of another
            form or with values outside [0, 1].
    """
    if encoder not in _SPIKES:
        if encoder in KNOWN:
            raise InputError(f"{encoder!r} has no spikes of its own to compute here: give the spikes, encoded as in training")
        raise InputError(f"there is no encoder {encoder!r}: choose one of {', '.join(_SPIKES)}")
    check_whole("num_steps", num_steps, 1, MAX_NUM_STEPS)
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.dtype != np.float32:
        given = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
        raise InputError(f"images are {given}: give float32 intensities [B, M], flattened and scaled to [0, 1]")
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise InputError("the images contain values outside [0, 1], or NaN: scale them, or clean the data")
    spikes = np.empty((num_steps, *images.shape), np.uint8)
    for start in range(0, len(images), _CHUNK):
        rows = slice(start, start + _CHUNK)
        seen = images[rows] if neurons is None else neurons(images[rows])
        _SPIKES[encoder](seen, spikes[:, rows])
    return spikes


def _rate(x: np.ndarray, spikes: np.ndarray) -> None:
    count, previous = np.empty_like(x), np.zeros_like(x)
    for t, out in enumerate(spikes, 1):
        np.multiply(x, np.float32(t), out=count)
        count += _FLOOR_SLACK
        np.floor(count, out=count)
        np.subtract(count, previous, out=out, casting="unsafe")
        count, previous = previous, count


def _latency(x: np.ndarray, spikes: np.ndarray) -> None:
    when = np.floor((np.float32(1) - x) * np.float32(len(spikes) - 1) + np.float32(0.5))
    when[x == 0] = -1
    for t, out in enumerate(spikes):
        np.equal(when, np.float32(t), out=out.view(np.bool_))


_SPIKES: dict[str, Callable[[np.ndarray, np.ndarray], None]] = {"rate": _rate, "latency": _latency}
