"""Convolutions that are exported come back with their spikes."""

import h5py
import numpy as np
import pytest
import torch

from polystep_snn.convert import to_integer_network
from polystep_snn.geometry import Conv, SumPool
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.snn.from_nir import from_nir
from polystep_snn.snn.loihi import CubaParameters
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.readouts import MembraneReadout, SpikeCountReadout
from tests.snn.maps import SHAPE, frames, hidden_spikes

ARCHITECTURES = {
    "maps": [SHAPE, Conv(4, 3, 1, 1), Conv(5, 3, 2), 20, 4],
    "pools": [SHAPE, Conv(4, 3, 1, 1), SumPool(2), Conv(5, 3, 1, 1), SumPool(2), 4],
    "pooled input": [SHAPE, SumPool(2), Conv(6, 2), 4],
}


@torch.no_grad()
@pytest.mark.parametrize("readout", ["count", "membrane"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_we_export_comes_back_with_its_spikes(tmp_path, architecture, readout):
    """Our own payload is taken out: the graph is all that is read. Without leak all is exact, in the chip's integers and in float32."""
    items, neuron = ARCHITECTURES[architecture], CubaParameters.from_beta(1.0)
    last = MembraneReadout() if readout == "membrane" else SpikeCountReadout(neuron)
    generator = torch.Generator().manual_seed(5)
    network = SpikingNetwork(items, neuron, last, generator, weight_bits=8)
    for weight, bias in zip(network.weights, network.biases, strict=True):
        weight.mul_(4)
        bias.uniform_(-0.2, 0.2, generator=generator)
    x = frames(num_steps=12, samples=20)
    integers = to_integer_network(network, len(x), "rate", SHAPE, list("abcd"))
    path = tmp_path / "n.nir"
    nir_format.write(path, integers)
    with h5py.File(path, "r+") as file:
        del file["node/metadata"]
        for node in file["node/nodes"].values():
            if "metadata" in node:
                del node["metadata"]
    found = from_nir(path, dt=nir_format.DT)
    recorded = Simulator(integers).record(x.flatten(2).numpy().astype(np.uint8))
    for z, layer in zip(hidden_spikes(found, x.float()), recorded.layers, strict=False):
        assert 0.02 < layer.z.mean() < 0.9
        assert np.array_equal(z.numpy() > 0, layer.z)
    output = found(x.float())[0].double().numpy()
    unit = 64 / 2.0 ** round(np.log2(integers.layers[-1].scale)) if readout == "membrane" else 1
    assert recorded.values.std() > 0
    assert np.array_equal(output * unit, recorded.values)
