"""Polytopes, transport weights and schedules against definitions and independent solvers."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from polystep_snn import Greedy, Schedule, Sinkhorn, Softmax
from polystep_snn.errors import InputError
from polystep_snn.polystep.polytope import KINDS, random_rotation, vertices, with_radii
from polystep_snn.polystep.schedule import at


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 2, 3, 6])
def test_polytopes_are_regular(kind, dim):
    points = vertices(kind, dim)
    assert len(points) == {"orthoplex": 2 * dim, "simplex": dim + 1, "cube": 2**dim}[kind]
    torch.testing.assert_close(points.norm(dim=1), torch.ones(len(points)).double())
    torch.testing.assert_close(points.sum(0), torch.zeros(dim).double())
    # Vertices spread evenly: their second moment is the same along every axis.
    torch.testing.assert_close(points.T @ points, len(points) / dim * torch.eye(dim).double())
    distances = torch.cdist(points, points) + 9 * torch.eye(len(points))
    torch.testing.assert_close(distances.min(1).values, distances.min().expand(len(points)))


@pytest.mark.parametrize("kind", KINDS)
def test_one_dimension_is_plus_and_minus_one(kind):
    assert vertices(kind, 1).tolist() == [[1], [-1]]


def test_radii_stack_shells():
    assert with_radii(vertices("cube", 1), [0.5, 2.0]).tolist() == [[0.5], [-0.5], [2], [-2]]


def test_rotations_keep_lengths_and_follow_the_generator():
    a, b = (random_rotation(4, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)
    torch.testing.assert_close(a @ a.T, torch.eye(4).double())


def random_costs(shape=(5, 7), seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("eps", [0.05, 1.0, 30.0])
def test_softmax_minimises_its_objective(eps):
    """An independent solver on the simplex, for one particle."""
    cost = random_costs((5, 1))

    def objective(theta):
        p = np.exp(theta - theta.max())
        p /= p.sum()
        return float(p @ cost[:, 0].numpy() + eps * (p * np.log(p + 1e-300)).sum())

    found = minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-12}).x
    expected = np.exp(found - found.max())
    np.testing.assert_allclose(Softmax()(cost, eps)[:, 0].numpy(), expected / expected.sum(), atol=1e-5)


def plain_sinkhorn(cost, eps, iterations=20_000):
    """The textbook iteration, in the linear domain."""
    kernel = np.exp(-cost / eps)
    row, column = np.full(len(cost), cost.shape[1] / len(cost)), np.ones(cost.shape[1])
    v = np.ones(cost.shape[1])
    for _ in range(iterations):
        u = row / (kernel @ v)
        v = column / (kernel.T @ u)
    return u[:, None] * kernel * v


@pytest.mark.parametrize("eps", [0.2, 1.0, 10.0])
def test_sinkhorn_is_the_textbook_iteration(eps):
    cost = random_costs()
    plan = Sinkhorn(max_iterations=20_000, tolerance=1e-12)(cost, eps)
    np.testing.assert_allclose(plan.numpy(), plain_sinkhorn(cost.numpy(), eps), atol=1e-8)
    torch.testing.assert_close(plan.sum(0), torch.ones(7).double())
    torch.testing.assert_close(plan.sum(1), torch.full((5,), 7 / 5).double())


@pytest.mark.parametrize("transport", [Softmax(), Sinkhorn(), Greedy()], ids=["softmax", "sinkhorn", "greedy"])
def test_promises_of_every_transport(transport):
    cost = random_costs((4, 3, 5))
    weights = transport(cost, 0.5)
    assert weights.shape == cost.shape
    torch.testing.assert_close(weights.sum(0), torch.ones(3, 5).double())
    # A particle's common offset is none of its business, however large: the costs below are exact in float64.
    exact = (cost * 2**20).round() / 2**20
    assert torch.equal(transport(exact + 2.0**27, 0.5), transport(exact, 0.5))
    # Which vertex comes first neither.
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(transport(cost[order], 0.5), weights[order])
    equal = transport(torch.full((4, 3, 5), 7.0).double(), 0.5)
    torch.testing.assert_close(equal, torch.full_like(equal, 0.25))


def test_tiny_eps_is_greedy_and_finite():
    cost = random_costs()
    torch.testing.assert_close(Softmax()(cost, 1e-12), Greedy()(cost, 0.0))
    assert Sinkhorn()(cost, 1e-12).isfinite().all()


def test_schedules():
    assert [Schedule(1.0, 3.0)(f) for f in (0, 0.25, 1)] == [1.0, 1.5, 3.0]
    assert Schedule(1.0, 0.0, "cosine")(0.5) == pytest.approx(0.5)
    assert Schedule(4.0, 1.0, "geometric")(0.5) == pytest.approx(2.0)
    assert [Schedule(1.0, 0.0, until=0.5)(f) for f in (0.25, 0.5, 0.9)] == [0.5, 0.0, 0.0]
    assert at(0.7, 0.3) == 0.7
    assert at(Schedule(0.0, 1.0), 0.3) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vertices("dodecahedron", 3), "choose one of orthoplex"),
        (lambda: vertices("cube", 20), r"2\^20 vertices"),
        (lambda: vertices("simplex", 0), "dimension 0"),
        (lambda: with_radii(vertices("cube", 1), [0.0]), "positive"),
        (lambda: with_radii(vertices("cube", 1), []), "positive"),
        (lambda: Softmax(eps=0.0), "eps is 0"),
        (lambda: Softmax(eps=Schedule(1.0, 0.0)), "eps is"),
        (lambda: Sinkhorn(eps=math.inf), "eps is inf"),
        (lambda: Schedule(1, 2, "square"), "choose one of linear"),
        (lambda: Schedule(0, 1, "geometric"), "both must be positive"),
        (lambda: Schedule(0, 1, until=0), "until is 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
