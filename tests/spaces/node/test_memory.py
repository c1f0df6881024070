"""Recurrent layers and delays: forward passes, credit and gradients against their definition."""

import pytest
import torch

from polystep_snn import (
    CrossEntropy,
    Delayed,
    LIFParameters,
    MembraneReadout,
    NodeSpace,
    NodeStep,
    Recurrent,
    Softmax,
    SpikeCountReadout,
    SpikingNetwork,
)
from polystep_snn.engine.compiled import Kernels
from polystep_snn.errors import InputError
from polystep_snn.polystep.polytope import vertices, with_radii
from polystep_snn.spaces.node.costs import node_costs
from polystep_snn.spaces.node.memory import REPETITIONS
from polystep_snn.spaces.node.pass_state import LayerProbes
from tests.reference import naive_memory

QUICK = LIFParameters(v_th=0.5)
COUNTS = SpikeCountReadout(QUICK, residual=0.2)
CASES = {
    "recurrent": ([6, Recurrent(5), 3], MembraneReadout()),
    "recurrent, leaky": ([6, Recurrent(5), 3], MembraneReadout(0.9)),
    "recurrent twice": ([6, Recurrent(5), Recurrent(4), 3], MembraneReadout()),
    "recurrent counts": ([6, Recurrent(5), 3], COUNTS),
    "delayed": ([6, Delayed(5, 3), 3], MembraneReadout()),
    "delayed, leaky": ([6, Delayed(5, 3), 3], MembraneReadout(0.9)),
    "delayed twice": ([6, Delayed(5, 3), Delayed(4, 6), 3], MembraneReadout()),
    "delayed counts": ([6, Delayed(5, 2), 3], COUNTS),
    "mean": ([6, 5, 4, 3], MembraneReadout.over_time()),
    "recurrent mean": ([6, Recurrent(5), 3], MembraneReadout.over_time()),
    "delayed, any synapse": ([6, Delayed(5, 3), 3], MembraneReadout(0.9, 0.7)),
    "delayed, recurrent, dense": ([6, Delayed(5, 3), Recurrent(4), 4, 3], MembraneReadout()),
}
STEPS, BATCH = 13, 3
# In place of the number of classes: a readout over time.
MEAN = object()


def make(name, seed=0, scale=1.0, dtype=torch.float64):
    architecture, readout = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    network = SpikingNetwork(architecture, QUICK, readout, generator).to(dtype)
    for bias in network.biases:
        bias.uniform_(-0.05, 0.05, generator=generator)
    for recurrent in network.recurrents.values():
        recurrent *= scale
    inputs = torch.rand(STEPS, BATCH, 6, generator=generator, dtype=dtype)
    return network, inputs, torch.randint(0, 3, (BATCH,), generator=generator)


