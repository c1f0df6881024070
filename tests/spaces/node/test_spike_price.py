"""Spikes that have a price: costs and gradients against the naive reference, by torch and by loops; where they are dear, few."""

import pytest
import torch

from polystep_snn import (
    CrossEntropy,
    InputError,
    LIFParameters,
    MembraneReadout,
    NodeSpace,
    PolyStep,
    RateTarget,
    Softmax,
    SpikeCountReadout,
    SpikingNetwork,
)
from polystep_snn.geometry import Conv, SumPool
from polystep_snn.spaces.node.costs import settle
from polystep_snn.spaces.node.memory import REPETITIONS
from polystep_snn.spaces.node.one_pass import run_probes
from tests.reference import naive_memory, naive_nodes
from tests.spaces.node import test_loops, test_memory
from tests.spaces.node.test_one_pass import EAGER, LIF, SIZES, make_batch, make_network, make_probes

# Of a neuron that fires in every step: large beside costs of about a nat, so that an error shows.
PRICE = 5.0
READOUTS = {"membrane": MembraneReadout(), "count": SpikeCountReadout(LIF, residual=0.5)}


def tables_of(network, inputs, target, probes, price, chained=False):
    """Costs of all layers; without a price where it is None."""
    done = run_probes(network, network.layers(), inputs, target, CrossEntropy(0.5), probes, EAGER, chained=chained)
    found = settle(done, target, CrossEntropy(0.5), None if price is None else RateTarget(price=price))
    return [layer.cost for layer in found.layers]


def assert_priced(network, inputs, target, probes, expected, chained):
    """As the reference has it, and another number than without a price in every hidden layer."""
    found, free = (tables_of(network, inputs, target, probes, price, chained) for price in (PRICE, None))
    for layer, (table, other, wanted) in enumerate(zip(found, free, expected, strict=True)):
        torch.testing.assert_close(table, wanted, rtol=0, atol=1e-9)
        assert torch.equal(table, other) == (layer == len(network.sizes) - 2), "of hidden layers alone"


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("depth", SIZES)
@pytest.mark.parametrize(("chained", "num_windows", "num_probed"), [(False, 1, None), (False, 3, 2), (True, 2, None), (True, 3, 2)])
def test_costs_are_those_of_the_naive_reference(chained, num_windows, num_probed, depth, readout):
    network = make_network(SIZES[depth], LIF, readout, seed=depth)
    inputs, target = make_batch(num_steps=19, num_inputs=6, seed=1)
    probes = make_probes(network, 19, num_windows, radii=(0.4, 1.5), num_probed=num_probed)
    naive = naive_nodes.chained_costs if chained else naive_nodes.costs
    expected = naive(network, inputs, target, probes, CrossEntropy(0.5), price=PRICE / 19)
    assert_priced(network, inputs, target, probes, expected, chained)


def test_convolutions():
    network = make_network([(2, 6, 6), Conv(3, 3, 1, 1), SumPool(2), Conv(2, 2), 3], LIF, MembraneReadout(), seed=4, gain=2.0)
    inputs, target = make_batch(8, network.sizes[0], seed=4, batch=3)
    probes = make_probes(network, 8, 2)
    expected = naive_nodes.chained_costs(network, inputs, target, probes, CrossEntropy(0.5), price=PRICE / 8)
    assert_priced(network, inputs, target, probes, expected, True)


@pytest.mark.parametrize("num_windows", [1, 4])
@pytest.mark.parametrize("name", ["recurrent", "recurrent twice", "recurrent counts", "delayed counts"])
def test_costs_with_memory_equal_the_definition(name, num_windows):
    network, inputs, target = test_memory.make(name, seed=num_windows)
    probes = test_memory.make_probes(network, num_windows)
    price = PRICE / test_memory.STEPS
    expected = naive_memory.chained_costs(network, inputs, target, probes, CrossEntropy(0.5), REPETITIONS, price)
    assert_priced(network, inputs, target, probes, expected, True)


