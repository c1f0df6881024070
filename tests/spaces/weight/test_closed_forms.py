"""Steps in weight space on a point, where they have closed forms."""

import pytest
import torch
from torch import nn

from polystep_snn import Schedule, Softmax
from polystep_snn.polystep.relative import Relative
from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.step import WeightStep
from polystep_snn.spaces.weight.subspaces import AdaptiveLowRank, FullSpace, HybridLowRank, SparseProjection
from tests.spaces.weight.modules import Point, full

MINIMUM = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)


def quadratic(x, _):
    return 1.5 * (x - MINIMUM).square().sum() + 7.0


def step_on_quadratic(space, transport, progress=0.0):
    module = Point(0.0, 0.0, 0.0, 0.0)
    WeightStep(module, quadratic, space, transport).step(None, None, progress)
    return -module.x.grad


def test_one_dimension_is_a_hyperbolic_tangent():
    """Costs at the two vertices differ by 2 r g, g the slope: d = -tanh(r g / eps)."""
    slope = -3.0 * MINIMUM
    moved = step_on_quadratic(full(particle_dim=1, radius=0.2), Softmax(eps=0.7))
    torch.testing.assert_close(moved, -torch.tanh(0.2 * slope / 0.7), rtol=0, atol=1e-12)


def test_two_dimensions_share_their_weight():
    """d_i = -sinh(r g_i / eps) / sum_k cosh(r g_k / eps) over the coordinates of a particle."""
    slope = (-3.0 * MINIMUM * 0.2 / 0.7).view(2, 2)
    module = Point(0.0, 0.0, 0.0, 0.0)
    module.x = nn.Parameter(module.x.detach().view(2, 2))
    space = full(particle_dim=2, radius=0.2)
    WeightStep(module, lambda x, _: quadratic(x.view(-1), None), space, Softmax(eps=0.7)).step(None)
    torch.testing.assert_close(-module.x.grad, -slope.sinh() / slope.cosh().sum(1, keepdim=True), rtol=0, atol=1e-12)


def test_large_eps_follows_the_gradient_in_every_space():
    """The linear limit: d = -(r / (p eps)) times the slope along each direction, projected back; rotations drop out."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(6, 8, dtype=torch.float64, generator=generator)
    for subspace in (FullSpace(), HybridLowRank(4), AdaptiveLowRank(4), SparseProjection(4)):
        module = nn.Linear(8, 6, bias=False).double()
        step = WeightStep(module, lambda out, t: (out.T - t).square().sum(), WeightSpace(0.1, subspace), Softmax(eps=1e6))
        before = module.weight.detach().clone()
        step.step(torch.eye(8, dtype=torch.float64), target)
        part = step._parts["weight"][1]
        directions = part.directions(0, part.size).view(part.size, -1)
        slope = 2 * (before - target).view(-1)
        expected = (0.1 / (2 * 1e6)) * (directions.T @ (directions @ slope))
        torch.testing.assert_close(module.weight.grad.view(-1), expected, rtol=1e-4, atol=0)


def test_several_radii_and_their_schedules_keep_the_scale():
    """Displacements are in units of the mean radius, so that a falling radius alone does not slow the run."""
    steep = Relative(Softmax(eps=1e-3))
    for radius in (0.5, 0.01, Schedule(1.0, 0.01), (0.1, 0.1)):
        moved = step_on_quadratic(full(particle_dim=1, radius=radius), steep, progress=0.5)
        torch.testing.assert_close(moved[:3], torch.sign(MINIMUM)[:3], rtol=0, atol=1e-9)
        assert abs(moved[3]) < 1e-9
    # Two shells of one particle: all weight goes to the outer one, 4/3 of the mean radius.
    moved = step_on_quadratic(full(particle_dim=1, radius=(0.05, 0.1)), Softmax(eps=1e-3))
    torch.testing.assert_close(moved[:3], torch.sign(MINIMUM)[:3] * 4 / 3, rtol=0, atol=1e-9)
    scheduled = step_on_quadratic(full(particle_dim=1, radius=Schedule(0.2, 0.6)), Softmax(eps=Schedule(1.0, 0.4)), progress=0.5)
    assert torch.equal(scheduled, step_on_quadratic(full(particle_dim=1, radius=0.4), Softmax(eps=0.7)))


@pytest.mark.parametrize("polytope", ["orthoplex", "simplex", "cube"])
def test_the_paper_step_reaches_the_minimum(polytope):
    """SGD with the radius as learning rate moves to the barycenter itself."""
    module = Point(0.0, 0.0, 0.0, 0.0)
    step = WeightStep(module, quadratic, WeightSpace(Schedule(1.0, 1e-3, "geometric"), FullSpace(), polytope=polytope))
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    for k in range(150):
        progress = k / 150
        step.step(None, None, progress)
        optimizer.param_groups[0]["lr"] = step.space.radius(progress)
        optimizer.step()
    torch.testing.assert_close(module.x.detach(), MINIMUM, rtol=0, atol=5e-3)


def test_relative_costs_know_no_scale():
    costs = torch.rand(4, 9, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = Relative(Softmax())(costs, 0.5)
    torch.testing.assert_close(Relative(Softmax())(1e6 * costs - 1e8, 0.5), weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(Relative(Softmax())(torch.ones(4, 9, 1), 0.5), torch.full((4, 9, 1), 0.25))
    spread = (costs - costs.mean(0)).square().mean().sqrt()
    torch.testing.assert_close(weights, torch.softmax(-costs / (0.5 * spread), 0))
