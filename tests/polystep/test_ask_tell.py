"""Ask/tell: convergence on the usual functions, what it promises, and what it refuses."""

import math
from itertools import pairwise

import pytest
import torch

from polystep_snn import Greedy
from polystep_snn.errors import InputError
from polystep_snn.polystep.ask_tell import PolyStepES, minimize, search
from polystep_snn.polystep.budget import Budget


def sphere(x):
    return x.square().sum(-1)


def rosenbrock(x):
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


def rastrigin(x):
    return 10 * x.shape[-1] + (x.square() - 10 * torch.cos(2 * math.pi * x)).sum(-1)


def ackley(x):
    waves = torch.exp(torch.cos(2 * math.pi * x).mean(-1))
    return -20 * torch.exp(-0.2 * x.square().mean(-1).sqrt()) - waves + 20 + math.e


def ellipsoid(x):
    """Second derivatives from 2 to 20,000."""
    return (torch.logspace(0, 4, x.shape[-1], dtype=x.dtype) * x.square()).sum(-1)


def median(f, dim, budget, seeds=9, **options):
    """Of the cheapest candidates, from starting points in [-2, 2]."""
    found = []
    for seed in range(seeds):
        x0 = 4 * torch.rand(dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1000 + seed)) - 2
        found.append(minimize(f, x0, budget, seed=seed, **options).best_cost)
    return sorted(found)[seeds // 2]


# The third number is the median of the published package (PolyStepES of polystep 1.1.0, the better one of its defaults and of
# epsilon = 0.1, step_radius = 0.3) at the same budget, from the same points.
@pytest.mark.parametrize(
    ("f", "dim", "budget", "published", "limit"),
    [
        (sphere, 2, 2000, 2.4e-3, 1e-9),
        (rosenbrock, 2, 2000, 1.0e-2, 1e-1),
        (rastrigin, 2, 2000, 1.6e-1, 1e-2),
        (ackley, 2, 2000, 3.0e-1, 1e-4),
        pytest.param(sphere, 10, 20_000, 2.2e-2, 1e-9, marks=pytest.mark.slow),
        pytest.param(rosenbrock, 10, 20_000, 7.1, 1.0, marks=pytest.mark.slow),
        pytest.param(rastrigin, 10, 20_000, 15.4, 12.0, marks=pytest.mark.slow),
        pytest.param(ackley, 10, 20_000, 3.4, 1e-4, marks=pytest.mark.slow),
    ],
)
def test_usual_functions(f, dim, budget, published, limit):
    found = median(f, dim, budget)
    assert found <= limit
    assert found <= published


@pytest.mark.parametrize("polytope", ["orthoplex", "simplex", "cube"])
def test_every_polytope_converges(polytope):
    assert median(sphere, 4, 4000, seeds=5, polytope=polytope) < 1e-6


def test_the_scale_of_the_function_means_nothing():
    x0 = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    a, b = (minimize(lambda x, s=s: s * sphere(x), x0, 600) for s in (1.0, 2.0**30))
    torch.testing.assert_close(a.x, b.x, rtol=0, atol=1e-12)


def test_a_step_is_the_barycenter():
    """With all mass on the cheapest vertex the mean moves to it."""
    optimizer = PolyStepES(torch.ones(3), radius=0.25, transport=Greedy(), adaptation=0.0)
    candidates = optimizer.ask()
    assert candidates.shape == (6, 3)
    torch.testing.assert_close((candidates - 1).norm(dim=1), torch.full((6,), 0.25))
    costs = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.6])
    optimizer.tell(costs)
    torch.testing.assert_close(optimizer.mean, candidates[1])
    assert torch.equal(optimizer.best, candidates[1])
    assert optimizer.best_cost == 1.0
    assert optimizer.radius == 0.25


def test_the_polytope_becomes_flat_where_the_valley_is():
    """A step by hand, then a whole search."""
    optimizer = PolyStepES(torch.zeros(2, dtype=torch.float64), radius=1.0, transport=Greedy(), covariance=0.4)
    candidates = optimizer.ask()
    costs = torch.arange(4.0)
    optimizer.tell(costs)
    reach = (2 * candidates[0].square() - 1).clamp(max=1)
    torch.testing.assert_close(optimizer.scale, torch.exp(0.2 * (reach - reach.mean())))
    optimizer = PolyStepES(torch.tensor([1.0, 1.0], dtype=torch.float64))
    for _ in range(60):
        optimizer.tell(ellipsoid(optimizer.ask()))
    assert 20 < optimizer.scale[0] / optimizer.scale[1] < 500  # a valley 100 times as long as wide
    torch.testing.assert_close(optimizer.scale.prod().item(), 1.0)


def test_what_a_diagonal_covariance_is_good_for():
    assert median(ellipsoid, 4, 3000, seeds=5) < 1e-6
    assert median(ellipsoid, 4, 3000, seeds=5, covariance=0.0) > 1e-2


