"""NeuroBench counts the same on an equal network of snnTorch's neurons: operations, dense and effective, and both sparsities.

It stands in no list of requirements: it asks for torchaudio, whose newest is built for an older torch, and loads it for speech alone.
Here ``pip install --no-deps neurobench`` is enough.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polystep_snn.geometry import Convolution
from polystep_snn.hardware.chip_cost import CostMeter
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.integer_network import IntegerLayer
from tests.hardware.test_simulator import dense, make_network

MISSING = "neurobench is not installed: pip install --no-deps neurobench snntorch"
snntorch = pytest.importorskip("snntorch", reason=MISSING)
models = pytest.importorskip("neurobench.models", reason=MISSING)
benchmarks = pytest.importorskip("neurobench.benchmarks", reason=MISSING)
static = pytest.importorskip("neurobench.metrics.static", reason=MISSING)
workload = pytest.importorskip("neurobench.metrics.workload", reason=MISSING)

STEPS, SAMPLES = 9, 12


class TorchNetwork(torch.nn.Module):
    """The same integers, sums of them exact in float32: weights and thresholds times 64, no leak, reset to 0 at once."""

    def __init__(self, network):
        super().__init__()
        self.maps = [x.convolution for x in network.layers]
        self.connections, self.recurrent, self.neurons = (torch.nn.ModuleList() for _ in range(3))
        for k, layer in enumerate(network.layers):
            self.connections.append(self._connection(layer))
            self.recurrent.append(torch.nn.Identity() if layer.recurrent is None else self._linear(layer.recurrent))
            if network.readout == "count" or k + 1 < len(network.layers):
                threshold = 64.0 * float(layer.vth[0])
                self.neurons.append(
                    snntorch.Leaky(beta=1.0, threshold=threshold, reset_mechanism="zero", reset_delay=False, init_hidden=True)
                )
        self.reset()

    @staticmethod
    def _linear(weight, bias=None):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        linear.weight.data = 64 * torch.from_numpy(weight.astype(np.float32))
        if bias is not None:
            linear.bias.data = torch.from_numpy(bias.astype(np.float32))
        return linear

    def _connection(self, layer):
        if layer.convolution is None:
            return self._linear(layer.weight, layer.bias)
        c = layer.convolution
        found = torch.nn.Conv2d(c.input_shape[0], c.channels, c.kernel, c.stride, c.padding, bias=False)
        found.weight.data = 64 * torch.from_numpy(layer.weight.astype(np.float32))
        return found

    def reset(self):
        for neuron in self.neurons:
            neuron.reset_mem()
        self.sent = [None] * len(self.connections)

    def forward(self, x):
        for k, connection in enumerate(self.connections):
            current = connection(x if self.maps[k] is None else x.view(-1, *self.maps[k].input_shape)).flatten(1)
            if isinstance(self.recurrent[k], torch.nn.Linear):
                before = torch.zeros_like(current) if self.sent[k] is None else self.sent[k]
                current = current + self.recurrent[k](before)
            if k == len(self.neurons):
                return current, None
            x = self.sent[k] = self.neurons[k](current)
        return x, None


def random(rng, shape):
    """int8 weights, a quarter of them 0."""
    return np.where(rng.random(shape) < 0.25, 0, rng.integers(-60, 90, shape)).astype(np.int8)


def of_maps(rng, geometry, vth):
    n = geometry.num_neurons
    return IntegerLayer(
        random(rng, geometry.weight_shape), np.full(n, vth, np.int32), np.zeros(n, np.int16), convolution=geometry.checked()
    )


def make(kind, shape, readout):
    rng = np.random.default_rng(3)
    if kind == "dense":
        layers = [dense(random(rng, (20, 64)), vth=200, bias=40), dense(random(rng, (12, 20)), vth=100), dense(random(rng, (10, 12)), 60)]
    elif kind == "recurrent":
        own = replace(dense(random(rng, (20, 64)), vth=200), recurrent=random(rng, (20, 20)))
        layers = [own, dense(random(rng, (10, 20)), 60)]
    else:
        first = Convolution(shape, 4, (3, 3), (2, 2), (1, 1))
        second = Convolution(first.output_shape, 3, (2, 3), (1, 1), (1, 0))
        width = second.num_neurons
        layers = [of_maps(rng, first, 90), of_maps(rng, second, 60), dense(random(rng, (10, width)), 60)]
    return replace(make_network(layers, STEPS, readout), input_shape=shape)


def spikes_of(kind, digits):
    """``[T, B, M]`` uint8, and the shape of a step."""
    if kind == "images":
        images = digits.test.images[:SAMPLES].astype(np.float32) / digits.test.full_scale
        return encode("rate", STEPS, images.reshape(SAMPLES, -1)), (1, 8, 8)
    return (np.random.default_rng(5).random((STEPS, SAMPLES, 64)) < 0.12).astype(np.uint8), (1, 8, 8)


def of_neurobench(network, spikes):
    inputs = torch.from_numpy(spikes).float().transpose(0, 1)
    data = torch.utils.data.TensorDataset(inputs, torch.zeros(len(inputs), dtype=torch.int64))
    loader = torch.utils.data.DataLoader(data, batch_size=5)
    metrics = [[static.ConnectionSparsity], [workload.SynapticOperations, workload.ActivationSparsity]]
    return benchmarks.Benchmark(models.SNNTorchModel(TorchNetwork(network)), loader, [], [], metrics).run(quiet=True)


@pytest.mark.parametrize("readout", ["membrane", "count"])
@pytest.mark.parametrize("inputs", ["images", "events"])
@pytest.mark.parametrize("kind", ["dense", "convolutional", "recurrent"])
def test_neurobench_counts_the_same(kind, inputs, readout, digits):
    spikes, shape = spikes_of(inputs, digits)
    network = make(kind, shape, readout)
    meter = CostMeter(network)
    meter.run(spikes)
    cost, found = meter.cost(), of_neurobench(network, spikes)
    operations = found["SynapticOperations"]
    assert operations["Effective_MACs"] == 0
    assert operations["Dense"] == cost.total("dense_operations")
    assert operations["Effective_ACs"] == pytest.approx(cost.total("synaptic_operations"), rel=1e-12)
    assert found["ActivationSparsity"] == pytest.approx(cost.activation_sparsity, rel=1e-6)
    assert found["ConnectionSparsity"] == round(cost.connection_sparsity, 4)
    assert 0.2 < cost.activation_sparsity < 0.99
    assert 0.2 < cost.connection_sparsity < 0.3
