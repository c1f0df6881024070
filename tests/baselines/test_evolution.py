"""Evolution strategies: one set of tests for all, and what each computes, by hand."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from polystep_snn.baselines.evolution import CMAES, EGGROLL, SPSA, OpenAIES, centred_ranks
from polystep_snn.baselines.objective import ModuleObjective
from polystep_snn.errors import InputError
from polystep_snn.polystep.ask_tell import PolyStepES, search
from polystep_snn.polystep.budget import Budget
from tests.polystep.test_ask_tell import sphere

METHODS = {
    "openai_es": lambda x, seed=0: OpenAIES(x, sigma=0.1, lr=0.1, popsize=20, seed=seed),
    "eggroll": lambda x, seed=0: EGGROLL(x, [(2, 3), (2,)], sigma=0.1, lr=0.1, popsize=20, seed=seed),
    "spsa": lambda x, seed=0: SPSA(x, a=0.5, c=0.1, stability=10, seed=seed),
    "cma_es": lambda x, seed=0: CMAES(x, sigma=0.3, seed=seed),
    "polystep": lambda x, seed=0: PolyStepES(x, seed=seed),
}


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
class TestEveryMethod:
    def test_it_converges(self, make):
        x0 = torch.linspace(-1, 1, 8, dtype=torch.float64) + 1
        found = search(make(x0), sphere, Budget(8000))
        assert sphere(found.x) < 0.05 * sphere(x0)
        assert found.best_cost <= sphere(x0)
        assert sphere(found.best) == found.best_cost

    def test_the_budget_is_kept(self, make):
        optimizer = make(torch.ones(8))
        seen = []

        def f(x):
            seen.append(len(x))
            return sphere(x)

        budget = Budget(101)
        found = search(optimizer, f, budget)
        assert sum(seen) == found.evaluations == budget.spent <= 101
        assert 101 - budget.spent < optimizer.popsize
        assert set(seen) == {optimizer.popsize}
        with pytest.raises(InputError, match="but the budget is 1:"):
            search(make(torch.ones(8)), f, Budget(1))

    def test_seeds_decide_the_run(self, make):
        a, b, c = (search(make(torch.ones(8), seed), sphere, Budget(100)).x for seed in (1, 1, 2))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)

    def test_dtype_and_shape(self, make):
        for dtype in (torch.float32, torch.float64):
            optimizer = make(torch.ones(8, dtype=dtype))
            candidates = optimizer.ask()
            assert candidates.shape == (optimizer.popsize, 8)
            assert candidates.dtype == optimizer.mean.dtype == dtype
            optimizer.tell(sphere(candidates))
            assert optimizer.mean.dtype == dtype

    def answers_to_test_part_are_checked(self, make):
        optimizer = make(torch.ones(8))
        with pytest.raises(InputError, match="before ask"):
            optimizer.tell(torch.zeros(optimizer.popsize))
        optimizer.ask()
        with pytest.raises(InputError, match="shape"):
            optimizer.tell(torch.zeros(optimizer.popsize + 1))
        with pytest.raises(InputError, match="NaN"):
            optimizer.tell(torch.full((optimizer.popsize,), torch.nan))


def test_ranks():
    assert centred_ranks(torch.tensor([3.0, 1.0, 2.0])).tolist() == [0.5, -0.5, 0.0]
    assert centred_ranks(torch.tensor([7.0, 7.0, 7.0])).tolist() == [0, 0, 0]
    assert centred_ranks(torch.tensor([1.0, 2.0, 2.0, 3.0, 4.0])).tolist() == pytest.approx([-0.5, -0.125, -0.125, 0.25, 0.5])


def test_openai_es_by_hand():
    """One pair: the mean moves along the cheaper one's noise, by lr / (2 sigma) times a difference of ranks of 1."""
    optimizer = OpenAIES(torch.zeros(2, dtype=torch.float64), sigma=0.5, lr=0.2, popsize=2)
    plus, minus = optimizer.ask()
    assert torch.equal(plus, -minus)
    optimizer.tell(torch.tensor([4.0, 9.0]))
    torch.testing.assert_close(optimizer.mean, 0.2 / (2 * 0.5) * plus / 0.5)


def test_spsa_by_hand():
    optimizer = SPSA(torch.zeros(3, dtype=torch.float64), a=0.3, c=0.2, stability=4)
    plus, minus = optimizer.ask()
    assert plus.abs().tolist() == [0.2] * 3
    assert torch.equal(plus, -minus)
    optimizer.tell(torch.tensor([5.0, 1.0]))
    torch.testing.assert_close(optimizer.mean, -0.3 / 5**0.602 * (5.0 - 1.0) / (2 * plus))
    plus, minus = optimizer.ask()
    torch.testing.assert_close((plus - minus).abs() / 2, torch.full((3,), 0.2 / 2**0.101).double())


