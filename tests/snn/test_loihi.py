"""The chip's integer neuron in torch, and node space on it."""

import numpy as np
import pytest
import torch

from polystep_snn import CrossEntropy, InputError, LIFParameters, MembraneReadout, PolyStep, SpikeCountReadout, SpikingNetwork
from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.engine.compiled import Kernels
from polystep_snn.hardware import fixed_point
from polystep_snn.snn import loihi
from polystep_snn.snn.loihi import CubaNeuron, CubaParameters
from polystep_snn.snn.neurons import LIFState
from polystep_snn.snn.quantize import quantize
from polystep_snn.spaces.node.costs import node_costs

EDGES = [0, 1, -1, 4095, -4096, 2**23 - 1, -(2**23 - 1), 2**23]


@pytest.mark.parametrize("d", [0, 1, 205, 2048, 4095, 4096])
def test_decay_rounds_as_the_chip_does(d):
    x = np.concatenate([np.random.default_rng(0).integers(-(2**23), 2**23, 10_000), EDGES]).astype(np.int32)
    assert np.array_equal(loihi.decay(torch.from_numpy(x).float(), d).numpy(), fixed_point.decay(x, d))


def test_a_current_wraps_once_at_24_bits():
    x = np.array([*EDGES, 2**23 + 64, -(2**23), -(2**23) - 64, 2**24 - 64], np.int32)
    assert np.array_equal(loihi.wrap24(torch.from_numpy(x).float()).numpy(), fixed_point.wrap24(x))


@pytest.mark.parametrize(("du", "dv"), [(4095, 0), (4095, 205), (0, 0), (1000, 128), (4000, 4095)])
def test_steps_are_the_fixed_point_steps(du, dv):
    generator = np.random.default_rng(du + dv)
    arrived = generator.integers(-40_000, 60_000, (50, 3, 8)).astype(np.int32)
    vth, bias = generator.integers(1, 2**17, 8).astype(np.int32), generator.integers(-(2**18), 2**18, 8).astype(np.int32)
    neuron = CubaNeuron(du, dv, 64.0 * torch.from_numpy(vth), torch.from_numpy(bias).float())
    state, expected = neuron.initial_state(torch.zeros(3, 8)), fixed_point.CubaState(*np.zeros((2, 3, 8), np.int32))
    fired = 0
    for a in arrived:
        current = neuron.current(64.0 * torch.from_numpy(a), state)
        z, state = neuron.step(64.0 * torch.from_numpy(a), state)
        spikes, expected = fixed_point.cuba_step(a, expected, du, dv, vth, bias)
        assert np.array_equal(z.numpy(), spikes)
        assert np.array_equal(state.v.numpy(), expected.v)
        assert np.array_equal(current.numpy(), expected.u)
        fired += spikes.sum()
    assert fired > 30


def test_the_grid_by_hand():
    integers = quantize(torch.tensor([[1.27, -0.5], [0.014, 0.0]]), torch.tensor([0.5, -1.0]), 2.0)
    assert integers.scale.item() == pytest.approx(0.01)
    assert integers.weight.tolist() == [[127, -50], [1, 0]]
    assert integers.vth == 200
    assert integers.bias_step == 64
    assert integers.bias_mant.tolist() == [50, -100]
    assert integers.bias.tolist() == [3200, -6400]
    # 64 * 50 / 0.01 is more than 4095 * 64.
    large = quantize(torch.tensor([[1.27]]), torch.tensor([50.0]), 2.0)
    assert (large.bias_step, large.bias_mant.item()) == (128, 2500)


def test_the_grid_holds_what_has_no_size():
    integers = quantize(torch.zeros(2, 3), torch.zeros(2), None)
    assert integers.weight.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert integers.vth == 2**17 - 1
    clipped = quantize(torch.full((1, 1), 1e-9), torch.full((1,), -1e9), 1.0)
    assert (clipped.vth, clipped.bias_step, clipped.bias_mant.item()) == (2**17 - 1, 128, -4096)


READOUTS = {
    "integrator": MembraneReadout(),
    "leaky": MembraneReadout(0.9),
    "count": SpikeCountReadout(CubaParameters(dv=300, v_th=0.5)),
    "residual": SpikeCountReadout(CubaParameters(dv=300, v_th=0.5), residual=0.25),
}


