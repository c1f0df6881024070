"""Credit that is handed on from layer to layer: its costs against their definition, and what it is good for.

Every neuron, readout and depth: with the exact costs, in ``test_one_pass.py``.
"""

from functools import partial

import pytest
import torch

from polystep_snn import (
    CrossEntropy,
    CubaParameters,
    DirectCurrent,
    LIFParameters,
    MembraneReadout,
    NodeSpace,
    PolyStep,
    Softmax,
    SpikingNetwork,
)
from polystep_snn.engine.compiled import Kernels
from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, SumPool
from polystep_snn.polystep.polytope import vertices, with_radii
from polystep_snn.snn.wiring import wirings_of
from polystep_snn.spaces.node.chained import fit
from polystep_snn.spaces.node.costs import node_costs
from tests.snn.test_frames import events_of
from tests.spaces.node.test_one_pass import LIF, SIZES, assert_equal_costs, make_batch, make_network, make_probes

EAGER = Kernels(compile=False)


assert_chained = partial(assert_equal_costs, chained=True)


@pytest.mark.parametrize(("windows", "kind"), [(3, "orthoplex"), (3, "simplex"), (2, "cube"), (5, "orthoplex"), (1, "orthoplex")])
@pytest.mark.parametrize("num_probed", [None, 2])
def test_windows_polytopes_and_subsets(windows, kind, num_probed):
    network = make_network(SIZES[3], LIF, MembraneReadout(), seed=2)
    inputs, target = make_batch(num_steps=10, num_inputs=6, seed=2)
    assert_chained(network, inputs, target, make_probes(network, 10, windows, kind, (0.2, 0.9), num_probed))


@pytest.mark.parametrize("architecture", [[(2, 6, 6), Conv(3, 3, 1, 1), SumPool(2), Conv(2, 2), 3], [(1, 7, 7), Conv(2, 3, 2), 5, 3]])
def test_convolutions(architecture):
    network = make_network(architecture, LIF, MembraneReadout(), seed=4, gain=2.0)
    inputs, target = make_batch(8, network.sizes[0], seed=4, batch=3)
    assert_chained(network, inputs, target, make_probes(network, 8, 2))


def test_events_and_constant_currents():
    network = make_network(SIZES[2], LIF, MembraneReadout(), seed=3)
    inputs, target = make_batch(19, 6, seed=3)
    probes = make_probes(network, 19, 4)
    assert_chained(network, inputs, target, probes, frames=events_of(inputs))
    image = torch.rand(7, 6, generator=torch.Generator().manual_seed(3)).double()
    assert_chained(network, image.expand(19, 7, 6), target, probes, frames=DirectCurrent(19)(image))


@pytest.mark.parametrize("windows", [[[1.0, 1.0], [0.5, 1.0], [0.0, 2.0]], [[4.0, 4.0], [4.0, 4.0], [0.0, 0.0]]])
def test_windows_that_overlap(windows):
    network = make_network(SIZES[2], LIF, MembraneReadout(), seed=3)
    inputs, target = make_batch(12, 6, seed=3)
    shared = torch.tensor(windows, dtype=torch.float64).repeat_interleave(4, 0)
    probes = [p._replace(windows=shared) for p in make_probes(network, 12, 2)[:-1]]
    assert_chained(network, inputs, target, [*probes, make_probes(network, 12)[-1]])


def test_one_hidden_layer_is_followed_exactly():
    network = make_network(SIZES[1], LIF, MembraneReadout(), seed=1)
    inputs, target = make_batch(19, 6, seed=1)
    probes = make_probes(network, 19, 2)
    exact, chained = (node_costs(network, inputs, target, probes, CrossEntropy(), EAGER, chained=c) for c in (False, True))
    assert all(torch.equal(a.cost, b.cost) for a, b in zip(exact.layers, chained.layers, strict=True))


def test_slopes_of_what_is_affine_are_exact():
    for kind, radii in (("orthoplex", (1.0,)), ("simplex", (0.5, 2.0)), ("cube", (0.3,))):
        points = with_radii(vertices(kind, 3), radii).double()
        slope = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-0.25, 3.0]], dtype=torch.float64)
        torch.testing.assert_close(fit(points) @ (7.0 + points @ slope), slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("architecture", [[(2, 6, 6), SumPool(2), Conv(4, 2, 1, 1), 3], [(1, 9, 9), Conv(2, 3, 2, 1), 3], [5, 4, 3]])
def test_the_transpose_of_a_wiring(architecture):
    for wiring in wirings_of(architecture):
        weight = torch.randn(wiring.weight_shape, dtype=torch.float64)
        x, y = (torch.randn(2, n, dtype=torch.float64) for n in (wiring.num_inputs, wiring.num_neurons))
        torch.testing.assert_close((wiring.multiply(weight, x) * y).sum(), (x * wiring.transposed(weight, y)).sum())


@pytest.mark.parametrize("kind", ["lif", "loihi"])
def test_gradients_point_where_exact_ones_do(kind):
    network = make_network([6, 40, 40, 3], LIF, MembraneReadout(), seed=5, gain=1.0)
    inputs, target = make_batch(12, 6, seed=5, batch=1000)
    if kind == "loihi":
        network = SpikingNetwork([6, 40, 40, 3], CubaParameters.from_beta(0.9), generator=torch.Generator().manual_seed(5), weight_bits=8)
        for weight in network.weights:
            weight.mul_(2.0)
        inputs = inputs.float()
    found = []
    for credit in ("exact", "chained"):
        PolyStep(network, NodeSpace(0.4, num_windows=4, credit=credit), compile=False).step(inputs, target)
        found.append([p.grad.flatten() for p in network.parameters()])
    cosines = [torch.cosine_similarity(a, b, 0) for a, b in zip(*found, strict=True)]
    assert min(cosines[:2]) > 0.8
    assert min(cosines[2:]) > 1 - 1e-6


@pytest.mark.parametrize("neuron", [LIFParameters.from_beta(0.9), CubaParameters.from_beta(0.9)], ids=["lif", "loihi"])
def test_what_is_chained_learns_alone(neuron):
    """Of three layers only the first moves, whose credit comes through the second."""
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.rand(20, 90, 12, generator=generator) < 0.2).float()
    target = torch.arange(90) % 3
    for k in range(3):
        inputs[:, target == k, 4 * k : 4 * k + 4] = (torch.rand(20, 30, 4, generator=generator) < 0.35).float()
    bits = 8 if isinstance(neuron, CubaParameters) else 32
    network = SpikingNetwork([12, 30, 30, 3], neuron, generator=generator, weight_bits=bits)
    for weight in network.weights:
        weight.mul_(3.0)
    method = PolyStep(network, NodeSpace(0.5, num_windows=4, num_probed=[12, None], credit="chained"), Softmax(0.3), compile=False)
    optimizer = torch.optim.AdamW(network.linears[0].parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        losses.append(float(method.step(inputs, target).loss))
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]


def test_credit_is_exact_or_chained():
    with pytest.raises(InputError, match="credit is 'guessed': choose one of auto, exact, chained"):
        NodeSpace(credit="guessed")
