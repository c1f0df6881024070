"""Decisions over time: the largest membrane, costs of every step, their slopes and gradients against their definition."""

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
    SmoothedCrossEntropy,
    SpikeCountReadout,
    SpikingNetwork,
)
from polystep_snn.engine.compiled import Kernels
from polystep_snn.errors import InputError
from polystep_snn.polystep.cost import MeanSquaredError, ZeroOne
from polystep_snn.polystep.polytope import vertices, with_radii
from polystep_snn.spaces.node.costs import node_costs
from polystep_snn.spaces.node.memory import REPETITIONS
from polystep_snn.spaces.node.pass_state import LayerProbes
from tests.reference import naive_memory, naive_over_time

QUICK = LIFParameters(v_th=0.5)
STEPS, BATCH = 13, 3
ARCHITECTURES = {
    "dense": [6, 5, 3],
    "deep": [6, 5, 4, 3],
    "recurrent": [6, Recurrent(5), 3],
    "delayed": [6, Delayed(5, 3), 3],
    "delayed, recurrent": [6, Delayed(5, 3), Recurrent(4), 3],
}
READOUTS = {
    "every step": (MembraneReadout(), True),
    "every step, leaky": (MembraneReadout(0.8), True),
    "every step, synapse": (MembraneReadout(0.8, 0.5), True),
    "maximum": (MembraneReadout(maximum=True), False),
    "maximum, leaky": (MembraneReadout(0.8, maximum=True), False),
}


def make(architecture, readout, seed=0, batch=BATCH):
    generator = torch.Generator().manual_seed(seed)
    network = SpikingNetwork(architecture, QUICK, readout, generator).double()
    for bias in network.biases:
        bias.uniform_(-0.1, 0.1, generator=generator)
    inputs = 2 * torch.rand(STEPS, batch, 6, generator=generator, dtype=torch.float64)
    return network, inputs, torch.randint(0, 3, (batch,), generator=generator)


