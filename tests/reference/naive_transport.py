"""Moments and maps, one neuron after the other, in exact fractions: slow and obvious. ``hardware/transport.py`` must equal it.

Written from the equations at the top of that file, and without its code.
"""

from fractions import Fraction
from math import isqrt


def nearest(x):
    """The whole number next to a fraction, the even one of two."""
    return round(x)


def naive_moments(samples):
    """Mean and standard deviation of each column of ``samples``, a list of lists of integers, each rounded to the nearest, halves up."""
    means, stds = [], []
    for column in zip(*samples, strict=True):
        n = len(column)
        mean = Fraction(sum(column), n)
        variance = sum((x - mean) ** 2 for x in column) / n
        means.append((mean + Fraction(1, 2)).__floor__())
        # The standard deviation times n is the root of a whole number.
        stds.append((Fraction(isqrt(int(variance * n * n)), n) + Fraction(1, 2)).__floor__())
    return means, stds


def naive_gain(kept_std, now_std):
    """By how much currents have to be multiplied."""
    if kept_std == 0 or now_std == 0:
        return Fraction(1)
    return min(Fraction(32), max(Fraction(1, 32), Fraction(kept_std, now_std)))


def naive_layer(vth, bias, kept, now, num_steps):
    """Thresholds and biases (in the membrane's units) of neurons; ``kept`` and ``now`` are pairs of lists, means and deviations."""
    found = []
    for n in range(len(vth)):
        gain = naive_gain(kept[1][n], now[1][n])
        # A current I becomes gain (I - now) + kept. All of it divided by the gain, the threshold too.
        per_step = (Fraction(kept[0][n]) / gain - now[0][n]) / num_steps
        found.append((nearest(vth[n] / gain), bias[n] / gain + 64 * per_step))
    return found


def naive_input(kept, now):
    """Thresholds and biases of input neurons, in 1/4096; None where one says nothing."""
    found = []
    for kept_mean, kept_std, now_mean, now_std in zip(*kept, *now, strict=True):
        if kept_std == 0 or now_std == 0:
            found.append(None)
            continue
        vth = min(2**17 - 1, nearest(4096 / naive_gain(kept_std, now_std)))
        found.append((vth, nearest(Fraction(kept_mean * vth, 4096) - now_mean)))
    return found