@pytest.mark.parametrize("compile", [False, True], ids=["torch", "loops"])
@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("depth", SIZES)
def test_the_gradient_is_the_naive_one(depth, readout, compile):
    network = make_network(SIZES[depth], LIF, readout, seed=20 + depth)
    inputs, target = make_batch(num_steps=12, num_inputs=6, seed=20)
    space = NodeSpace(radius=0.4, readout_radius=0.3, num_windows=2)
    step = PolyStep(network, space, Softmax(eps=0.7), CrossEntropy(0.5), compile=compile, rate_target=RateTarget(price=PRICE))
    result = step.step(inputs, target)
    probes = step._probes(12, 0.0, network.layers())
    naive = naive_nodes.gradients(network, inputs, target, probes, CrossEntropy(0.5), Softmax(), 0.7, price=PRICE / 12)
    for linear, (weight, bias) in zip(network.linears, naive, strict=True):
        torch.testing.assert_close(linear.weight.grad, weight, rtol=0, atol=1e-9)
        torch.testing.assert_close(linear.bias.grad, bias, rtol=0, atol=1e-9)
    assert result.loss == pytest.approx(CrossEntropy(0.5)(naive_nodes.forward(network, inputs).T, target).mean().item(), abs=1e-12)


# Of all ways of the loops, those whose last hidden layer's spikes are counted.
WAYS = (
    "membrane",
    "windows and subsets",
    "deep",
    "deep counts",
    "chained",
    "chained counts",
    "maps",
    "maps chained",
    "chip",
    "chip chained",
)
MEMORY = ("recurrent", "recurrent subsets", "recurrent without its price", "chip recurrent counts", "delayed, recurrent, counts")


@pytest.mark.parametrize("rate_target", [RateTarget(price=3.0), RateTarget(0.1, 5.0, 2.0)], ids=["price", "both"])
@pytest.mark.parametrize("name", [*WAYS, *MEMORY])
def test_loops_compute_what_torch_does(name, rate_target):
    inputs, target = test_loops.batch(36 if name.startswith("maps") or name == "chip chained" else 12, 20)
    test_loops.assert_same(test_loops.both_ways(name, inputs, target, {"rate_target": rate_target}))


@pytest.mark.parametrize("credit", ["exact", "chained"])
def test_dear_spikes_become_few(credit):
    """In both hidden layers, while what tells classes apart is still learnt."""
    generator = torch.Generator().manual_seed(0)
    inputs, target = (torch.rand(12, 90, 12, generator=generator) < 0.2).float(), torch.arange(90) % 3
    for k in range(3):
        inputs[:, target == k, 4 * k : 4 * k + 4] = (torch.rand(12, 30, 4, generator=generator) < 0.6).float()
    rates, accuracies = [], []
    for price in (0.0, 0.01):
        network = SpikingNetwork([12, 20, 20, 3], LIFParameters(v_th=0.5), generator=torch.Generator().manual_seed(1))
        method = PolyStep(network, NodeSpace(0.5, credit=credit), compile=False, rate_target=RateTarget(price=price))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(60):
            result = method.step(inputs, target)
            optimizer.step()
        rates.append([layer.mean().item() for layer in result.rates])
        accuracies.append(float(result.accuracy))
    assert all(0 < priced < 0.6 * free for free, priced in zip(*rates, strict=True)), rates
    assert min(accuracies) > 0.9


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_is_a_number_from_0_on(price):
    with pytest.raises(InputError, match="the price of spikes is"):
        RateTarget(price=price)


def test_a_leaky_readout_counts_no_spikes():
    with pytest.raises(InputError, match=r"firing rates have a cost, but before a readout that keeps 0\.8 of its membrane"):
        PolyStep(make_network(SIZES[1], LIF, MembraneReadout(0.8), 0), rate_target=RateTarget(price=1.0))
