"""Networks of convolutions that both formats can hold."""

from dataclasses import replace

import numpy as np

from polystep_snn.geometry import Convolution
from tests.hardware.formats.written import NEVER, assert_same
from tests.hardware.test_convolution import convolutional

FIRST = Convolution((2, 9, 8), 4, (3, 3), (1, 2), (1, 0))


SECOND = Convolution(FIRST.output_shape, 3, (2, 2), (2, 1), (0, 1))


def portable(geometries=(FIRST, SECOND), seed=0, bias="channel", readout="count", spread=0, **constants):
    """What both formats carry, unless ``bias`` or ``spread`` ask for more; biases are multiples of 64, and membrane readouts never fire."""
    rng = np.random.default_rng(seed)
    network, spikes = convolutional(list(geometries), rng, num_steps=8, readout=readout, **constants)
    layers = []
    for layer in network.layers:
        n, geometry = layer.num_neurons, layer.convolution
        mantissa = rng.integers(-3, 4, n)
        if geometry is not None and bias == "channel":
            mantissa = rng.integers(-3, 4, geometry.channels).repeat(n // geometry.channels)
        vth = 150 + rng.integers(0, spread + 1, n)
        layers.append(replace(layer, bias_mant=(mantissa * (bias != "none")).astype(np.int16), bias_exp=6, vth=vth.astype(np.int32)))
    layers[-1] = replace(layers[-1], du=constants.get("du", 4095), dv=constants.get("dv", 0))
    if readout == "membrane":
        layers[-1] = replace(layers[-1], vth=np.full(layers[-1].num_neurons, NEVER, np.int32))
    return replace(network, layers=tuple(layers)), spikes


def assert_whole(found, network):
    assert_same(found, network)
    assert [layer.convolution for layer in found.layers] == [layer.convolution for layer in network.layers]


KINDS = {
    "no leak": {},
    "leak": {"dv": 205},
    "current": {"du": 1000, "dv": 205},
    "membranes": {"readout": "membrane"},
    "leaky membranes": {"readout": "membrane", "dv": 205},
    "membranes with a current": {"readout": "membrane", "du": 1000, "dv": 205},
    "no biases": {"bias": "none"},
    "one convolution": {"geometries": (FIRST,)},
}
