"""lava-dl's own trained network (its tutorial "Oxford"): read, run, and compared with the output that was published with it.

While it trains, lava-dl's neurons fire at the threshold too (``v >= vth``); Lava's and the chip's fire above it (``v > vth``). With the
former every published spike is found, two steps later, one for each layer. Nothing else differs.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.formats import netx
from polystep_snn.hardware.simulator import Simulator

NUM_STEPS = 1900


@pytest.fixture(scope="module")
def folder():
    base = os.environ.get("POLYSTEP_SNN_DATA")
    found = Path(base) / "peers" / "lava-dl-oxford" if base else None
    if found is None or not found.is_dir():
        pytest.skip("POLYSTEP_SNN_DATA holds no peers/lava-dl-oxford: lava-dl's trained network is not here")
    return found


def spikes_of(path):
    """``[T, 200]`` of rows of neuron, polarity and time in steps."""
    neuron, _, time = np.load(path).T
    spikes = np.zeros((NUM_STEPS, 200), np.uint8)
    spikes[np.round(time).astype(int), neuron.astype(int)] = 1
    return spikes


def plain(network, spikes, fires):
    """The chip's arithmetic in numpy, with another threshold."""
    for layer in network.layers:
        weight, v, out = layer.weight.astype(np.int64) << layer.weight_exp, np.zeros(layer.num_neurons, np.int64), []
        for frame in spikes.astype(np.int64):
            v = np.sign(v) * ((np.abs(v) * (4096 - layer.dv)) >> 12) + 64 * (weight @ frame)
            z = fires(v, 64 * layer.vth.astype(np.int64))
            v = v * ~z
            out.append(z)
        spikes = np.array(out)
    return spikes


def test_the_published_output(folder):
    network = netx.read(folder / "network.net", num_steps=NUM_STEPS)
    assert list(network.sizes) == [200, 256, 200]
    assert [layer.weight_exp for layer in network.layers] == [1, 0]
    spikes = spikes_of(folder / "input.npy")
    published = spikes_of(folder / "ground_truth.npy").astype(bool)
    found = plain(network, spikes, np.greater_equal)
    assert published.sum() == 10_178
    assert np.array_equal(found[:-2], published[2:])
    assert not published[:2].any()
    assert not found[-2:].any()
    # And above the threshold alone, as here, in Lava and on the chip.
    above = plain(network, spikes, np.greater)
    simulated = Simulator(network).record(spikes[:, None]).layers[-1].z[:, 0]
    assert np.array_equal(simulated, above)
    assert above.sum() == 9_632


def test_lava_computes_what_the_simulator_computes(folder, lava_python):
    network = netx.read(folder / "network.net", num_steps=150)
    spikes = spikes_of(folder / "input.npy")[:300].reshape(2, 150, 200).transpose(1, 0, 2)
    expected = Simulator(network).record(spikes)
    with open_backend("lava", network) as backend:
        found = backend.record(spikes)
    for ours, theirs in zip(expected.layers, found.layers, strict=True):
        for name in ("z", "u", "v"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    assert expected.layers[-1].z.sum() > 100
