"""Networks for files of NIR and lava-dl, and files that were changed."""

from dataclasses import fields
from itertools import pairwise

import h5py
import numpy as np

from polystep_snn.hardware.formats import netx
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork

FORMATS = {"nir": nir_format, "net": netx}


NEVER = 2**17 - 1


def make(readout="count", sizes=(20, 15, 12, 5), du=4095, dv=0, bias=0, vth=200, scale=0.011, seed=0, spread=0):
    """Random signed weights; biases are multiples of 64, so that both formats carry them."""
    rng = np.random.default_rng(seed)
    layers = []
    for k, (m, n) in enumerate(pairwise(sizes)):
        never = readout == "membrane" and k == len(sizes) - 2
        layers.append(
            IntegerLayer(
                weight=rng.integers(-128, 128, (n, m)).astype(np.int8),
                vth=np.full(n, NEVER, np.int32) if never else (vth + rng.integers(0, spread + 1, n)).astype(np.int32),
                bias_mant=rng.integers(-bias, bias + 1, n).astype(np.int16),
                bias_exp=6,
                du=du,
                dv=dv,
                scale=scale,
            )
        )
    names = tuple(f"class {c}" for c in range(sizes[-1]))
    return IntegerNetwork(tuple(layers), readout, 12, "rate", (sizes[0] // 2, 2), names, {"seed": seed, "accuracy": 97.25, "by": "me"})


def spikes_for(network, samples=32, seed=1):
    rng = np.random.default_rng(seed)
    return (rng.random((network.num_steps, samples, network.sizes[0])) < 0.4).astype(np.uint8)


def assert_same(a, b):
    for one, other in zip(a.layers, b.layers, strict=True):
        for name in ("weight", "vth", "bias_mant"):
            x, y = getattr(one, name), getattr(other, name)
            assert x.dtype == y.dtype
            assert np.array_equal(x, y)
        assert (one.bias_exp, one.du, one.dv, one.scale) == (other.bias_exp, other.du, other.dv, other.scale)
    for field in fields(IntegerNetwork):
        if field.name != "layers":
            assert getattr(a, field.name) == getattr(b, field.name)


KINDS = {
    "no leak": {},
    "leak": {"dv": 205, "bias": 20},
    "current": {"du": 1000, "dv": 205, "bias": 20, "vth": 900},
    "current, no leak": {"du": 2047, "vth": 900},
    "membranes": {"readout": "membrane", "bias": 3},
    "leaky membranes": {"readout": "membrane", "dv": 100, "scale": 1.0},
    "membranes with a current": {"readout": "membrane", "du": 3000, "dv": 100, "scale": 1e-9},
    "one layer": {"sizes": (8, 3), "readout": "membrane"},
}


def change(path, place, value):
    """Put another value, or a first one, at a place of a file; None to delete what is there."""
    with h5py.File(path, "r+") as file:
        if value is None or place in file:
            del file[place]
        if value is not None:
            file[place] = value


def mutated(data, seed):
    """One bit, many bytes, or a run of equal bytes changed; or the end cut off."""
    rng = np.random.default_rng(seed)
    data = bytearray(data)
    at = int(rng.integers(len(data)))
    if seed % 4 < 2:
        data[at] ^= 1 << int(rng.integers(8))
    elif seed % 4 == 2:
        for k in rng.integers(len(data), size=int(rng.integers(2, 30))):
            data[k] = int(rng.integers(256))
    elif seed % 8 == 3:
        data[at : at + 8] = bytes([int(rng.choice([0, 127, 128, 255]))]) * 8
    else:
        del data[at:]
    return bytes(data)