def test_a_coordinate_that_means_nothing_does_not_grow_without_end():
    optimizer = PolyStepES(torch.tensor([1.0, 1.0]), covariance=1.0)
    for _ in range(300):
        optimizer.tell(optimizer.ask()[:, 0].square())
    assert optimizer.scale.isfinite().all()
    assert optimizer.mean.isfinite().all()
    assert optimizer.best[0].abs() < 1e-3


def test_the_radius_follows_the_path():
    """On a slope it grows; on the floor of a bowl it shrinks."""
    optimizer = PolyStepES(torch.zeros(5), radius=0.1)
    for _ in range(30):
        optimizer.tell(optimizer.ask() @ torch.ones(5))
    assert optimizer.radius > 1.0
    optimizer = PolyStepES(torch.full((5,), 1e-3, dtype=torch.float64), radius=0.1)
    for _ in range(30):
        optimizer.tell(sphere(optimizer.ask()))
    assert optimizer.radius < 0.05


def test_a_search_that_rests_begins_again_at_the_best():
    optimizer = PolyStepES(torch.tensor([0.3, 0.4], dtype=torch.float64), radius=0.5)
    radii = []
    for _ in range(400):
        optimizer.tell(sphere(optimizer.ask()))
        radii.append(optimizer.radius)
    jumps = [after for before, after in pairwise(radii) if after > 100 * before]
    assert jumps[:2] == [1.0, 2.0]


def test_plateaus_are_left():
    """Nothing moves where all costs are equal, but the radius grows until something can be told apart, and not without end."""
    optimizer = PolyStepES(torch.tensor([0.5, 2.0]), radius=0.1)
    for _ in range(100):
        optimizer.tell(torch.full((len(optimizer.ask()),), 5.0))
    torch.testing.assert_close(optimizer.mean, torch.tensor([0.5, 2.0]))
    assert 1.6 <= optimizer.radius < 2.2
    found = minimize(lambda x: torch.floor(x.abs()).sum(-1), torch.tensor([3.4, -2.5]), 400, radius=0.05)
    assert found.best_cost == 0


def test_seeds_decide_the_run():
    x0 = torch.ones(4)
    a, b, c = (minimize(rosenbrock, x0, 200, seed=seed).x for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_candidates_handed_out_are_the_users_to_change():
    optimizer = PolyStepES(torch.ones(3, dtype=torch.float64))
    other = PolyStepES(torch.ones(3, dtype=torch.float64))
    for es in (optimizer, other):
        candidates = es.ask()
        costs = sphere(candidates)
        if es is other:
            candidates.zero_()
        es.tell(costs)
    assert torch.equal(optimizer.mean, other.mean)
    assert torch.equal(optimizer.best, other.best)


def test_budgets():
    budget = Budget(50)
    found = minimize(sphere, torch.ones(2), budget)
    assert found.evaluations == budget.spent == 48
    assert budget.left == 2
    assert budget.progress == 0.96
    # Nothing is left for another generation: the point is where it began.
    again = search(PolyStepES(torch.ones(2)), sphere, budget)
    assert again.evaluations == 0
    assert torch.equal(again.x, torch.ones(2))
    assert again.best_cost == math.inf


def asked(dim=3):
    optimizer = PolyStepES(torch.zeros(dim))
    optimizer.ask()
    return optimizer


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: PolyStepES(torch.zeros(3)).tell(torch.zeros(6)), r"tell\(\) was called before ask\(\)"),
        (lambda: asked().ask(), r"ask\(\) was called twice"),
        (lambda: asked().tell(torch.zeros(5)), r"shape \[5\]: give \[6\]"),
        (lambda: asked().tell(torch.zeros(6, 1)), r"shape \[6, 1\]"),
        (lambda: asked().tell([1.0, 2, 3, float("nan"), 5, float("inf")]), "2 of 6 costs are NaN or infinite"),
        (lambda: PolyStepES(torch.zeros(2, 3)), r"x0 is torch.float32 \[2, 3\]"),
        (lambda: PolyStepES(torch.zeros(3, dtype=torch.int64)), "int64"),
        (lambda: PolyStepES([0.0, 1.0]), "x0 is list"),
        (lambda: PolyStepES(torch.zeros(0)), r"\[0\]"),
        (lambda: PolyStepES(torch.tensor([0.0, torch.nan])), "x0 contains NaN"),
        (lambda: PolyStepES(torch.zeros(3), radius=0.0), "radius is 0"),
        (lambda: PolyStepES(torch.zeros(3), adaptation=-1.0), "adaptation -1"),
        (lambda: PolyStepES(torch.zeros(30), polytope="cube"), "2\\^30 vertices"),
        (lambda: minimize(sphere, torch.zeros(10), 19), "a step takes 20 evaluations, but the budget is 19"),
        (lambda: minimize(lambda x: x, torch.zeros(3), 100), r"shape \[6, 3\]"),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message):
        run()


def test_a_refused_answer_can_be_given_again():
    optimizer = asked()
    with pytest.raises(InputError):
        optimizer.tell(torch.full((6,), torch.nan))
    optimizer.tell(torch.arange(6.0))
    assert optimizer.best_cost == 0
