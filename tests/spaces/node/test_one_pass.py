"""The fast pass against one full forward pass a probe."""

import pytest
import torch

from polystep_snn import (
    CrossEntropy,
    DirectCurrent,
    LIFParameters,
    MembraneReadout,
    SmoothedCrossEntropy,
    SpikeCountReadout,
    SpikingNetwork,
    ZeroOne,
)
from polystep_snn.engine.compiled import Kernels
from polystep_snn.polystep.polytope import vertices, with_radii
from polystep_snn.spaces.node.costs import node_costs
from polystep_snn.spaces.node.one_pass import run_probes
from polystep_snn.spaces.node.pass_state import LayerProbes
from tests.reference import naive_nodes

EAGER = Kernels(compile=False)
LIF, SOFT = LIFParameters(), LIFParameters.from_beta(0.9, reset="subtract")
BOUNDED = LIFParameters.from_beta(0.9, v_min=-0.25, v_max=1.5)
SYNAPSE = LIFParameters(tau_syn_inv=300.0)

SIZES = {1: [6, 5, 3], 2: [6, 5, 4, 3], 3: [6, 5, 4, 4, 3]}
READOUTS = {
    "membrane": MembraneReadout(),
    "leaky membrane": MembraneReadout(decay=0.8),
    "count": SpikeCountReadout(LIF),
    "count and residual": SpikeCountReadout(SOFT, residual=0.5),
}


