"""One step of a neuron, or of lanes of them: the arithmetic of ``snn.neurons`` and ``snn.loihi``, in its order.

What is absent (a synapse, a bound, a decay) is None, and no instruction of the compiled loop.
"""

from typing import NamedTuple

import numpy as np

from polystep_snn.engine.loops.jit import loop
from polystep_snn.engine.loops.lane_functions import higher_of, lower_of, truncated, where


class Lif(NamedTuple):
    """Constants of neurons in floating point, as numbers of the states' type.

    Attributes:
        beta, alpha: what the membrane and the synapse keep from one step to the next; alpha None without a synapse.
        v_th: threshold.
        v_min, v_max: bounds of the membrane; None for none.
        soft: what a spike takes from the membrane; None to take it to zero.
    """

    beta: np.floating
    alpha: np.floating | None
    v_th: np.floating
    v_min: np.floating | None
    v_max: np.floating | None
    soft: np.floating | None


class Cuba(NamedTuple):
    """Constants of the chip's neurons: whole numbers in floating point, below 2^24.

    Attributes:
        keep_u, keep_v: of 4096, what current and membrane keep from one step to the next; keep_u None where no current is kept, keep_v None
            where all of the membrane is.
        grain: 2^-12, and ``coarse``: 2^12.
        limit: of the membrane: 2^23 - 1.
        half: of the current's register: 2^23.
    """

    keep_u: np.floating | None
    keep_v: np.floating | None
    grain: np.floating
    coarse: np.floating
    limit: np.floating
    half: np.floating


def cuba_of(du: int, dv: int, kind: type) -> Cuba:
    """The chip's constants as numbers of a type."""
    keep_u, keep_v = None if du == 4095 else kind(4095 - du), None if dv == 0 else kind(4096 - dv)
    return Cuba(keep_u, keep_v, kind(2.0**-12), kind(2.0**12), kind(2.0**23 - 1), kind(2.0**23))


@loop
def lif_step(v, i, x, beta, alpha, v_th, v_min, v_max, soft):
    """``(fired, v, i)`` after a step under the current x."""
    i = x if alpha is None else alpha * i + x
    v = beta * v + i
    if v_min is not None:
        v = higher_of(v, v_min)
    if v_max is not None:
        v = lower_of(v, v_max)
    fired = v > v_th
    after = v - v if soft is None else v - soft
    return fired, where(fired, after, v), i


@loop
def neuron_step(v, i, x, shift, n, lif, cuba, bias, threshold):
    """A step of neuron n in floating point, or where ``cuba`` is given of the chip's; ``shift`` is None, or what a probe adds."""
    if cuba is None:
        return lif_step(v, i, x if shift is None else x + shift, *lif)
    return cuba_step(v, i, x, bias[n] if shift is None else bias[n] + shift, threshold[n], *cuba)


@loop
def decayed(x, keep, grain, coarse):
    """``x keep / 4096`` rounded toward zero: in two halves, so that no product is beyond 2^24."""
    high = truncated(x * grain)
    return high * keep + truncated((x - high * coarse) * (keep * grain))


@loop
def cuba_step(v, u, x, bias, threshold, keep_u, keep_v, grain, coarse, limit, half):
    """``(fired, v, u)`` after a step in which x arrives."""
    u = x if keep_u is None else decayed(u, keep_u, grain, coarse) + x
    around = half + half
    u = where(u > half, u - around, where(u <= -half, u + around, u))
    kept = v if keep_v is None else decayed(v, keep_v, grain, coarse)
    v = lower_of(higher_of(kept + (u + bias), -limit), limit)
    fired = v > threshold
    return fired, where(fired, limit - limit, v), u
