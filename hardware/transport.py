r"""Optimal transport of what a neuron receives: from two Gaussians to a threshold and a bias.

A neuron received samples' sums of mean m and standard deviation s in training, and receives m' and s' now. The optimal map between the two
Gaussians is ``x -> g (x - m') + m`` with ``g = s / s'`` (Peyré and Cuturi, Computational Optimal Transport, 2019, remark 2.31). A neuron
that resets to 0 computes the same spikes from a current as from g times that current, if its threshold is divided by g. So the map is
written into registers, and no weight is::

    vth'  = vth s' / s
    bias' = bias s' / s + (m s' / s - m') / T        m, m' of sums over T steps, without the bias

A neuron that is constant, before or now (s or s' is 0), has no gain: its threshold stays and its bias moves by the means. An input neuron
that is constant says nothing, and what it said before is made up for by the biases behind it. Neurons of a readout that integrates are
compared with one another, so they share a gain, that of their mean spread, and their thresholds stay.
"""

from dataclasses import replace

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.current_statistics import Moments
from polystep_snn.hardware.fixed_point import ALIGNMENT
from polystep_snn.hardware.input_neurons import BIAS_LIMIT, SILENT, UNIT, InputNeurons
from polystep_snn.hardware.input_neurons import VTH_BITS as INPUT_VTH_BITS
from polystep_snn.hardware.integer_network import BIAS_BITS, VTH_BITS, IntegerLayer

MOST_GAIN = 32
"""Gains are kept from 1/32 to 32: with fewer samples than that the spread of a neuron that hardly ever receives anything is chance."""


def mapped_inputs(kept: Moments, now: Moments) -> InputNeurons:
    """The registers of input neurons that receive ``now``, so that they fire as those did that received ``kept``."""
    widened = _widened(kept, now)
    constant = (kept.std == 0) | (now.std == 0)
    vth = np.clip(np.rint(UNIT * widened), 1, 2**INPUT_VTH_BITS - 1)
    # With the threshold as it is rounded, so that means stay exact.
    bias = np.clip(np.rint(kept.mean * (vth / UNIT) - now.mean), -BIAS_LIMIT, BIAS_LIMIT)
    return InputNeurons(np.where(constant, UNIT, vth).astype(np.int32), np.where(constant, SILENT, bias).astype(np.int32))


def mapped_layer(layer: IntegerLayer, kept: Moments, now: Moments, num_steps: int) -> IntegerLayer:
    """A layer that receives ``now``, with registers in which it fires as ``layer``, the deployed one, did when it received ``kept``.

    The exponent of the biases stays where their mantissas fit; else it is the smallest at which they do.

    Raises:
        InputError: thresholds or biases that no register holds.
    """
    widened = _widened(kept, now)
    return _with_bias(replace(layer, vth=_thresholds(layer, widened)), layer, kept, now, widened, num_steps)


def mapped_readout(layer: IntegerLayer, kept: Moments, now: Moments, num_steps: int) -> IntegerLayer:
    """A readout of integrators that receives ``now``, with biases in which its values stand to one another as in training.

    Raises:
        InputError: biases that no register holds.
    """
    spread = np.float64(max(1, int(now.std.sum()))) / max(1, int(kept.std.sum()))
    widened = np.full(layer.num_neurons, np.clip(spread, 1 / MOST_GAIN, MOST_GAIN))
    return _with_bias(layer, layer, kept, now, widened, num_steps)


def _thresholds(layer: IntegerLayer, widened: np.ndarray) -> np.ndarray:
    """InputError where no register holds them."""
    vth = np.rint(layer.vth * widened)
    if vth.max() >= 2**VTH_BITS:
        n = int(vth.argmax())
        raise InputError(
            f"neuron {n} needs a gain of {1 / widened[n]:.3g}, so a threshold of {vth[n]:.0f}, and {VTH_BITS} bits hold {2**VTH_BITS - 1}: "
            "leave it as it is, or train with a smaller threshold"
        )
    return vth.astype(np.int32)


def _with_bias(found: IntegerLayer, layer: IntegerLayer, kept: Moments, now: Moments, widened: np.ndarray, num_steps: int) -> IntegerLayer:
    """``found`` with the biases of ``layer`` mapped; InputError where no register holds them."""
    moved = (kept.mean * widened - now.mean) / num_steps * 2.0**ALIGNMENT
    bias = layer.bias * widened + moved
    for exponent in range(layer.bias_exp, 8):
        mantissa = np.rint(bias / 2.0**exponent)
        if np.abs(mantissa).max() < 2 ** (BIAS_BITS - 1):
            return replace(found, bias_mant=mantissa.astype(np.int16), bias_exp=exponent)
    n = int(np.abs(bias).argmax())
    raise InputError(f"neuron {n} needs a bias of {bias[n]:.0f}, which no mantissa of {BIAS_BITS} bits holds: leave it as it is")


def distance(one: Moments, other: Moments) -> float:
    """Squared transport distance between the Gaussians of two populations, a neuron at a time, as a share of the first one's variances.

    The square of the 2-Wasserstein distance of two Gaussians in one dimension is ``(m - m')^2 + (s - s')^2``.
    """
    moved = (one.mean.astype(float) - other.mean) ** 2 + (one.std.astype(float) - other.std) ** 2
    return float(moved.sum() / max(1.0, (one.std.astype(float) ** 2).sum()))


def chance(one: Moments, other: Moments) -> float:
    """What ``distance`` is on average where both are samples of the same: 1/n of means and 1/2n of spreads, for either."""
    return 1.5 / one.samples + 1.5 / other.samples


def _widened(kept: Moments, now: Moments) -> np.ndarray:
    """s' / s of each neuron, 1 where either is 0."""
    constant = (kept.std == 0) | (now.std == 0)
    ratio = now.std / np.where(constant, 1, kept.std)
    return np.where(constant, 1.0, np.clip(ratio, 1 / MOST_GAIN, MOST_GAIN))
