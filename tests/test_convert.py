"""What is trained is what the chip computes: torch against the simulator, and what quantizing afterwards costs."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from polystep_snn import Conv, InputError, LIFParameters, MembraneReadout, SpikeCountReadout, SpikingNetwork, SumPool
from polystep_snn.convert import layers_of, quantized, record_registers, to_integer_network
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.verify import compare
from polystep_snn.snn.loihi import CubaParameters

KINDS = ("mixed", "positive", "negative", "saturating", "zero", "single")


def random_network(seed: int) -> IntegerNetwork:
    """One to four layers of one of ``KINDS``, with per-neuron thresholds and biases."""
    generator = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    sizes = [1] * 3 if kind == "single" else generator.integers(1, 9, generator.integers(2, 6)).tolist()
    layers = []
    for inputs, neurons in pairwise(sizes):
        weight = generator.integers(-128, 128, (neurons, inputs))
        if kind in ("positive", "saturating"):
            weight = np.minimum(abs(weight), 127)
        if kind == "negative":
            weight = -abs(weight)
        if kind == "zero":
            weight[:] = 0
        vth = generator.integers(100_000 if kind == "saturating" else 0, 2**17 if kind == "saturating" else 200, neurons)
        bias = generator.integers(-(2**15), 2**15, neurons) if kind == "saturating" else generator.integers(-2000, 4000, neurons)
        layers.append(
            IntegerLayer(
                weight.astype(np.int8),
                vth.astype(np.int32),
                bias.astype(np.int16),
                int(generator.integers(8)) if kind == "saturating" else 0,
                int(generator.choice([4095, 4095, 0, 1000])),
                int(generator.choice([0, 205, 4095])),
            )
        )
    classes = tuple(map(str, range(sizes[-1])))
    return IntegerNetwork(tuple(layers), str(generator.choice(["membrane", "count"])), 12, "events", (sizes[0],), classes)


@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_torch_and_simulator_agree_on_random_networks(first):
    spiked = 0
    for seed in range(first, first + 100):
        network = random_network(seed)
        spikes = (np.random.default_rng(seed).random((12, 3, network.sizes[0])) < 0.5).astype(np.uint8)
        recording = Simulator(network).record(spikes)
        comparison = compare(record_registers(layers_of(network), torch.from_numpy(spikes)), recording.layers)
        assert comparison.differences == 0, f"seed {seed}: {comparison.first}"
        assert comparison.spikes == 12 * 3 * sum(network.sizes[1:])
        spiked += recording.layers[0].z.any()
    assert spiked > 50


@pytest.mark.parametrize(
    "readout", [MembraneReadout(), MembraneReadout(0.9), SpikeCountReadout(CubaParameters(dv=300, v_th=0.4))], ids=["sum", "leaky", "count"]
)
def test_a_trained_network_is_the_deployed_one(readout):
    generator = torch.Generator().manual_seed(1)
    network = SpikingNetwork([30, 20, 10, 4], CubaParameters(v_th=0.3), readout, generator, weight_bits=8)
    with torch.no_grad():
        for bias in network.biases:
            bias.uniform_(-0.02, 0.05, generator=generator)
    integers = to_integer_network(network, 9, "events", (30,), "abcd", {"seed": 1})
    spikes = (torch.rand(9, 50, 30, generator=generator) < 0.3).float()
    recording = Simulator(integers).record(spikes.numpy().astype(np.uint8))
    assert compare(record_registers(network.layers(), spikes), recording.layers).differences == 0
    output, _ = network(spikes)
    values = recording.values / 64 if isinstance(readout, MembraneReadout) else recording.values
    assert np.array_equal(output.numpy(), values)
    assert len(np.unique(values)) > 4
    assert integers.provenance == {"seed": 1}
    assert integers.layers[0].weight.max() == 127 or integers.layers[0].weight.min() == -127


MAPS = {
    "strides": [(2, 7, 6), Conv(3, 3, 2, 1), Conv(4, 2), 4],
    "pooled": [(1, 7, 7), Conv(3, 2), SumPool(3), Conv(4, 2, 1, 1), SumPool(3), 4],
    "pooled input and readout": [(1, 8, 8), SumPool(2), Conv(3, 3, 1, 1), SumPool(2), 6, 4],
}


@pytest.mark.parametrize("architecture", MAPS.values(), ids=MAPS)
def test_maps_are_deployed_as_they_are(architecture):
    """Sum-pooling is gone, every other number is there; the chip's layers in torch give the same again."""
    generator = torch.Generator().manual_seed(3)
    readout = SpikeCountReadout(CubaParameters(dv=300, v_th=0.3))
    network = SpikingNetwork(architecture, CubaParameters(v_th=0.3), readout, generator, weight_bits=8)
    with torch.no_grad():
        for bias in network.biases:
            bias.uniform_(-0.02, 0.05, generator=generator)
    shape = architecture[0] if architecture[0][0] > 1 else architecture[0][1:]
    integers = to_integer_network(network, 9, "events", shape, "abcd")
    assert integers.sizes == network.sizes
    spikes = (torch.rand(9, 20, network.sizes[0], generator=generator) < 0.3).float()
    recording = Simulator(integers).record(spikes.numpy().astype(np.uint8))
    assert compare(record_registers(network.layers(), spikes), recording.layers).differences == 0
    assert compare(record_registers(layers_of(integers), spikes), recording.layers).differences == 0
    assert all(layer.z.mean() > 0.01 for layer in recording.layers)
    output, _ = network(spikes)
    assert np.array_equal(output.numpy(), recording.values)


