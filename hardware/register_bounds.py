"""How large a layer's registers can grow, whatever spikes arrive: interval arithmetic."""

import numpy as np

from polystep_snn.hardware.fixed_point import ALIGNMENT, STATE_BITS, V_LIMIT, decay
from polystep_snn.hardware.integer_network import IntegerLayer


def register_bounds(layer: IntegerLayer, num_steps: int) -> tuple[int, int, int]:
    """How large a layer's registers could grow, whatever spikes arrive. Interval arithmetic on each neuron's currents and membrane.

    Returns:
        The largest ``|a|``, ``|u|`` and ``|v|``, the latter two before wrapping, saturation and reset.
    """
    inputs = np.stack(layer.input_sums())
    threshold, bias = layer.vth.astype(np.int64) << ALIGNMENT, layer.bias.astype(np.int64)
    u = v = np.zeros((2, layer.num_neurons), np.int64)
    u_max = v_max = 0
    for _ in range(num_steps):
        before = u, v
        u = decay(u, layer.du + 1) + (inputs << ALIGNMENT)
        u_max = max(u_max, int(np.abs(u).max()))
        u = _wrapped(u[0], u[1])
        v = decay(v, layer.dv) + u + bias
        v_max = max(v_max, int(np.abs(v).max()))
        low, high = np.clip(v, -V_LIMIT, V_LIMIT)
        v = _reset(low, high, threshold)
        if np.array_equal(before, (u, v)):
            break
    return int(np.abs(inputs).max()), u_max, v_max


def _wrapped(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The interval of a current after ``wrap24``: one that may wrap may have any value of 24 bits, or what one wrap left of more."""
    half = 2 ** (STATE_BITS - 1)
    above, below = high > half, low <= -half
    return np.stack(
        [
            np.where(below, np.minimum(1 - half, low + 2 * half), np.where(above, 1 - half, low)),
            np.where(above, np.maximum(half, high - 2 * half), np.where(below, half, high)),
        ]
    )


def _reset(low: np.ndarray, high: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """The interval of a membrane after the reset: what may stand above the threshold may be zero, or anything up to the threshold."""
    fires, always = high > threshold, low > threshold
    return np.stack([np.where(fires, np.minimum(low, 0), low), np.where(fires, np.where(always, 0, threshold), high)])
