"""Weighted sums of spikes, exact: integers in floating point, which BLAS multiplies.

0/1 spikes times int8 weights are sums of integers, which float32 holds exactly as long as no neuron's positive or negative weights sum
to more than 2^24 (at 131,072 inputs or fewer they never do; float64 is taken beyond), in any order of the sum. Shifting a float by 6
bits changes its exponent only.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from polystep_snn.geometry import Convolution
from polystep_snn.hardware.fixed_point import ALIGNMENT
from polystep_snn.hardware.integer_network import IntegerLayer

_FLOAT32_INTEGERS = 2**24
# Of the taps of one row of neurons at a time: what a core's own cache holds.
_BLOCK_BYTES = 2**19

Product = Callable[[np.ndarray], np.ndarray]


def product_of(layer: IntegerLayer, reach: int) -> Product:
    """What makes of spikes ``[S, M]`` the aligned inputs ``a << 6``, ``[S, N]``, as floats.

    Args:
        layer: its weights are copied.
        reach: the largest ``|a|``.
    """
    dtype = np.dtype(np.float32 if reach <= _FLOAT32_INTEGERS else np.float64)
    weight = layer.weight.astype(dtype) * dtype.type(2 ** (ALIGNMENT + layer.weight_exp))
    return _Dense(weight) if layer.convolution is None else _Convolution(weight, layer.convolution)


def recurrent_product_of(layer: IntegerLayer, reach: int) -> Product | None:
    """The same for the layer's own spikes ``[S, N]``, and exact added to it; None without recurrent weights."""
    return None if layer.recurrent is None else product_of(replace(layer, weight=layer.recurrent, recurrent=None, delays=None), reach)


class _Dense:
    def __init__(self, weight: np.ndarray):
        self._weight = np.ascontiguousarray(weight.T)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return z.astype(self._weight.dtype, copy=False) @ self._weight


class _Convolution:
    """One product for each row of neurons, of what all of them see, samples innermost so that what is copied lies together.

    A kernel that repeats every weight p x p, at a stride and a padding that are multiples of p, adds up squares of its input: they are
    summed first, for one tap instead of p x p.
    """

    def __init__(self, weight: np.ndarray, convolution: Convolution):
        self._geometry = convolution
        self._pool = _pooled(weight, convolution)
        weight = np.ascontiguousarray(weight[:, :, :: self._pool, :: self._pool])
        self._kernel = weight.shape[2:]
        self._stride = tuple(step // self._pool for step in convolution.stride)
        self._weight = weight.reshape(len(weight), -1)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        result = np.empty((len(z), self._geometry.num_neurons), self._weight.dtype)
        row_bytes = self._weight.itemsize * self._weight.shape[1] * self._geometry.output_shape[2]
        size = max(1, _BLOCK_BYTES // row_bytes)
        for start in range(0, len(z), size):
            result[start : start + size] = self._block(z[start : start + size])
        return result

    def _block(self, z: np.ndarray) -> np.ndarray:
        """``[S, M]`` -> ``[S, N]``, of as many spike trains as fit the caches."""
        size, (channels, rows, columns) = len(z), self._geometry.output_shape
        windows = sliding_window_view(self._seen(z), self._kernel, (1, 2))[:, :: self._stride[0], :: self._stride[1]]
        windows = windows.transpose(1, 0, 4, 5, 2, 3)  # [rows, input channels, kernel height, kernel width, columns, S]
        sums = np.empty((channels, rows, columns * size), self._weight.dtype)
        for row, window in enumerate(windows):
            np.matmul(self._weight, window.reshape(-1, columns * size), out=sums[:, row])
        return sums.reshape(-1, size).T

    def _seen(self, z: np.ndarray) -> np.ndarray:
        """All that any window covers, ``[input channels, height, width, S]``: zeros around the input, squares summed."""
        geometry, pool = self._geometry, self._pool
        (channels, height, width), (above, left) = geometry.input_shape, geometry.padding
        covered = [(n - 1) * step + k for n, step, k in zip(geometry.output_shape[1:], geometry.stride, geometry.kernel, strict=True)]
        seen = np.zeros((channels, *covered, len(z)), self._weight.dtype)
        inside = seen[:, above : above + height, left : left + width]
        inside[...] = z.T.reshape(channels, height, width, -1)[:, : inside.shape[1], : inside.shape[2]]
        if pool == 1:
            return seen
        for axis in (1, 2):
            first, *others = (seen[(slice(None),) * axis + (slice(i, None, pool),)] for i in range(pool))
            seen = sum(others, start=first)
        return seen


def _pooled(weight: np.ndarray, convolution: Convolution) -> int:
    """The largest p for which squares of p x p may be summed first."""
    common = math.gcd(*convolution.kernel, *convolution.stride, *convolution.padding)
    for p in range(common, 1, -1):
        if common % p == 0:
            squares = weight.reshape(*weight.shape[:2], weight.shape[2] // p, p, weight.shape[3] // p, p)
            if (squares == squares[:, :, :, :1, :, :1]).all():
                return p
    return 1
