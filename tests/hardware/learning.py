"""Small networks that learn on the chip."""

from itertools import pairwise

import numpy as np

from polystep_snn.hardware.integer_network import IntegerLayer
from tests.hardware.test_simulator import make_network

STEPS = 8


def small_network(rng, sizes=(12, 9, 4), num_steps=STEPS, vth=100, bias=3, bias_exp=6, **constants):
    """Hidden neurons with a leak, and integrators behind them."""
    layers = [
        IntegerLayer(
            rng.integers(-40, 41, (n, m)).astype(np.int8),
            rng.integers(vth // 2, vth * 2, n).astype(np.int32),
            rng.integers(-bias, bias + 1, n).astype(np.int16),
            bias_exp,
            **{"du": 4095, "dv": 300, "scale": 1 / vth} | constants,
        )
        for m, n in pairwise(sizes[:-1])
    ]
    weight = rng.integers(-40, 41, sizes[-2:][::-1]).astype(np.int8)
    bias_mant = rng.integers(-bias, bias + 1, sizes[-1]).astype(np.int16)
    readout = IntegerLayer(weight, np.full(sizes[-1], 2**17 - 1, np.int32), bias_mant, 6, scale=1 / vth)
    return make_network([*layers, readout], num_steps)


def random_counts(rng, network, num_samples, num_copies=3):
    inputs = rng.integers(0, network.num_steps + 1, (num_samples, network.sizes[-3])).astype(np.int32)
    counts = rng.integers(0, network.num_steps + 1, (num_copies, num_samples, network.sizes[-2])).astype(np.int32)
    return inputs, counts, rng.integers(0, network.sizes[-1], num_samples)
