"""Convolutions and sum-pooling: the network, its probes and its gradients, against matrices that are written out."""

import pytest
import torch

from polystep_snn import (
    Conv,
    CrossEntropy,
    CubaParameters,
    InputError,
    LIFParameters,
    MembraneReadout,
    NodeSpace,
    PolyStep,
    Softmax,
    SpikeCountReadout,
    SpikingNetwork,
    SumPool,
)
from polystep_snn.engine.compiled import Kernels
from polystep_snn.snn.wiring import wirings_of
from polystep_snn.spaces.node.costs import node_costs
from tests.reference import naive_nodes
from tests.spaces.node.test_one_pass import EAGER, READOUTS, assert_equal_costs, make_batch, make_probes

LIF = LIFParameters()
ARCHITECTURES = {
    "one convolution": [(2, 4, 4), Conv(3, 3), 3],
    "stride and padding": [(1, 5, 4), Conv(2, 3, 2, 1), 3],
    "pooled readout": [(1, 5, 5), Conv(2, 2), SumPool(2), 3],
    "two convolutions": [(1, 5, 5), Conv(2, 2), SumPool(2), Conv(3, 2), 3],
    "padded after pooling": [(1, 5, 5), Conv(2, 2), SumPool(2), Conv(2, 2, 1, 1), SumPool(3), 3],
    "pooled input": [(1, 6, 6), SumPool(2), Conv(2, 2), 4, 3],
    "dense behind two": [(1, 4, 4), Conv(2, 2), Conv(2, 2), 4, 3],
    "three convolutions": [(1, 5, 5), Conv(2, 2), Conv(2, 2, 1, 1), Conv(2, 3, 2), 3],
}


def make_network(architecture, readout=MembraneReadout(), neuron=LIF, seed=0, gain=2.5):
    """Random float64 weights large enough that every layer fires."""
    generator = torch.Generator().manual_seed(seed)
    network = SpikingNetwork(architecture, neuron, readout, generator).double()
    with torch.no_grad():
        for linear in network.linears:
            linear.weight.mul_(gain)
            linear.bias.uniform_(-0.1, 0.3, generator=generator)
    return network


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_weights_go_where_the_written_out_matrix_says(architecture):
    network = make_network(architecture)
    for k, (wiring, layer) in enumerate(zip(network.wirings, network.layers(), strict=True)):
        matrix, bias = naive_nodes.matrix(network, k)
        x = torch.rand(3, wiring.num_inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
        torch.testing.assert_close(layer.current(x), x @ matrix.T + bias)
        chosen = torch.randperm(wiring.num_inputs, generator=torch.Generator().manual_seed(k))[: wiring.num_inputs // 2 + 1]
        fan = wiring.fan(layer.weight, chosen)
        written = fan.values
        if fan.targets is not None:
            written = written.new_zeros(len(chosen), wiring.num_neurons).scatter_add_(1, fan.targets, fan.values)
        torch.testing.assert_close(written, matrix[:, chosen].T, rtol=0, atol=0)


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_costs_are_those_of_full_forward_passes(architecture, readout):
    network = make_network(architecture, readout)
    inputs, target = make_batch(num_steps=9, num_inputs=network.sizes[0], seed=1, batch=3)
    found = assert_equal_costs(network, inputs, target, make_probes(network, 9, radii=(0.9,), num_probed=9))
    changed = [((layer.cost - found.cost).abs() > 1e-6).double().mean() for layer in found.layers[:-1]]
    assert min(changed) > 0.02, "the probes change too little to tell anything"


def test_time_windows_and_chunks():
    network = make_network(ARCHITECTURES["dense behind two"])
    inputs, target = make_batch(num_steps=19, num_inputs=16, seed=2, batch=3)
    probes = make_probes(network, 19, num_windows=3, num_probed=4)
    found = assert_equal_costs(network, inputs, target, probes)
    chunked = node_costs(network, inputs, target, probes, CrossEntropy(), EAGER, chunk=3)
    for a, b in zip(found.layers, chunked.layers, strict=True):
        assert torch.equal(a.cost, b.cost)


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "loops"])
@pytest.mark.parametrize("name", ["pooled readout", "padded after pooling", "dense behind two"])
def test_gradients_are_those_of_single_particles(name, compile):
    network = make_network(ARCHITECTURES[name])
    inputs, target = make_batch(num_steps=8, num_inputs=network.sizes[0], seed=3, batch=3)
    num_probed = [7, *[None] * (len(network.neurons) - 1)]
    method = PolyStep(network, NodeSpace(num_windows=2, num_probed=num_probed), Softmax(0.3), CrossEntropy(), compile=compile)
    method.step(inputs, target)
    probes = method._last_probes
    assert [p.neurons is None for p in probes] == [False] + [True] * (len(probes) - 1)
    expected = naive_nodes.gradients(network, inputs, target, probes, CrossEntropy(), Softmax(0.3), 0.3)
    for linear, (weight, bias) in zip(network.linears, expected, strict=True):
        torch.testing.assert_close(linear.weight.grad, weight, rtol=0, atol=1e-9)
        torch.testing.assert_close(linear.bias.grad, bias, rtol=0, atol=1e-9)
        assert weight.abs().max() > 1e-4