def make_network(sizes, neuron, readout, seed, gain=3.0):
    """Random float64 weights large enough that every layer fires."""
    network = SpikingNetwork(sizes, neuron, readout, torch.Generator().manual_seed(seed)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for linear in network.linears:
            linear.weight.mul_(gain)
            linear.bias.uniform_(-0.1, 0.3, generator=generator)
    return network


def make_batch(num_steps, num_inputs, seed, batch=7, num_classes=3):
    generator = torch.Generator().manual_seed(seed)
    inputs = (torch.rand(num_steps, batch, num_inputs, generator=generator) < 0.5).double()
    return inputs, torch.randint(num_classes, (batch,), generator=generator)


def squared_error(value, target):
    """A cost whose sums are exact where the readout is a dyadic number."""
    wanted = torch.nn.functional.one_hot(target, value.shape[-2]).T
    return ((value - wanted) ** 2).sum(-2)


def make_probes(network, num_steps, num_windows=1, kind="orthoplex", radii=(0.4,), num_probed=None):
    """The same probes in every layer; a membrane readout's have one window."""
    window = torch.arange(num_steps) * num_windows // num_steps
    windows = torch.nn.functional.one_hot(window, num_windows).double()
    probes = []
    for k, width in enumerate(network.sizes[1:]):
        neurons = (
            None if num_probed is None else torch.randperm(width, generator=torch.Generator().manual_seed(k))[:num_probed].sort().values
        )
        probes.append(LayerProbes(with_radii(vertices(kind, num_windows), radii), windows, neurons))
    last = LayerProbes(with_radii(vertices(kind, num_windows), radii), windows)
    if isinstance(network.readout, MembraneReadout):
        last = LayerProbes(with_radii(vertices(kind, 1), radii), torch.ones(num_steps, 1).double())
    return [*probes[:-1], last]


def assert_equal_costs(network, inputs, target, probes, cost=CrossEntropy(), residual=None, tolerance=1e-9, frames=None, chained=False):
    found = node_costs(network, inputs if frames is None else frames, target, probes, cost, EAGER, residual, chained=chained)
    naive = naive_nodes.chained_costs if chained else naive_nodes.costs
    for layer, expected in zip(found.layers, naive(network, inputs, target, probes, cost, residual), strict=True):
        torch.testing.assert_close(layer.cost, expected, rtol=0, atol=tolerance)
    value = naive_nodes.forward(network, inputs, residual)
    torch.testing.assert_close(found.value.T, value, rtol=0, atol=tolerance)
    return found


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("neuron", [LIF, SOFT, BOUNDED, SYNAPSE], ids=["zero", "subtract", "bounded", "synapse"])
@pytest.mark.parametrize("depth", SIZES)
@pytest.mark.parametrize(("chained", "num_windows"), [(False, 1), (True, 2)], ids=["exact", "chained"])
def test_costs_are_those_of_the_naive_reference(chained, num_windows, depth, neuron, readout):
    network = make_network(SIZES[depth], neuron, readout, seed=depth)
    inputs, target = make_batch(num_steps=19, num_inputs=6, seed=1)  # more than one block
    found = assert_equal_costs(network, inputs, target, make_probes(network, 19, num_windows), chained=chained)
    hidden = found.layers[0].cost
    assert ((hidden - found.cost).abs() > 1e-6).double().mean() > 0.1, "the probes change too little to tell anything"


class Plain(Kernels):
    """Takes the ways that are taken when compiled, without compiling."""

    def __call__(self, fn):
        return fn


@pytest.mark.parametrize("depth", SIZES)
def test_few_output_neurons_are_simulated_under_every_probe(depth):
    network = make_network(SIZES[depth], LIF, READOUTS["count and residual"], seed=depth)
    inputs, target = make_batch(num_steps=19, num_inputs=6, seed=1)
    probes = make_probes(network, 19, num_windows=2, num_probed=2)
    done = run_probes(network, network.layers(), inputs, target, CrossEntropy(), probes, Plain())
    assert done.plan.hops
    assert done.state.output is not None
    found = node_costs(network, inputs, target, probes, CrossEntropy(), Plain())
    for layer, expected in zip(found.layers, naive_nodes.costs(network, inputs, target, probes, CrossEntropy()), strict=True):
        torch.testing.assert_close(layer.cost, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize(("windows", "kind"), [(3, "orthoplex"), (3, "simplex"), (2, "cube"), (5, "orthoplex")])
def test_time_windows_and_polytopes(windows, kind, readout):
    network = make_network(SIZES[2], LIF, readout, seed=2)
    inputs, target = make_batch(num_steps=10, num_inputs=6, seed=2)
    assert_equal_costs(network, inputs, target, make_probes(network, 10, windows, kind, radii=(0.2, 0.9)))


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_a_constant_current_gives_what_its_repetition_gives(readout):
    network = make_network(SIZES[2], LIF, readout, seed=3)
    image = torch.rand(7, 6, generator=torch.Generator().manual_seed(3)).double()
    target = torch.arange(7) % 3
    probes = make_probes(network, 19, num_windows=4)
    frames = DirectCurrent(19)(image)
    found = assert_equal_costs(network, image.expand(19, 7, 6), target, probes, frames=frames)
    repeated = node_costs(network, image.expand(19, 7, 6), target, probes, CrossEntropy(), EAGER)
    for a, b in zip(found.layers, repeated.layers, strict=True):
        torch.testing.assert_close(a.share[:, None, None] * a.activity, b.share[:, None, None] * b.activity, rtol=0, atol=1e-12)
        torch.testing.assert_close(a.cost, b.cost, rtol=0, atol=1e-12)


@pytest.mark.parametrize("readout", [MembraneReadout(), SpikeCountReadout(LIFParameters.from_beta(0.5))], ids=["membrane", "count"])
@pytest.mark.parametrize("depth", SIZES)
def test_exact_where_sums_are_exact(depth, readout):
    """Dyadic weights, biases, decays and radii: every sum is exact in float64, so every cost is equal to the last bit."""
    neuron = LIFParameters.from_beta(0.5)
    network = make_network(SIZES[depth], neuron, readout, seed=4, gain=6.0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_((p * 8).round() / 8)
    inputs, target = make_batch(num_steps=9, num_inputs=6, seed=4)
    found = assert_equal_costs(network, inputs, target, make_probes(network, 9, radii=(0.5,)), tolerance=0, cost=squared_error)
    assert found.rates[0].max() > 0


def test_any_function_of_the_readout_is_a_cost():
    network = make_network(SIZES[1], LIF, MembraneReadout(), seed=5)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=5)
    assert_equal_costs(network, inputs, target, make_probes(network, 12), cost=ZeroOne())


def test_the_residual_of_the_cost_replaces_the_readouts_own():
    network = make_network(SIZES[1], LIF, SpikeCountReadout(LIFParameters(v_th=1.5)), seed=6)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=6)
    assert_equal_costs(network, inputs, target, make_probes(network, 12), residual=0.25)


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_a_subset_of_neurons_finds_their_costs(readout):
    network = make_network(SIZES[3], LIF, readout, seed=7)
    inputs, target = make_batch(num_steps=9, num_inputs=6, seed=7)
    assert_equal_costs(network, inputs, target, make_probes(network, 9, num_probed=2))


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_change_no_bit(chunk, readout):
    network = make_network([20, 16, 12, 10, 3], LIF, readout, seed=8).float()
    inputs, target = make_batch(num_steps=9, num_inputs=20, seed=8, batch=17)
    probes = [LayerProbes(p.offsets.float(), p.windows.float(), p.neurons) for p in make_probes(network, 9)]
    whole = node_costs(network, inputs.float(), target, probes, CrossEntropy(), EAGER)
    pieces = node_costs(network, inputs.float(), target, probes, CrossEntropy(), EAGER, chunk=chunk)
    for a, b in zip(whole.layers, pieces.layers, strict=True):
        assert torch.equal(a.cost, b.cost)
        assert torch.equal(a.activity, b.activity)


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_the_order_of_probes_changes_no_bit(readout):
    network = make_network([20, 16, 12, 3], LIF, readout, seed=9).float()
    inputs, target = make_batch(num_steps=9, num_inputs=20, seed=9, batch=17)
    probes = [LayerProbes(p.offsets.float(), p.windows.float(), p.neurons) for p in make_probes(network, 9)]
    orders = [torch.randperm(n) for n in (16, 12)]
    shuffled = [p._replace(neurons=order, offsets=p.offsets.flip(0)) for p, order in zip(probes, orders, strict=False)] + probes[2:]
    straight = node_costs(network, inputs.float(), target, probes, CrossEntropy(), EAGER)
    mixed = node_costs(network, inputs.float(), target, shuffled, CrossEntropy(), EAGER)
    for a, b, order in zip(straight.layers[:2], mixed.layers[:2], orders, strict=True):
        assert torch.equal(a.cost[:, order].flip(0), b.cost)


def test_a_probe_that_changes_no_spike_costs_exactly_what_the_network_costs():
    network = make_network(SIZES[3], LIF, MembraneReadout(), seed=10).float()
    inputs, target = make_batch(num_steps=9, num_inputs=6, seed=10)
    probes = [LayerProbes(p.offsets.float() * 1e-6, p.windows.float(), p.neurons) for p in make_probes(network, 9)]
    found = node_costs(network, inputs.float(), target, probes, CrossEntropy(), EAGER)
    for layer in found.layers[:-1]:
        assert torch.equal(layer.cost[0], layer.cost[1])
        torch.testing.assert_close(layer.cost, found.cost.expand_as(layer.cost), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cost", [CrossEntropy(3.0), SmoothedCrossEntropy(3.0, 0.2)])
def test_cross_entropy_of_a_change_is_that_of_the_changed_value(cost):
    generator = torch.Generator().manual_seed(11)
    value, columns, change = (torch.randn(*shape, generator=generator).double() for shape in ((10, 6), (7, 10), (2, 7, 6)))
    target = torch.arange(6)
    changed = value + columns[:, :, None] * change[:, :, None, :]
    torch.testing.assert_close(cost.of_change(value, columns, change, target), cost(changed, target), rtol=0, atol=1e-12)


def test_smoothed_cross_entropy_is_torchs():
    generator = torch.Generator().manual_seed(2)
    value, target = torch.randn(10, 6, generator=generator).double(), torch.arange(6)
    expected = torch.nn.functional.cross_entropy(3.0 * value.T, target, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(SmoothedCrossEntropy(3.0, 0.2)(value, target), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(SmoothedCrossEntropy(3.0, 0.0)(value, target), CrossEntropy(3.0)(value, target), rtol=0, atol=0)


def test_cross_entropy_saturates_where_a_change_leaves_the_range_of_floats():
    cost = CrossEntropy(1.0)
    value, target = torch.zeros(2, 1), torch.tensor([0])
    found = cost.of_change(value, torch.tensor([[1.0, 0.0]]), torch.tensor([[[50.0]], [[-50.0]], [[1e6]], [[-1e6]]]), target).flatten()
    torch.testing.assert_close(found[:2], torch.tensor([0.0, 50.0]), rtol=1e-6, atol=1e-5)
    assert found[2] == 0
    assert 80 < found[3] < 1e6