def forward(network, layers, inputs):
    """The readout as the cost sees it, ``[C, B]``, one neuron population after the other."""
    states = [layer.neuron.initial_state(torch.zeros(inputs.shape[1], len(layer.weight)).double()) for layer in layers]
    counts = 0
    for z in inputs:
        for k, layer in enumerate(layers):
            z, states[k] = layer.neuron.step(z @ layer.weight.T, states[k])
        counts = counts + z
    if isinstance(network.readout, MembraneReadout):
        return (states[-1].v * layers[-1].unit).T
    return (counts + network.readout.residual / layers[-1].neuron.threshold * states[-1].v).T


@pytest.mark.parametrize("du", [4095, 3000])
@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("sizes", [[6, 5, 3], [6, 5, 4, 3]], ids=["2", "3"])
def test_probes_cost_what_shifted_biases_cost(sizes, readout, du):
    generator = torch.Generator().manual_seed(len(sizes))
    network = SpikingNetwork(sizes, CubaParameters(du, 205, 0.4), readout, generator, weight_bits=8).double()
    with torch.no_grad():
        for bias in network.biases:
            bias.uniform_(-0.05, 0.1, generator=generator)
    inputs = (torch.rand(19, 7, 6, generator=generator) < 0.4).double()
    target = torch.randint(3, (7,), generator=generator)
    layers, cost = network.layers(), CrossEntropy(2.0)
    step = PolyStep(network, cost=cost, compile=False)
    probes = step._probes(19, 0.0, layers)
    found = node_costs(network, inputs, target, probes, cost, Kernels(compile=False))

    assert [len(r) for r in found.rates] == sizes[1 : len(sizes) - isinstance(readout, MembraneReadout)]
    value = forward(network, layers, inputs)
    torch.testing.assert_close(found.value, value, rtol=0, atol=1e-12)
    output, _ = network(inputs)
    torch.testing.assert_close(output * network.unit, value.T, rtol=0, atol=1e-12)
    changed = 0
    # An integrator's own probes are closed forms of the readout; tests/spaces/node/test_one_pass.py looks at those.
    integrates = isinstance(readout, MembraneReadout) and layers[-1].neuron.dv == 0
    for k in range(len(layers) - integrates):
        for v, offset in enumerate(probes[k].offsets[:, 0]):
            for j in range(sizes[k + 1]):
                bias = layers[k].neuron.bias.clone()
                bias[j] += offset
                shifted = [*layers[:k], layers[k]._replace(neuron=layers[k].neuron._replace(bias=bias)), *layers[k + 1 :]]
                expected = cost(forward(network, shifted, inputs), target)
                torch.testing.assert_close(found.layers[k].cost[v, j], expected, rtol=0, atol=1e-9)
                changed += (expected - found.cost).abs().gt(1e-6).double().mean().item()
    assert changed > 1


def test_shifts_are_whole_numbers_of_the_register():
    network = SpikingNetwork([6, 5, 3], CubaParameters(v_th=0.7), weight_bits=8)
    layers = network.layers()
    offsets = PolyStep(network, compile=False)._probes(4, 0.0, layers)[0].offsets
    assert torch.equal(offsets, offsets.round())
    torch.testing.assert_close(offsets.flatten().abs(), (0.6 * layers[0].neuron.threshold).round().expand(2))


def test_what_the_chips_neuron_cannot_do():
    with pytest.raises(InputError, match="weight_bits is 32: choose 8"):
        SpikingNetwork([4, 3, 2], CubaParameters())
    with pytest.raises(InputError, match="choose one kind"):
        SpikingNetwork([4, 3, 2], CubaParameters(), SpikeCountReadout(LIFParameters()), weight_bits=8)
    network = SpikingNetwork([4, 3, 2], CubaParameters(), weight_bits=8)
    with pytest.raises(InputError, match="take spikes"):
        network(torch.full((2, 1, 4), 0.5))
    with pytest.raises(InputError, match="no derivative"):
        SurrogateBPTT(network)
    with pytest.raises(InputError, match="cannot be differentiated"):
        network.layers()[0].neuron.step(torch.zeros(1, 3), LIFState(torch.zeros(1, 3)), fire=torch.sigmoid)
    for wrong, message in (
        ({"du": 4096}, "du is 4096"),
        ({"dv": -1}, "dv is -1"),
        ({"dv": 0.5}, "dv is 0.5"),
        ({"v_th": 0.0}, "v_th is 0"),
    ):
        with pytest.raises(InputError, match=message):
            SpikingNetwork([4, 3, 2], CubaParameters(**wrong), weight_bits=8)
