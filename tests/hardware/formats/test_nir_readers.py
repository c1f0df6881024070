"""What an export says of the programs that can read it."""

from dataclasses import replace

import numpy as np

from polystep_snn.hardware.formats import nir
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork


def network(readout, vth, du=4095):
    def layer(outputs, inputs, threshold):
        weight = np.ones((outputs, inputs), np.int8)
        return IntegerLayer(weight, np.full(outputs, threshold, np.int32), np.zeros(outputs, np.int16), 0, du, 200)

    return IntegerNetwork((layer(3, 4, 50), layer(2, 3, vth)), readout, 5, "events", (4,), ("a", "b"))


def test_a_readout_that_integrates_names_who_cannot_read_it():
    membrane = network("membrane", 2**17 - 1)
    assert nir.who_reads(membrane).startswith("the last layer integrates (LI), which snnTorch and SpikingJelly do not read")
    assert "(CubaLI)" in nir.who_reads(network("membrane", 2**17 - 1, du=2000))
    leakless = replace(membrane.layers[1], dv=0)
    assert "(I)" in nir.who_reads(replace(membrane, layers=(membrane.layers[0], leakless)))


def test_delays_and_spikes_that_come_back_are_told():
    first, last = network("count", 60).layers
    for layer in (replace(first, recurrent=np.ones((3, 3), np.int8)), replace(first, delays=np.ones(4, np.uint8))):
        found = nir.who_reads(replace(network("count", 60), layers=(layer, last)))
        assert found.startswith("it has delays or spikes that come back, which Norse 1.1 does not run as they are")


def test_a_readout_that_counts_names_the_reset():
    assert nir.who_reads(network("count", 60)).startswith("its neurons fire and restart at 0")