def make_probes(network, num_windows, num_probed=None):
    windows = torch.nn.functional.one_hot(torch.arange(STEPS) * num_windows // STEPS, num_windows).double()
    offsets = with_radii(vertices("orthoplex", num_windows), [0.4]).double() * 0.5
    neurons = None if num_probed is None else torch.arange(num_probed)
    return [*(LayerProbes(offsets, windows, neurons) for _ in network.neurons), LayerProbes(offsets, windows)]


@pytest.mark.parametrize("readout", [r for r, every_step in READOUTS.values() if not every_step])
def test_the_largest_membrane_of_all_steps(readout):
    network, inputs, _ = make(ARCHITECTURES["recurrent"], readout)
    _, received, _ = naive_memory.run(network, inputs)
    found = naive_over_time.membranes(network, received[-1])
    value, state = network(inputs)
    torch.testing.assert_close(value, found.max(0).values, rtol=0, atol=1e-12)
    # Some are largest before the end.
    assert (found[-1] < value - 1e-6).any()
    torch.testing.assert_close(network(inputs[5:], network(inputs[:5])[1])[0], value, rtol=0, atol=1e-12)
    torch.testing.assert_close(network.readout.membrane(state.readout), found[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_probed", [None, 3])
@pytest.mark.parametrize("num_windows", [1, 4, STEPS])
@pytest.mark.parametrize("of_readout", READOUTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_costs_equal_the_definition(name, of_readout, num_windows, num_probed):
    readout, every_step = READOUTS[of_readout]
    network, inputs, target = make(ARCHITECTURES[name], readout, seed=num_windows)
    probes, cost = make_probes(network, num_windows, num_probed), CrossEntropy(0.5)
    expected = naive_memory.chained_costs(network, inputs, target, probes, cost, REPETITIONS, every_step=every_step)
    found = node_costs(network, inputs, target, probes, cost, Kernels(compile=False), chained=True, every_step=every_step)
    for own, table in zip(found.layers, expected, strict=True):
        torch.testing.assert_close(own.cost, table, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "cost", [CrossEntropy(0.5), SmoothedCrossEntropy(0.5, 0.2), MeanSquaredError(0.7)], ids=lambda cost: type(cost).__name__
)
def test_slopes_of_costs_are_those_of_autograd(cost):
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    classes = isinstance(cost, CrossEntropy)
    target = torch.tensor([0, 1, 2, 0, 1]) if classes else torch.randn(5, 3, generator=generator, dtype=torch.float64)
    cost(value, target).sum().backward()
    torch.testing.assert_close(cost.slope(value.detach(), target), value.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("of_readout", READOUTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_readouts_gradient_is_that_of_autograd(name, of_readout):
    """In windows of a step nothing is an approximation. Small probes: the barycenter follows the slope."""
    readout, every_step = READOUTS[of_readout]
    network, inputs, target = make(ARCHITECTURES[name], readout)
    _, received, _ = naive_memory.run(network, inputs)
    cost = CrossEntropy(0.5)
    for compile in (False, True):
        step = NodeStep(
            network,
            NodeSpace(radius=0.4, num_windows=STEPS, readout_radius=1e-3),
            cost=cost,
            compile=compile,
            every_step=every_step,
        )
        result = step.step(inputs, target)
        with torch.enable_grad():
            weight, bias = (p.detach().clone().requires_grad_(True) for p in (network.weights[-1], network.biases[-1]))

            class Same:
                weights, biases, readout, sizes = [weight], [bias], network.readout, network.sizes

            own = naive_over_time.decided(Same, received[-1], cost, target, every_step)[1]
            own.mean().backward()
        torch.testing.assert_close(result.loss, own.mean().detach(), rtol=0, atol=1e-9)
        for p, expected in ((network.weights[-1], weight.grad), (network.biases[-1], bias.grad)):
            torch.testing.assert_close(p.grad / p.grad.norm(), expected / expected.norm(), rtol=0, atol=1e-4)


def test_slopes_point_where_full_forward_passes_do():
    """Averaged over samples, as a gradient is: a single sample's costs are steps."""
    made = {name: make([6, Recurrent(8), 3], readout, batch=400) for name, (readout, _) in READOUTS.items()}
    network, inputs, target = made["every step"]
    probes, cost = make_probes(network, STEPS), CrossEntropy(0.5)
    offsets = probes[0].offsets
    real = torch.empty(len(READOUTS), len(offsets), 8, 400, dtype=torch.float64)
    for v, offset in enumerate(offsets):
        for j in range(8):
            # All readouts receive the same.
            _, received, _ = naive_memory.run(network, inputs, 0, j, probes[0].windows @ offset)
            for k, name in enumerate(READOUTS):
                real[k, v, j] = naive_over_time.decided(made[name][0], received[-1], cost, target, READOUTS[name][1])[1]
    cosines = {}
    for name, costs in zip(READOUTS, real, strict=True):
        kernels, every_step = Kernels(compile=False), READOUTS[name][1]
        found = node_costs(made[name][0], inputs, target, probes, cost, kernels, chained=True, every_step=every_step)
        slopes = [torch.einsum("vm,vkb->mk", offsets, x).flatten() for x in (costs, found.layers[0].cost)]
        cosines[name] = float(torch.nn.functional.cosine_similarity(*slopes, dim=0))
    # The step of a leaky readout's largest membrane moves most often.
    assert cosines.pop("maximum, leaky") > 0.75
    assert min(cosines.values()) > 0.95


@pytest.mark.parametrize("of_readout", READOUTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loops_equal_torch(name, of_readout):
    readout, every_step = READOUTS[of_readout]
    network, inputs, target = make(ARCHITECTURES[name], readout, batch=11)
    found = []
    for compile in (False, True):
        step = NodeStep(network, NodeSpace(radius=0.4, num_windows=4, num_probed=3), compile=compile, every_step=every_step)
        for _ in range(2):
            result = step.step(inputs, target)
        found.append([result.loss, result.accuracy, *result.rates, *(p.grad for p in network.parameters())])
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("readout", "options", "message"),
    [
        (SpikeCountReadout(QUICK), {"every_step": True}, "spike counts decides at the end"),
        (MembraneReadout(maximum=True), {"every_step": True}, "choose one of both"),
        (MembraneReadout(maximum=True), {"space": NodeSpace(credit="exact")}, "choose 'chained' or 'auto'"),
        (MembraneReadout(), {"every_step": True, "space": NodeSpace(credit="exact")}, "choose 'chained' or 'auto'"),
    ],
)
def test_refused(readout, options, message):
    network, _, _ = make(ARCHITECTURES["dense"], readout)
    with pytest.raises(InputError, match=message):
        NodeStep(network, **options)


def test_a_cost_without_a_slope_is_refused():
    network, inputs, target = make(ARCHITECTURES["dense"], MembraneReadout(maximum=True))
    for compile in (False, True):
        with pytest.raises(InputError, match="ZeroOne has no slope"):
            NodeStep(network, cost=ZeroOne(), compile=compile).step(inputs, target)