def test_maps_are_quantized_afterwards():
    generator = torch.Generator().manual_seed(4)
    network = SpikingNetwork([(1, 7, 7), Conv(3, 2), SumPool(3), 4], LIFParameters.from_beta(0.95, v_th=0.5), MembraneReadout(), generator)
    result, fits = quantized(network)
    spikes = (torch.rand(9, 200, 49, generator=generator) < 0.3).float()
    exact, rounded = network(spikes)[0], result(spikes)[0]
    assert ((rounded * result.unit).argmax(1) == exact.argmax(1)).double().mean() > 0.9
    assert all(fit.error < 0.02 for fit in fits)


def test_the_first_difference_is_named():
    network = random_network(0)
    spikes = np.ones((12, 3, network.sizes[0]), np.uint8)
    ours, theirs = Simulator(network).record(spikes).layers, Simulator(network).record(spikes).layers
    theirs[0].v[5, 2, 0] += 7
    theirs[-1].z[3, 1, 0] ^= True
    comparison = compare(ours, theirs, first_sample=100)
    last = len(ours) - 1
    assert comparison.differences == 2
    assert comparison.first[:5] == (last, 0, 3, 101, "z")
    assert str(comparison.first).startswith(f"the spike of layer {last}, neuron 0, step 3, sample 101 is ")


def test_quantizing_afterwards():
    generator = torch.Generator().manual_seed(2)
    network = SpikingNetwork([30, 20, 4], LIFParameters.from_beta(0.95, v_th=0.5), MembraneReadout(), generator)
    result, fits = quantized(network)
    assert list(result.neurons) == [CubaParameters(4095, 205, 0.5)]
    spikes = (torch.rand(9, 200, 30, generator=generator) < 0.3).float()
    exact, _ = network(spikes)
    rounded, _ = result(spikes)
    assert ((rounded * result.unit).argmax(1) == exact.argmax(1)).double().mean() > 0.9
    assert all(fit.error < 0.02 and fit.clipped < 0.1 for fit in fits)
    assert fits[0].scale == pytest.approx(result.weights[0].abs().max().item() / 127)


def test_a_long_tail_is_clipped():
    network = SpikingNetwork([400, 20, 4])
    with torch.no_grad():
        network.weights[0].normal_(generator=torch.Generator().manual_seed(3)).pow_(5)
    result, fits = quantized(network)
    assert 0 < fits[0].clipped < 0.01
    assert result.weights[0].abs().max() < network.weights[0].abs().max()


def test_what_cannot_be_deployed():
    with pytest.raises(InputError, match="train with the neuron 'loihi'"):
        to_integer_network(SpikingNetwork([4, 2]), 5, "rate", (4,), "ab")
    readout = SpikeCountReadout(CubaParameters(), residual=0.5)
    with pytest.raises(InputError, match=r"adds 0.5 of its final membrane"):
        to_integer_network(SpikingNetwork([4, 2], readout=readout, weight_bits=8), 5, "rate", (4,), "ab")
    network = SpikingNetwork([3000, 4, 2], CubaParameters(), weight_bits=8)
    with torch.no_grad():
        network.weights[0].fill_(0.1)
    with pytest.raises(InputError, match="layer 0 add up to 381000"):
        to_integer_network(network, 5, "rate", (3000,), "ab")
    with pytest.raises(InputError, match="no such bounds"):
        quantized(SpikingNetwork([4, 3, 2], LIFParameters(v_min=-1.0)))
    with pytest.raises(InputError, match="already"):
        quantized(SpikingNetwork([4, 3, 2], CubaParameters(), weight_bits=8))


def test_biases_behind_a_synapse_drive_the_membrane_on_the_chip():
    """With decays that the chip has, integers whose halves are whole, and a start that is settled: the same spikes."""
    bias, alpha = torch.tensor([12.0, -4.0, 32.0, 8.0]), 0.5
    neuron = LIFParameters(tau_mem_inv=0.0, tau_syn_inv=500.0, v_th=254.0, i_0=tuple((bias / (1 - alpha)).tolist()))
    network = SpikingNetwork([3, 4, 2], neuron, MembraneReadout())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.weights:
            weight.copy_(torch.randint(-127, 128, weight.shape, generator=generator))
            weight[0, 0] = 127
        network.biases[0].copy_(bias)
    result, _ = quantized(network)
    assert (result.biases[0] == 2 * bias).all()
    x = (torch.rand(6, 50, 3, generator=generator) < 0.5).float()
    integers = to_integer_network(result, 6, "events", (3,), ("a", "b"))
    expected = network(x)[0].numpy()
    assert len(np.unique(expected)) > 50
    assert np.array_equal(Simulator(integers).run(x.numpy().astype(np.uint8)) / 64, expected)


def test_biases_that_are_cut_off_are_told(caplog):
    network = SpikingNetwork([4, 3, 2], CubaParameters(), weight_bits=8)
    with torch.no_grad():
        network.weights[0].fill_(0.01)
        network.biases[0].copy_(torch.tensor([0.0, 1.0, -1.0]))
    to_integer_network(network, 4, "rate", (4,), ("a", "b"))
    assert "layer 0: 2 of 3 biases do not fit into the chip's 13 bits" in caplog.text


def test_biases_of_a_synapse_that_forgets_nothing():
    network = SpikingNetwork([4, 3, 2], LIFParameters(tau_syn_inv=0.0), MembraneReadout())
    with torch.no_grad():
        network.biases[0].fill_(1.0)
    with pytest.raises(InputError, match="add up without end"):
        quantized(network)
