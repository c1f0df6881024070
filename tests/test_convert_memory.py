"""Recurrent and delayed networks on the way to the chip: torch, the simulator and Lava compute the same, and nothing is rounded."""

import numpy as np
import pytest
import torch

from polystep_snn import InputError, LIFParameters, MembraneReadout, SpikeCountReadout, SpikingNetwork
from polystep_snn.convert import layers_of, quantized, record_registers, to_integer_network
from polystep_snn.geometry import Delayed, Recurrent
from polystep_snn.hardware.integer_network import READOUTS
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.verify import compare
from polystep_snn.snn.loihi import CubaParameters
from tests.hardware.lava.lava_worker import worker  # noqa: F401 (a fixture)
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory

STEPS = 14
ARCHITECTURES = {
    "recurrent": [12, Recurrent(9, 2.0), 4],
    "delayed": [12, Delayed(9, 7), 4],
    "two recurrent": [12, Recurrent(9, 2.0), Recurrent(7, 1.5), 4],
    "recurrent behind delays": [12, Delayed(9, STEPS - 1), Recurrent(7, 2.0), 4],
    "delays behind recurrent": [12, Recurrent(9, 2.0), Delayed(7, 3), 4],
    "three layers": [12, Delayed(9, 5), Recurrent(8, 2.0), Delayed(7, 5), 4],
}


def chip_network(architecture, readout="membrane", du=4095, dv=205, seed=0):
    """Of random weights and biases, whose neurons fire in about a fifth of the steps."""
    generator = torch.Generator().manual_seed(seed)
    membranes = MembraneReadout(0.9, maximum=readout == "max")
    last = SpikeCountReadout(CubaParameters(du, dv, 0.15)) if readout == "count" else membranes
    network = SpikingNetwork(architecture, CubaParameters(du, dv, 0.4), last, generator, weight_bits=8)
    with torch.no_grad():
        for bias in network.biases:
            bias.uniform_(-0.05, 0.1, generator=generator)
    return network


def spikes_of(num_samples, seed=0):
    """[T, B, 12]; at the end of every sample there is much that is still on its way."""
    generator = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(STEPS, num_samples, 12, generator=generator) < 0.3).float()
    spikes[-3:] = 1
    return spikes


def deployed(network):
    return to_integer_network(network, STEPS, "events", (12,), "abcd")