def make_probes(network, num_windows, num_probed=None, radius=0.4):
    windows = torch.nn.functional.one_hot(torch.arange(STEPS) * num_windows // STEPS, num_windows).double()
    offsets = with_radii(vertices("orthoplex", num_windows), [radius]).double() * 0.5
    probes = [LayerProbes(offsets, windows, None if num_probed is None else torch.arange(num_probed)) for _ in network.neurons]
    if isinstance(network.readout, MembraneReadout):
        return [*probes, LayerProbes(offsets[:2, :1], torch.ones(STEPS, 1).double())]
    return [*probes, LayerProbes(offsets, windows)]


@pytest.mark.parametrize("name", CASES)
def test_forward(name):
    network, inputs, _ = make(name)
    value, _, spikes = naive_memory.run(network, inputs)
    found, _ = network(inputs)
    torch.testing.assert_close(found, value, rtol=0, atol=1e-12)
    assert 0.05 < spikes[0].mean() < 0.95
    first, between = network(inputs[:5])
    torch.testing.assert_close(network(inputs[5:], between)[0], value, rtol=0, atol=1e-12)
    assert not torch.equal(first, value)


@pytest.mark.parametrize("num_probed", [None, 3])
@pytest.mark.parametrize("num_windows", [1, 4, STEPS])
@pytest.mark.parametrize("name", CASES)
def test_costs_equal_the_definition(name, num_windows, num_probed):
    network, inputs, target = make(name, seed=num_windows)
    probes, cost = make_probes(network, num_windows, num_probed), CrossEntropy(0.5)
    expected = naive_memory.chained_costs(network, inputs, target, probes, cost, REPETITIONS)
    found = node_costs(network, inputs, target, probes, cost, Kernels(compile=False), chained=True)
    for own, table in zip(found.layers, expected, strict=True):
        torch.testing.assert_close(own.cost, table, rtol=0, atol=1e-9)


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("name", ["recurrent", "recurrent, leaky", "delayed", "delayed, leaky"])
def test_without_recurrent_weights_costs_are_those_of_full_forward_passes(name):
    network, inputs, target = make(name, scale=0.0)
    probes, cost = make_probes(network, 4), CrossEntropy(0.5)
    expected = naive_memory.costs(network, inputs, target, probes, cost)
    found = node_costs(network, inputs, target, probes, cost, Kernels(compile=False), chained=True)
    for own, table in zip(found.layers, expected, strict=True):
        torch.testing.assert_close(own.cost, table, rtol=0, atol=1e-9)


def test_slopes_point_where_full_forward_passes_do():
    """Averaged over samples, as a gradient is: a single sample's costs are steps. Without the recurrent price they point less well."""
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([6, Recurrent(8), 3], QUICK, generator=generator).double()
    inputs, target = torch.rand(STEPS, 400, 6, generator=generator).double(), torch.randint(0, 3, (400,), generator=generator)
    probes, cost = make_probes(network, 4), CrossEntropy(0.5)
    real = naive_memory.costs(network, inputs, target, probes[:1], cost)[0]
    cosines = []
    for recurrent_credit in (True, False):
        found = node_costs(network, inputs, target, probes, cost, Kernels(compile=False), chained=True, recurrent_credit=recurrent_credit)
        cosines.append(cosine(*(torch.einsum("vm,vkb->mk", probes[0].offsets, x) for x in (real, found.layers[0].cost))))
    assert cosines[0] > 0.99
    assert cosines[1] < 0.97


def test_gradients_of_recurrent_weights():
    """Displacements times the spikes that arrived a step later, summed over windows."""
    network, inputs, target = make("recurrent")
    space = NodeSpace(radius=0.4, num_windows=4)
    for compile in (False, True):
        step = NodeStep(network, space, Softmax(eps=1.0), CrossEntropy(0.5), compile=compile)
        step.step(inputs, target)
        (recurrent,) = network.recurrents.values()
        probes = step._last_probes
        table = naive_memory.chained_costs(network, inputs, target, probes, CrossEntropy(0.5), REPETITIONS)[0]
        _, _, spikes = naive_memory.run(network, inputs)
        offsets, windows, _ = probes[0]
        points = offsets / offsets.norm(dim=1).mean()
        expected = torch.zeros_like(recurrent)
        for i in range(5):
            for b in range(BATCH):
                displacement = torch.softmax(-table[:, i, b], 0) @ points
                for t in range(1, STEPS):
                    expected[i] -= displacement @ windows[t] * spikes[0][t - 1, b] / STEPS / BATCH
        torch.testing.assert_close(recurrent.grad, expected, rtol=0, atol=1e-9)


def test_the_price_of_delays_in_front_of_the_readout():
    """What a neuron's spikes cost more with a delay longer by a step than with one shorter by a step, all others as they were."""
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([6, Delayed(16, 5, learned=True), 3], QUICK, MembraneReadout(0.9), generator).double()
    inputs, target = 1.5 * torch.rand(STEPS, 300, 6, generator=generator).double(), torch.randint(0, 3, (300,), generator=generator)
    cost = CrossEntropy(0.5)
    NodeStep(network, NodeSpace(), cost=cost, compile=False).step(inputs, target)
    (lateness,), expected = network.lateness.values(), torch.zeros(16).double()
    for j, delay in enumerate(network.delays[1].tolist()):
        drawn, costs = lateness[j].item(), []
        for other in (min(delay + 1, 5), max(delay - 1, 0)):
            lateness[j] = other / 5 - 0.5
            costs.append((cost(naive_memory.run(network, inputs)[0].T, target).mean(), other))
        lateness[j] = drawn
        expected[j] = 5 * (costs[0][0] - costs[1][0]) / (costs[0][1] - costs[1][1])
    assert expected.count_nonzero() > 8
    assert cosine(lateness.grad, expected) > 0.999


def test_the_price_of_delays_in_front_of_a_layer():
    """That of spikes in the windows where they would arrive, by the slopes of the layer behind."""
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([6, Delayed(5, 3, learned=True), 4, 3], QUICK, MembraneReadout(), generator).double()
    inputs, target = torch.rand(STEPS, 9, 6, generator=generator).double(), torch.randint(0, 3, (9,), generator=generator)
    cost = CrossEntropy(0.5)
    step = NodeStep(network, NodeSpace(num_windows=4), cost=cost, compile=False)
    step.step(inputs, target)
    probes = step._last_probes
    tables = naive_memory.chained_costs(network, inputs, target, probes, cost, REPETITIONS)
    worth = naive_memory._worth(tables[1], probes[1], 4, network.weights[1], STEPS)
    _, _, spikes = naive_memory.run(network, inputs)
    (lateness,), expected = network.lateness.values(), torch.zeros(5).double()
    for j, delay in enumerate(network.delays[1].tolist()):
        longer, shorter = min(delay + 1, 3), max(delay - 1, 0)
        for t in range(STEPS):
            for other, sign in ((longer, 1), (shorter, -1)):
                if t + other < STEPS:
                    expected[j] += sign * (spikes[0][t, :, j] * worth[j, t + other]).mean() * 3 / (longer - shorter)
    assert expected.count_nonzero() > 1
    torch.testing.assert_close(lateness.grad, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("architecture", "space", "message"),
    [
        ([6, Recurrent(5), 3], NodeSpace(credit="exact"), "credit is 'exact'"),
        ([6, Delayed(5, 2), 3], NodeSpace(credit="exact"), "credit is 'exact'"),
        ([6, 5, 4, MEAN], NodeSpace(credit="exact"), "credit is 'exact', but spikes that arrive later, or in a readout with a synapse"),
        ([6, Recurrent(5), 3], NodeSpace(polytope="cube", num_windows=2), "the polytope is 'cube'"),
        ([6, Recurrent(5), 3], NodeSpace(rotate=True, num_windows=2), "rotated"),
    ],
)
def test_refused_spaces(architecture, space, message):
    readout = MembraneReadout.over_time() if architecture[-1] is MEAN else MembraneReadout()
    network = SpikingNetwork([*architecture[:-1], 3], readout=readout)
    with pytest.raises(InputError, match=message):
        NodeStep(network, space)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ([Recurrent(5), 3], "the input is Recurrent"),
        ([6, Recurrent(0), 3], "has no neurons"),
        ([6, Recurrent(5)], "has no dense readout"),
        ([6, Delayed(5, 0), 3], "choose a longest delay from 1 to 62"),
        ([6, Delayed(5, 63), 3], "choose a longest delay from 1 to 62"),
        ([6, Recurrent(5, scale=-1.0), 3], "choose a scale"),
    ],
)
def test_refused_architectures(architecture, message):
    with pytest.raises(InputError, match=message):
        SpikingNetwork(architecture)


def test_a_readout_over_time_is_the_sum_of_membranes():
    """Up to the chip's leak of 1/4096 a step."""
    network, inputs, _ = make("mean")
    state, total = None, 0
    network.readout = MembraneReadout()
    for x in inputs:
        value, state = network(x[None], state)
        total = total + value
    network.readout = MembraneReadout.over_time()
    found, _ = network(inputs)
    torch.testing.assert_close(found, total, rtol=0.01, atol=0.02)
    assert not torch.allclose(found, total, rtol=1e-6)
    assert network.readout.full_scale(STEPS) == pytest.approx(STEPS * (STEPS + 1) / 2, rel=2e-3)
