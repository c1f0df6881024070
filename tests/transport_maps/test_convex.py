"""The potential: its gradient, its curvature, its proximal points, and the gradient of the dual."""

import pytest
import torch

from polystep_snn.transport_maps.convex import ConvexNetwork
from polystep_snn.transport_maps.proximal import solve
from polystep_snn.transport_maps.semi_dual import Batches, dual
from tests.reference import naive_transport_maps

FLOOR = 0.1


@pytest.fixture(params=[(16,), (12, 8), (8, 6, 4)], ids=str)
def potential(request):
    """A network of three labels away from its start, with points and labels, float64."""
    generator = torch.Generator().manual_seed(0)
    network = ConvexNetwork(5, request.param, 3, FLOOR, generator).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        network.output += 2.0
    x, z = (torch.randn(40, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    return network, x, z, torch.arange(40) % 3


def hessians(network, x, labels):
    def one(y, label):
        return network(y[None], label[None])[0]

    return torch.stack([torch.autograd.functional.hessian(lambda y, c=c: one(y, c), y) for y, c in zip(x, labels, strict=True)])


def test_the_value_is_the_formula(potential):
    network, x, _, labels = potential
    expected = []
    for y, c in zip(x, labels.tolist(), strict=True):
        hidden = None
        for k, (inputs, biases) in enumerate(zip(network.inputs, network.biases, strict=True)):
            received = inputs @ y + biases[c]
            if k:
                received = received + torch.log1p(network.hidden[k - 1].exp()) @ hidden
            hidden = torch.log1p(received.exp())
        curved = FLOOR * y @ y + (network.quadratic @ y) @ (network.quadratic @ y)
        expected.append(curved / 2 + network.linear[c] @ y + torch.log1p(network.output.exp()) @ hidden)
    torch.testing.assert_close(network(x, labels), torch.stack(expected))


def test_the_gradient_in_closed_form_is_autograds(potential):
    network, x, _, labels = potential
    torch.testing.assert_close(network.gradient(x, labels), naive_transport_maps.gradient(network, x, labels), rtol=1e-12, atol=1e-12)


def test_curvature_is_above_the_floor_and_found_by_the_power_iteration(potential):
    network, x, _, labels = potential
    values = torch.linalg.eigvalsh(hessians(network, x, labels))
    assert values.min() >= FLOOR
    assert network.largest_curvature(x, labels, 200) == pytest.approx(float(values.max()), rel=1e-6)
    assert network.largest_curvature(x, labels, 5) <= float(values.max()) * (1 + 1e-9)


def test_proximal_points_are_those_of_the_plain_iteration(potential):
    network, _, z, labels = potential
    curvature = network.largest_curvature(z, labels, 100)
    found = solve(network, z, labels, z, curvature, 1e-12, 500)
    assert found.converged.all()
    torch.testing.assert_close(naive_transport_maps.gradient(network, found.points, labels), z, rtol=0, atol=1e-10)
    expected = naive_transport_maps.proximal_point(network, z, labels, 1.5 * curvature, 600)
    torch.testing.assert_close(found.points, expected, rtol=0, atol=1e-6)
    # From where they are nothing is left to do.
    again = solve(network, z, labels, found.points, curvature, 1e-12, 500)
    assert again.iterations.max() == 0
    assert torch.equal(again.points, found.points)


def test_a_curvature_that_is_far_too_small_is_survived(potential):
    network, _, z, labels = potential
    found = solve(network, z, labels, z, 0.01, 1e-10, 2000)
    assert found.converged.all()
    torch.testing.assert_close(network.gradient(found.points, labels), z, rtol=0, atol=1e-8)


def test_points_far_out_are_reached():
    """Where the curvature jumps from 5 to the floor, steps that the last two residuals ask for run to and fro; they end all the same."""
    network = ConvexNetwork(1, (1,), 1, 0.01, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter, value in ((network.quadratic, 0.0), (network.inputs[0], 40.0), (network.biases[0], 0.0), (network.output, -4.0)):
            parameter.fill_(value)
    z = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    labels = torch.zeros(101, dtype=torch.int64)
    found = solve(network, z, labels, z, network.largest_curvature(z, labels, 1), 1e-9, 500)
    assert found.converged.all()
    torch.testing.assert_close(network.gradient(found.points, labels), z, rtol=0, atol=1e-8)


def test_what_has_not_converged_says_so_for_each_point(potential):
    network, _, z, labels = potential
    curvature = network.largest_curvature(z, labels, 100)
    start = solve(network, z, labels, z, curvature, 1e-12, 500).points
    start[20:] = z[20:]
    found = solve(network, z, labels, start, curvature, 1e-10, 1)
    assert found.converged.tolist() == [True] * 20 + [False] * 20
    residual = (network.gradient(found.points, labels) - z).square().mean(1).sqrt()
    torch.testing.assert_close(found.residual, residual)
    assert found.iterations[20:].tolist() == [1] * 20
    assert found.iterations[:20].tolist() == [0] * 20 or found.iterations[:20].max() <= 1


def test_the_gradient_of_the_dual_is_that_through_the_unrolled_iteration(potential):
    """The envelope theorem: holding the proximal point loses nothing."""
    network, x, z, labels = potential
    curvature = 1.5 * network.largest_curvature(z, labels, 100)
    y = solve(network, z, labels, z, curvature, 1e-13, 2000).points
    held = torch.autograd.grad(dual(network, x, z, labels, y), list(network.parameters()))
    unrolled = naive_transport_maps.proximal_point(network, z, labels, curvature, 300)
    through = torch.autograd.grad(naive_transport_maps.dual(network, x, z, labels, unrolled), list(network.parameters()))
    a, b = (torch.cat([part.flatten() for part in parts]) for parts in (held, through))
    assert float(a @ b / (a.norm() * b.norm())) >= 0.999
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_batches_have_the_same_labels_on_both_sides():
    x_labels, z_labels = torch.tensor([0] * 90 + [2] * 10), torch.tensor([2, 0, 1, 0, 2, 2])
    i, j = Batches(x_labels, z_labels, torch.Generator().manual_seed(0)).draw(20_000)
    assert torch.equal(x_labels[i], z_labels[j])
    # As frequent as in the source; within a label every sample of the target alike.
    drawn = torch.bincount(j, minlength=6).double() / len(j)
    torch.testing.assert_close(drawn, torch.tensor([0.1 / 3, 0.45, 0, 0.45, 0.1 / 3, 0.1 / 3]).double(), rtol=0, atol=0.015)