@pytest.mark.parametrize(("du", "dv"), [(4095, 205), (4095, 0), (1000, 300)], ids=["leak", "no leak", "currents"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_trained_network_is_the_deployed_one(architecture, readout, du, dv):
    """Every spike, current and membrane of 500 samples, by the network's own layers and by those of the integers."""
    network = chip_network(architecture, readout, du, dv)
    integers, spikes = deployed(network), spikes_of(500)
    recording = Simulator(integers).record(spikes.numpy().astype(np.uint8))
    assert compare(record_registers(network.layers(), spikes), recording.layers).differences == 0
    assert compare(record_registers(layers_of(integers), spikes), recording.layers).differences == 0
    output, _ = network(spikes)
    assert np.array_equal(output.numpy(), recording.values / (1 if readout == "count" else 64))
    assert all(0.02 < layer.z.mean() < 0.8 for layer in recording.layers[:-1])
    assert len(np.unique(recording.values)) > 2


def test_what_the_integers_hold():
    network = chip_network(ARCHITECTURES["three layers"])
    first, second, third, last = deployed(network).layers
    assert [x.recurrent is not None for x in (first, second, third, last)] == [False, True, False, False]
    assert [x.delays is not None for x in (first, second, third, last)] == [False, True, False, True]
    assert np.array_equal(second.delays, network.delays[1].numpy())
    assert (second.recurrent.dtype, second.delays.dtype) == (np.int8, np.uint8)
    weights = torch.cat([network.weights[1], network.recurrents["1"]], 1)
    assert second.scale == pytest.approx(weights.abs().max().item() / 127)
    assert np.array_equal(np.hstack([second.weight, second.recurrent]), (weights / np.float32(second.scale)).round().numpy())


@pytest.mark.parametrize("memory", MEMORIES)
def test_torch_and_simulator_agree_on_random_networks(memory):
    """Weight exponents, delays of the input, recurrent readouts: what no training makes, but a file may hold."""
    for seed in range(60):
        network, spikes = random_with_memory(memory, seed, num_samples=500 if seed % 20 == 0 else 4)
        found = record_registers(layers_of(network), torch.from_numpy(spikes))
        comparison = compare(found, Simulator(network).record(spikes).layers)
        assert comparison.differences == 0, f"seed {seed}: {comparison.first}"


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_samples_know_nothing_of_each_other(architecture):
    """Beside one another and alone; the second half after the first is not the second half alone, which shows that there is memory."""
    network = chip_network(architecture, "count")
    spikes = spikes_of(6)
    together = record_registers(network.layers(), spikes)
    for b in range(6):
        alone = record_registers(network.layers(), spikes[:, b : b + 1])
        for one, other in zip(together, alone, strict=True):
            assert np.array_equal(one.z[:, b], other.z[:, 0])
            assert np.array_equal(one.v[:, b], other.v[:, 0])
    half = record_registers(network.layers(), spikes[STEPS // 2 :])
    assert any((one.z[STEPS // 2 :] != other.z).any() for one, other in zip(together, half, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recurrent", "recurrent behind delays", "three layers"])
def test_lava_computes_the_same(worker, kind):
    """100 samples in one stream, so that what is left of one would be heard in the next."""
    readout, du = ("count", 4095) if kind == "recurrent" else ("membrane", 1500)
    network = chip_network(ARCHITECTURES[kind], readout, du)
    spikes = spikes_of(100)
    found = LavaBackend(deployed(network), worker=worker).record(spikes.numpy().astype(np.uint8))
    comparison = compare(record_registers(network.layers(), spikes), found.layers)
    assert comparison.differences == 0, comparison.first
    assert comparison.spikes == 100 * STEPS * sum(network.sizes[1:])
    assert np.array_equal(network(spikes)[0].numpy(), found.values / (64 if readout == "membrane" else 1))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_quantizing_afterwards(architecture):
    """Delays stay, and one unit serves input and recurrent weights."""
    generator = torch.Generator().manual_seed(2)
    network = SpikingNetwork(architecture, LIFParameters.from_beta(0.95, v_th=0.5), MembraneReadout(), generator)
    result, fits = quantized(network)
    for ours, theirs in zip(result.delays, network.delays, strict=True):
        assert ours is theirs is None or torch.equal(ours, theirs)
    spikes = spikes_of(300)
    exact, rounded = network(spikes)[0], result(spikes)[0]
    assert ((rounded * result.unit).argmax(1) == exact.argmax(1)).double().mean() > 0.85
    for k, fit in enumerate(fits):
        tensors = [result.weights[k], *([result.recurrents[str(k)]] if str(k) in result.recurrents else [])]
        assert fit.scale == pytest.approx(max(x.abs().max().item() for x in tensors) / 127)
        assert fit.error < 0.02
    assert deployed(result).layers[0].scale == pytest.approx(fits[0].scale)


def test_a_long_tail_of_recurrent_weights_is_clipped():
    network = SpikingNetwork([12, Recurrent(200), 4])
    with torch.no_grad():
        network.recurrents["0"].normal_(generator=torch.Generator().manual_seed(3)).pow_(5)
    result, fits = quantized(network)
    assert 0 < fits[0].clipped < 0.01
    assert result.recurrents["0"].abs().max() < network.recurrents["0"].abs().max()
    assert torch.equal(result.weights[0], network.weights[0]), "these are small"


def test_what_cannot_be_deployed():
    network = chip_network([12, Recurrent(1200), 4])
    with torch.no_grad():
        network.recurrents["0"].fill_(1.0)
    with pytest.raises(InputError, match="the weights of a neuron in layer 0 add up to 15"):
        deployed(network)
    network = chip_network([12, Delayed(40, STEPS), 4])
    with pytest.raises(InputError, match="layer 1 has a delay of 14 in samples of 14 steps, so those spikes never arrive"):
        deployed(network)