def test_eggroll_moves_matrices_by_low_rank():
    shapes = [(5, 4), (3,)]
    optimizer = EGGROLL(torch.zeros(23, dtype=torch.float64), shapes, rank=2, popsize=4000, sigma=1.0)
    noise = optimizer.ask()[:2000]
    assert torch.linalg.matrix_rank(noise[:, :20].view(-1, 5, 4)[:10]).tolist() == [2] * 10
    # Unit variance everywhere, and nothing correlated: the same size of step as full noise.
    torch.testing.assert_close(noise.T @ noise / 2000, torch.eye(23).double(), rtol=0, atol=0.2)


def test_cma_es_is_pycma():
    cma = pytest.importorskip("cma")
    x0 = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    ours = CMAES(x0, sigma=0.4, popsize=7, seed=5)
    ours.tell(sphere(ours.ask()))
    assert np.random.rand() == expected  # noqa: NPY002  (numpy's global generator is somebody else's)
    ours = CMAES(x0, sigma=0.4, popsize=7, seed=5)
    theirs = cma.CMAEvolutionStrategy(x0.tolist(), 0.4, {"seed": 5, "verbose": -9, "popsize": 7, "CMA_diagonal": False})
    for _ in range(10):
        candidates, solutions = ours.ask(), theirs.ask()
        torch.testing.assert_close(candidates, torch.stack([torch.as_tensor(s) for s in solutions]))
        ours.tell(sphere(candidates))
        theirs.tell(solutions, [float(sphere(torch.as_tensor(s))) for s in solutions])
    torch.testing.assert_close(ours.mean, torch.as_tensor(theirs.result.xfavorite))


def test_cma_es_begins_again():
    """pycma stops long before 20,000 evaluations in two dimensions: the budget is used up all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = search(CMAES(torch.ones(2, dtype=torch.float64)), sphere, Budget(6000))
    assert found.evaluations > 5990
    assert found.best_cost < 1e-12


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def test_modules_as_vectors():
    module = classifier()
    x, y = torch.randn(20, 4), torch.randint(3, (20,))
    objective = ModuleObjective(module, nn.CrossEntropyLoss(), at_once=3)
    start = objective.vector()
    vectors = start + 0.1 * torch.randn(7, len(start))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    costs = objective.on(x, y)(vectors)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    for vector, cost in zip(vectors, costs, strict=True):
        objective.load(vector)
        assert torch.equal(objective.vector(), vector)
        torch.testing.assert_close(nn.functional.cross_entropy(module(x), y).detach(), cost)
    assert objective.shapes == [(5, 4), (5,), (5,), (5,), (3, 5), (3,)]


def test_some_parameters_of_a_module():
    module = classifier()
    objective = ModuleObjective(module, nn.CrossEntropyLoss(), ["3.*"])
    assert objective.shapes == [(3, 5), (3,)]
    first = module[0].weight.detach().clone()
    objective.load(torch.zeros(18))
    assert torch.equal(module[0].weight, first)
    assert module[3].weight.abs().sum() == 0


def test_a_module_learns_through_a_vector():
    module = nn.Sequential(nn.Linear(4, 3))
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(3, (60,), generator=generator)
    x = torch.randn(60, 4, generator=generator) + 3 * nn.functional.one_hot(y, 4)
    objective = ModuleObjective(module, nn.CrossEntropyLoss())
    optimizer = EGGROLL(objective.vector(), objective.shapes, lr=0.3, sigma=0.1, popsize=30)
    found = search(optimizer, objective.on(x, y), Budget(3000))
    objective.load(found.x)
    assert (module(x).argmax(1) == y).float().mean() > 0.9


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: OpenAIES(torch.zeros(3), popsize=3), "popsize is 3"),
        (lambda: OpenAIES(torch.zeros(3), sigma=0.0), "sigma is 0"),
        (lambda: OpenAIES(torch.zeros(3), lr=-1.0), "lr is -1"),
        (lambda: EGGROLL(torch.zeros(5), [(2, 3)]), r"shapes \[\[2, 3\]\] do not add up to 5"),
        (lambda: EGGROLL(torch.zeros(6), [(2, 3)], rank=0), "rank is 0"),
        (lambda: SPSA(torch.zeros(3), c=0.0), "c is 0"),
        (lambda: SPSA(torch.zeros(3), stability=-1.0), "stability is -1"),
        (lambda: CMAES(torch.zeros(1)), "at least two dimensions"),
        (lambda: CMAES(torch.zeros(3), sigma=float("inf")), "sigma is inf"),
        (lambda: ModuleObjective(nn.ReLU(), nn.CrossEntropyLoss()), "no floating-point parameters"),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message):
        run()
