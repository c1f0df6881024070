r"""Loihi's fixed-point arithmetic, bit for bit, in numpy.

One step of a current-based LIF neuron (CUBA) on integers, as Lava's ``fixed_pt`` models compute it::

    u = wrap24(decay(u, du + 1) + (a << 6))        a: weights times spikes
    v = clip(decay(v, dv) + u + bias)              to plus or minus 2^23 - 1
    z = v > (vth << 6)                             strictly
    v = 0 where z                                  hard reset; u is kept

with ``decay(x, d) = sign(x) * ((|x| * (4096 - d)) >> 12)``, which rounds toward zero. ``du = 4095`` keeps no current at all.
Names are Lava's. Source: ``lava.proc.lif.models.PyLifModelBit`` and ``AbstractPyLifModelFixed`` of lava-nc 0.10.
"""

from typing import NamedTuple

import numpy as np

STATE_BITS = 24
DECAY_BITS = 12
# Weights and thresholds are shifted to the scale of the 24-bit registers.
ALIGNMENT = 6
V_LIMIT = 2 ** (STATE_BITS - 1) - 1


class CubaState(NamedTuple):
    """Current and membrane, int32 arrays of the same shape."""

    u: np.ndarray
    v: np.ndarray


def decay(x: np.ndarray, d: int) -> np.ndarray:
    """``x`` with the fraction ``d / 4096`` taken away, rounded toward zero.

    Args:
        x: int32, any shape, above -2^31.
        d: 0 (nothing decays) to 4096 (everything does).
    """
    magnitude = np.abs(x)
    keep = 2**DECAY_BITS - d
    # |x| * keep needs 36 bits: high and low half of |x| one after the other fit into 32.
    high, low = magnitude >> DECAY_BITS, magnitude & (2**DECAY_BITS - 1)
    return np.sign(x) * (high * keep + ((low * keep) >> DECAY_BITS))


def wrap24(x: np.ndarray) -> np.ndarray:
    """``x`` after one overflow of a 24-bit register at most: above 2^23 it loses 2^24, at -2^23 and below it gains 2^24.

    So the largest value is 2^23 itself: that is what Lava computes.
    """
    half = 2 ** (STATE_BITS - 1)
    return x - np.where(x > half, 2 * half, 0) + np.where(x <= -half, 2 * half, 0)


def cuba_step(
    a: np.ndarray, state: CubaState, du: int, dv: int, vth: int | np.ndarray, bias: int | np.ndarray = 0
) -> tuple[np.ndarray, CubaState]:
    """One step of the equations at the top of this file.

    Args:
        a: weighted sums of the spikes that arrived, int32, in the shape of the state.
        state: after the previous step.
        du, dv: decays of current and membrane, 0 to 4095.
        vth: threshold before alignment, 17 bits.
        bias: mantissa times 2^exponent, not aligned.

    Returns:
        ``(z, state)``: which neurons fired, bool, and the state after the step.
    """
    u = wrap24(decay(state.u, du + 1) + (a << ALIGNMENT))
    v = np.clip(decay(state.v, dv) + u + bias, -V_LIMIT, V_LIMIT)
    z = v > (np.asarray(vth) << ALIGNMENT)
    return z, CubaState(u, np.where(z, 0, v))


class CubaRegisters:
    """The registers of many neurons, stepped in place: the values of ``cuba_step`` without its temporaries.

    Attributes:
        u, v: int32, after the last step; zero before the first.
        z: bool, which neurons fired in the last step.
    """

    def __init__(self, shape: tuple[int, ...], du: int, dv: int, vth: np.ndarray, bias: np.ndarray):
        """
        Args:
            shape: of the registers.
            du, dv, vth, bias: as in ``cuba_step``; the arrays must broadcast to the shape.
        """
        self.u, self.v = np.zeros((2, *shape), np.int32)
        self.z = np.zeros(shape, np.bool_)
        self._du, self._dv = du, dv
        self._threshold = np.asarray(vth, np.int32) << ALIGNMENT
        self._bias = np.asarray(bias, np.int32) if np.any(bias) else None
        self._scratch = np.empty((2, *shape), np.int32)

    def step(self, drive: np.ndarray) -> None:
        """One step.

        Args:
            drive: ``a << 6``, the aligned input, as whole numbers of any dtype; ``decay(u) + drive`` must fit 32 bits.
        """
        u, v, half = self.u, self.v, 2 ** (STATE_BITS - 1)
        if self._du + 1 == 2**DECAY_BITS:
            np.copyto(u, drive, casting="unsafe")
        else:
            self._decay(u, self._du + 1)
            np.copyto(self._scratch[0], drive, casting="unsafe")
            u += self._scratch[0]
        # Rarely needed, and dearer than to look.
        if u.max(initial=0) > half or u.min(initial=0) <= -half:
            u[...] = wrap24(u)
        self._decay(v, self._dv)
        v += u
        if self._bias is not None:
            v += self._bias
        np.clip(v, -V_LIMIT, V_LIMIT, out=v)
        np.greater(v, self._threshold, out=self.z)
        np.putmask(v, self.z, 0)

    def _decay(self, x: np.ndarray, d: int) -> None:
        """``decay`` in place: floor(x * keep / 4096) by halves of 12 bits; 4095 more below zero turns floor into toward zero."""
        if d == 0:
            return
        keep, mask = 2**DECAY_BITS - d, 2**DECAY_BITS - 1
        low, excess = self._scratch
        np.right_shift(x, 31, out=excess)
        excess &= mask
        np.bitwise_and(x, mask, out=low)
        low *= keep
        low += excess
        low >>= DECAY_BITS
        x >>= DECAY_BITS
        x *= keep
        x += low
