"""Exponential and logarithm, of one number or of lanes: in float32 by polynomials, in float64 as the machine's library has them.

``quick`` chooses: True for float32, None for float64. Source: S. L. Moshier, Cephes Mathematical Library, expf and logf; relative errors
stay below 2e-7.
"""

import numpy as np

from polystep_snn.engine.loops.jit import product_loop
from polystep_snn.engine.loops.lane_functions import (
    bits_of,
    exp,
    float_of,
    floor,
    higher_of,
    log,
    shifted_left,
    shifted_right,
    single_of,
    where,
    whole_of,
)


@product_loop
def exponential(x, quick):
    """``exp(x)``; in float32 for numbers of at most 88, below -87 it is that of -87."""
    if quick is None:
        return exp(x)
    else:  # noqa: RET505  # for None this is compiled away
        x = higher_of(x, np.float32(-87.0))
        octaves = floor(x * np.float32(1.44269504088896341) + np.float32(0.5))
        r = x - octaves * np.float32(0.693359375) - octaves * np.float32(-2.12194440e-4)
        p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(0.5)
        power = float_of(shifted_left(whole_of(octaves) + np.int32(127), 23))
        return (p * r * r + r + np.float32(1)) * power


@product_loop
def logarithm(x, quick):
    """``log(x)`` of a positive number."""
    if quick is None:
        return log(x)
    else:  # noqa: RET505
        bits = bits_of(x)
        octaves = single_of(shifted_right(bits, 23) - np.int32(126))
        m = float_of((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000))
        small = m < np.float32(0.70710678118654752)
        octaves = where(small, octaves - np.float32(1), octaves)
        m = where(small, m + m, m) - np.float32(1)
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
