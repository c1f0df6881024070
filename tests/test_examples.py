"""Examples and benchmarks on problems of their own: exact costs, environments that are gymnasium's, and that they find something."""

import importlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import landscape, max_sat
from polystep_snn.errors import InputError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """Imports a benchmark as a script finds it: beside ``common``."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def unsatisfied(variables, wanted, values):
    return sum(not any(bool(values[v]) == bool(w) for v, w in zip(*clause, strict=True)) for clause in zip(variables, wanted, strict=True))


def flipped(values, k):
    other = values.clone()
    other[k] = ~other[k]
    return other


def test_the_clauses_price_every_variable_exactly():
    formula = max_sat.Formula(40, seed=3)
    assert all(len(set(clause)) == 3 for clause in formula.variables.tolist())
    latent = torch.randn(40, generator=torch.Generator().manual_seed(0))
    latent[7] = 0.0  # on the threshold is false
    batch = formula.batch(latent, None)
    values = latent > 0
    assert batch.loss == unsatisfied(formula.variables, formula.wanted, values)
    found = batch.costs(None, torch.tensor([10.0, -10.0, 1e-3])[:, None, None].expand(3, 40, 1))
    for k in range(40):
        costs = {bool(v[k]): float(unsatisfied(formula.variables, formula.wanted, v)) for v in (values, flipped(values, k))}
        assert found[:, k].tolist() == [costs[True], costs[False], costs[bool(latent[k] + 1e-3 > 0)]]


def test_most_clauses_are_satisfied():
    torch.manual_seed(0)
    formula = max_sat.Formula(1000, seed=5)
    best = max_sat.solve(formula, 1000, steps=300)
    # A random assignment leaves 534 of 4,270, a greedy descent about 100.
    assert unsatisfied(formula.variables.tolist(), formula.wanted.tolist(), best.tolist()) <= 25


def test_the_benchmark_counts_the_same(benchmark_module):
    maxsat = benchmark_module("maxsat")
    literals = maxsat.random_formula(50, seed=1)
    assert literals.shape == (3, 213)
    variables, wanted = literals.T >> 1, (literals.T & 1).astype(bool)
    assert all(len(set(clause)) == 3 for clause in variables.tolist())
    assert 0.4 < wanted.mean() < 0.6
    values = torch.rand(50, generator=torch.Generator().manual_seed(2)) < 0.5
    needed, number = maxsat.needs(literals, values.numpy())
    assert number == unsatisfied(variables, wanted, values)
    for k in range(50):
        change = unsatisfied(variables, wanted, flipped(values, k)) - number
        assert change == (1 - 2 * int(values[k])) * (needed[k, 0] - needed[k, 1])
    found = maxsat.polystep(literals, 50, seed=0, steps=200)
    assert found.unsatisfied == unsatisfied(variables, wanted, found.values) <= 3
    # No flip of one variable makes a descent's assignment better.
    descended = torch.from_numpy(maxsat.greedy(literals, 50, seed=0).values)
    least = unsatisfied(variables, wanted, descended)
    assert all(unsatisfied(variables, wanted, flipped(descended, k)) >= least for k in range(50))
    with pytest.raises(InputError, match="num_variables is 2"):
        maxsat.random_formula(2, seed=0)


@pytest.mark.parametrize("name", ["CartPole", "Acrobot"])
def test_environments_take_the_steps_of_gymnasium(benchmark_module, name):
    gymnasium = pytest.importorskip("gymnasium")
    task = getattr(benchmark_module("policies"), name)
    environment = gymnasium.make(task.name).unwrapped
    random = np.random.default_rng(0)
    ended = 0
    for seed in range(12):
        environment.reset(seed=seed)
        # Acrobot is shaken until it swings: the state is set, so that angles wrap and velocities reach their bounds.
        if name == "Acrobot" and seed % 2:
            environment.state = random.uniform(-1, 1, 4) * [3, 3, 12, 28]
        state = np.asarray(environment.state, dtype=np.float64)[None]
        for _ in range(200):
            action = int(random.integers(task.sizes[2]))
            observation, reward, terminated, _, _ = environment.step(action)
            state, over = task.step(state, np.array([action]))
            np.testing.assert_allclose(state[0], environment.state, rtol=0, atol=0 if name == "CartPole" else 1e-9)
            np.testing.assert_allclose(task.observe(state)[0], observation, rtol=0, atol=2e-6)
            assert over[0] == terminated
            assert reward == (task.point if name == "CartPole" or not terminated else 0)
            ended += terminated
            if terminated:
                break
    assert ended


@pytest.mark.parametrize("weights", ["float", "int8", "binary"])
@pytest.mark.parametrize("name", ["CartPole", "Acrobot"])
def test_returns_are_those_of_gymnasium(benchmark_module, name, weights):
    gymnasium = pytest.importorskip("gymnasium")
    policies = benchmark_module("policies")
    task = getattr(policies, name)
    n_in, hidden, n_out = task.sizes
    vectors = np.random.default_rng(4).standard_normal((3, hidden * (n_in + n_out)))
    environment = gymnasium.make(task.name)
    initial = []
    for seed in (11, 12):
        environment.reset(seed=seed)
        initial.append(np.asarray(environment.unwrapped.state, dtype=np.float64))
    found = policies.returns(task, vectors, weights, np.stack(initial))
    played = [policies.play(task, vector, weights, range(11, 13)) for vector in vectors]
    np.testing.assert_array_equal(found, played)
    first, second = policies.matrices(task, vectors, weights)
    if weights == "binary":
        assert set(np.unique(first)) | set(np.unique(second)) == {-1.0, 1.0}
    elif weights == "int8":
        unit = np.abs(first).max((1, 2), keepdims=True) / 127
        np.testing.assert_allclose(first / unit, np.rint(first / unit), atol=1e-9)
        assert np.abs(first - vectors[:, : n_in * hidden].reshape(first.shape)).max() <= unit.max() / 2 + 1e-12


def test_the_walk_over_the_landscape():
    student = landscape.Student()
    teacher = torch.tensor([landscape.TEACHER], dtype=torch.float64)
    assert student.loss(teacher) == 0
    assert student.counts(teacher).sum() > 0
    # A plateau: the loss does not change around the teacher, and nowhere is it anything but whole spikes over nine stimuli.
    assert (student.loss(teacher + 1e-6 * torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))) == 0).all()
    for start in landscape.STARTS.values():
        steps = landscape.walk(student, start)
        assert steps[0].loss > 1
        assert steps[-1].loss == 0
        for step, after in pairwise(steps):
            np.testing.assert_allclose(step.shares @ step.corners, after.before, atol=1e-12)
            assert 9 * step.loss == pytest.approx(round(9 * step.loss))
