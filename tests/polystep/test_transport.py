"""Polytopes, transport weights and schedules against definitions and independent solvers."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

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


def exact_plan(cost, eps, both=False):
    """Softmax, or Sinkhorn with both marginals, in decimal arithmetic of 60 digits: straight from the definition, since exponents of
    any size fit. ``cost``: ``[V, P]``; infinite costs have no mass.
    """
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -(10**17), 10**17
        values = [[float(c) for c in row] for row in cost]
        kernel = [[Decimal(0) if math.isinf(c) else (-Decimal(c) / Decimal(eps)).exp() for c in row] for row in values]
        vertices, particles = range(len(values)), range(len(values[0]))
        u = [Decimal(1)] * len(values)
        change = Decimal(both)
        while change > Decimal("1e-12"):
            v = [1 / sum(u[i] * kernel[i][j] for i in vertices) for j in particles]
            missing = [Decimal(len(particles)) / len(vertices) / sum(u[i] * kernel[i][j] * v[j] for j in particles) for i in vertices]
            u = [u[i] * missing[i] for i in vertices]
            change = max(abs(m - 1) for m in missing)
        v = [1 / sum(u[i] * kernel[i][j] for i in vertices) for j in particles]
        return np.array([[float(u[i] * kernel[i][j] * v[j]) for j in particles] for i in vertices])


def hard_costs(name):
    cost = random_costs((3, 4), seed=7)
    if name == "offset of 1e8":
        # Another one for every particle, and differences of order 1 that float64 still holds there to eight digits.
        cost = cost + 1e8 * torch.tensor([1.0, -1.0, 0.5, 0.0], dtype=torch.float64)
    if name == "zero mass":
        cost[0, :2] = math.inf
        cost[2, 3] = 1e7  # not infinite, and yet no number that float64 has is as small as its weight
    return cost


@pytest.mark.parametrize("eps", [1.0, 0.02, 1e-3])
@pytest.mark.parametrize("case", ["plain", "offset of 1e8", "zero mass"])
@pytest.mark.parametrize("both", [False, True], ids=["softmax", "sinkhorn"])
def test_plans_are_those_of_exact_arithmetic(both, case, eps):
    cost = hard_costs(case)
    solver = Sinkhorn(max_iterations=200_000, tolerance=1e-10) if both else Softmax()
    plan = solver(cost, eps)
    np.testing.assert_allclose(plan.numpy(), exact_plan(cost, eps, both), rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.sum(0), torch.ones(4).double())
    if both:
        torch.testing.assert_close(plan.sum(1), torch.full((3,), 4 / 3).double(), rtol=0, atol=1e-6)
    if case == "zero mass":
        assert plan[0, :2].tolist() == [0.0, 0.0]
        assert plan[2, 3] == 0


def test_sinkhorn_at_tiny_eps_is_the_cheapest_assignment():
    """Entropy vanishes: the plan of a linear program, found by another solver."""
    cost = random_costs((3, 8), seed=2)
    rows, columns = np.kron(np.eye(3), np.ones(8)), np.kron(np.ones(3), np.eye(8))
    found = linprog(cost.numpy().ravel(), A_eq=np.vstack([rows, columns]), b_eq=[8 / 3] * 3 + [1.0] * 8)
    plan = Sinkhorn(max_iterations=100_000, tolerance=1e-9)(cost, 2e-3)
    np.testing.assert_allclose(plan.numpy(), found.x.reshape(3, 8), rtol=0, atol=1e-6)


def test_equal_costs_share_at_any_eps():
    for eps in (1e-30, 1.0, 1e30):
        for transport in (Softmax(), Sinkhorn()):
            weights = transport(torch.full((4, 3), 1e8, dtype=torch.float64), eps)
            torch.testing.assert_close(weights, torch.full_like(weights, 0.25), rtol=0, atol=1e-12)


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
