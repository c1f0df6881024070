"""Exponential and logarithm of one number, for a compiler that puts many side by side: in float32 by polynomials, in float64 as numpy's.

``exact`` chooses: None for float32, True for float64. Source: S. L. Moshier, Cephes Mathematical Library, expf and logf; relative errors
stay below 2e-7.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from polystep_snn.engine.loops.jit import product_loop


@intrinsic
def _float_of(typing_context: Any, bits: Any = None) -> Any:
    """The float32 that has these 32 bits."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def _bits_of(typing_context: Any, x: Any = None) -> Any:
    """The 32 bits of a float32."""
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(args[0], ir.IntType(32))


@product_loop
def exponential(x, exact):
    """``exp(x)``; in float32 for numbers of at most 88, below -87 it is that of -87."""
    if exact is None:
        x = max(np.float32(x), np.float32(-87.0))
        octaves = np.floor(x * np.float32(1.44269504088896341) + np.float32(0.5))
        r = x - octaves * np.float32(0.693359375) - octaves * np.float32(-2.12194440e-4)
        p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(0.5)
        power: Any = _float_of((np.int32(octaves) + np.int32(127)) << np.int32(23))
        return (p * r * r + r + np.float32(1)) * power
    else:  # noqa: RET505  # what is not None is compiled away
        return np.exp(x)


@product_loop
def logarithm(x, exact):
    """``log(x)`` of a positive number."""
    if exact is None:
        bits: Any = _bits_of(np.float32(x))
        octaves = np.float32((bits >> np.int32(23)) - np.int32(126))
        m = _float_of((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000))
        small = m < np.float32(0.70710678118654752)
        octaves = octaves - np.float32(1) if small else octaves
        m = m + m - np.float32(1) if small else m - np.float32(1)
        z = m * m
        p = np.float32(7.0376836292e-2) * m - np.float32(1.1514610310e-1)
        p = p * m + np.float32(1.1676998740e-1)
        p = p * m - np.float32(1.2420140846e-1)
        p = p * m + np.float32(1.4249322787e-1)
        p = p * m - np.float32(1.6668057665e-1)
        p = p * m + np.float32(2.0000714765e-1)
        p = p * m - np.float32(2.4999993993e-1)
        p = p * m + np.float32(3.3333331174e-1)
        y = p * m * z + np.float32(-2.12194440e-4) * octaves - np.float32(0.5) * z
        return m + y + np.float32(0.693359375) * octaves
    else:  # noqa: RET505
        return np.log(x)