@pytest.mark.parametrize("readout", ["membrane", "leaky", "count"])
def test_probes_of_integer_neurons_cost_what_they_cost_in_one_forward_pass(readout):
    """The chip's neurons: a probe's cost is that of a network whose neuron has a larger bias, computed anew."""
    neuron = CubaParameters(dv=400)
    made = {"membrane": MembraneReadout(), "leaky": MembraneReadout(0.9), "count": SpikeCountReadout(neuron)}[readout]
    architecture = [(1, 5, 5), Conv(2, 2), SumPool(2), Conv(3, 2), 3]
    network = SpikingNetwork(architecture, neuron, made, torch.Generator().manual_seed(4), weight_bits=8)
    with torch.no_grad():
        for linear in network.linears:
            linear.weight.mul_(3)
    inputs, target = make_batch(num_steps=7, num_inputs=25, seed=5, batch=4)
    inputs = inputs.float()
    layers = network.layers()
    probes = [p._replace(offsets=p.offsets.float(), windows=p.windows.float()) for p in make_probes(network, 7, num_probed=8)]
    probes = [p._replace(offsets=(p.offsets * 64 * 300).round()) for p in probes[:-1]] + [probes[-1]]
    found = node_costs(network, inputs, target, probes, CrossEntropy(), Kernels(compile=False))
    for k in range(2):
        for v, offset in enumerate(probes[k].offsets[:, 0]):
            for i, j in enumerate(probes[k].neurons.tolist()):
                shifted = list(layers)
                bias = layers[k].neuron.bias.clone()
                bias[j] += offset
                shifted[k] = layers[k]._replace(neuron=layers[k].neuron._replace(bias=bias))
                state = None
                for x in inputs:
                    state = network._initial_state(len(x), shifted) if state is None else state
                    _, state = network.step(x, state, shifted)
                last = shifted[-1].neuron
                value = network.readout.value(state.readout, last) * (1.0 if readout == "count" else layers[-1].integers.scale)
                torch.testing.assert_close(found.layers[k].cost[v, i], CrossEntropy()(value.T, target), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ([784, Conv(4, 3), 10], "follows a flat layer"),
        ([(1, 5, 5), 20, Conv(4, 3), 10], "follows a flat layer"),
        ([(1, 5, 5), Conv(4, 6), 10], "does not fit into 5 x 5"),
        ([(1, 5, 5), SumPool(2), 10], "do not tile 5 x 5"),
        ([(1, 4, 4), SumPool(2), SumPool(2), 10], "follows another one"),
        ([(1, 4, 4), Conv(4, 3)], "no dense readout"),
        ([(1, 4, 4), Conv(4, 3), SumPool(2)], "no dense readout"),
        ([(1, 4), Conv(4, 3), 10], "the input's shape is"),
        ([(1, 4, 4), Conv(0, 3), 10], "is no convolution"),
    ],
)
def test_descriptions_of_no_network(architecture, message):
    with pytest.raises(InputError, match=message):
        wirings_of(architecture)
    with pytest.raises(InputError, match=message):
        SpikingNetwork(architecture)


def test_one_number_probed_a_layer():
    network = make_network(ARCHITECTURES["two convolutions"])
    inputs, target = make_batch(num_steps=4, num_inputs=25, seed=0, batch=2)
    with pytest.raises(InputError, match="3 numbers for 2 hidden layers"):
        PolyStep(network, NodeSpace(num_probed=[1, 2, 3]), compile=False).step(inputs, target)
