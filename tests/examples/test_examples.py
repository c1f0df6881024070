"""Examples and benchmarks on problems of their own: exact costs, environments that are gymnasium's, and that they find something."""

import importlib
import importlib.util
import json
import os
import re
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import landscape, max_sat
from polystep_snn.errors import InputError
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """Imports a benchmark as a script finds it: beside ``common``."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def call(benchmark_module, monkeypatch, tmp_path, capsys):
    """Calls a benchmark, ``name --option ...``, whose results go elsewhere; its JSON, or the last line of its message."""
    monkeypatch.setattr("common.RESULTS", tmp_path)

    def call(name, *arguments):
        monkeypatch.setattr("sys.argv", [name, *arguments, "--json"])
        try:
            benchmark_module(name).main()
        except SystemExit:
            return capsys.readouterr().err.splitlines()[-1]
        return json.loads(capsys.readouterr().out)

    return call


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


@pytest.mark.parametrize(("argument", "message"), [("2", "num_variables is 2: choose at least 3"), ("two", "invalid int value: 'two'")])
def test_a_formula_needs_three_variables(monkeypatch, capsys, argument, message):
    monkeypatch.setattr("sys.argv", ["max_sat.py", argument])
    with pytest.raises(SystemExit, match="2"):
        max_sat.main()
    assert message in capsys.readouterr().err


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


def test_a_part_of_a_table_does_not_replace_it(call, benchmark_module, monkeypatch, tmp_path):
    maxsat = benchmark_module("maxsat")
    apart = maxsat.in_a_process
    # A process of its own for one of the two: each takes seconds to start.
    monkeypatch.setattr(maxsat, "in_a_process", lambda r: maxsat.run(r) if r.num_variables == 10 else apart(r))
    found = call("maxsat", "--variables", "10", "12", "--methods", "greedy")
    assert list(found) == ["10", "12"]
    assert found["12"]["greedy"]["mean"] == pytest.approx(100 * (1 - found["12"]["greedy"]["runs"][0]["unsatisfied"] / 51))
    assert json.loads((tmp_path / "maxsat-12-part.json").read_text())["methods"] == found["12"]
    pytest.importorskip("gymnasium")
    policies = benchmark_module("policies")
    play = policies.play
    monkeypatch.setattr(policies, "play", lambda task, vector, weights, seeds: play(task, vector, weights, seeds[:20]))
    found = call("policies", "--tasks", "cartpole", "--weights", "binary", "--methods", "polystep", "--seeds", "1")
    assert found["binary-polystep"]["test"] == pytest.approx([500], abs=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maxsat-10-part.json", "maxsat-12-part.json", "policies-cartpole-part.json"]


def test_benchmarks_refuse_bad_input_before_they_run(call, monkeypatch, tmp_path):
    assert call("maxsat", "--variables", "10", "2").endswith("num_variables is 2: choose at least 3 and less than 2^30")
    assert call("maxsat", "--steps", "0").endswith("argument --steps: 0 is too few: choose at least 1")
    assert call("maxsat", "--seeds", "0").endswith("argument --seeds: 0 is too few: choose at least 1")
    assert call("maxsat", "--run", '{"method": "greedy", "num_variables": 1, "seed": 0}').endswith("choose at least 3 and less than 2^30")
    assert call("policies", "--seeds", "-1").endswith("argument --seeds: -1 is too few: choose at least 1")
    find = importlib.util.find_spec
    for missing, name in (("numba", "maxsat"), ("gymnasium", "policies"), ("cma", "policies")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda n, *_, missing=missing: None if n == missing else find(n) or "there")
        assert call(name).endswith(f"{missing} is not installed: pip install {missing}")
    assert not list(tmp_path.iterdir())


def test_the_chip_has_two_stand_ins(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["learn_on_chip.py", "a.png", "foo"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "examples" / "learn_on_chip.py"), run_name="__main__")
    assert "invalid choice: 'foo'" in capsys.readouterr().err


def test_examples_say_in_one_line_what_they_cannot_do(monkeypatch, capsys):
    monkeypatch.setenv(PYTHON_VARIABLE, "/nowhere/python")
    monkeypatch.setenv("POLYSTEP_SNN_DATA", "/nowhere")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "snntorch" else find(name))
    cases = {
        "learn_on_chip a.png lava": "is no program: run `make lava-env`",
        "landscape a b c": "unrecognized arguments: c",
        "snntorch_network": "snntorch is not installed: pip install snntorch",
        "snntorch_network digits 0": "epochs is 0: choose at least 1",
        "lstm_etth1": "/nowhere/ETT/ETTh1.csv is missing: get ETTh1.csv from https://github.com/zhouhaoyi/ETDataset and give its path",
        "lstm_etth1 --steps 0": "steps is 0: choose at least 1",
    }
    for line, message in cases.items():
        name, *arguments = line.split()
        monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit, match="2"):
            runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
        assert message in capsys.readouterr().err.splitlines()[-1]


# What an example prints, and how high its last percentage or number of steps must be.
EXAMPLES = {
    "cartpole": (r"([\d.]+) of 500 steps on average", 450, []),
    "max_sat 500": (r"([\d.]+)% of the clauses", 98.5, []),
    "learn_on_chip": (r"([\d.]+)% after \d+ samples", 85, ["learn_on_chip.png"]),
    "sensor_fails": (r"inversion:0.4 +without labels ([\d.]+)%", 93, ["sensor_fails.png"]),
    "landscape": (r"loss [\d.]+ -> 0.00 after (\d+) steps", 5, ["landscape.png", "landscape.gif"]),
    "train_digits": (r"test accuracy ([\d.]+)%", 90, ["digits.png"]),
    "train_nmnist 4": (r"test accuracy ([\d.]+)%", 70, ["nmnist.png"]),
    "spoken_digits 5": (r"test accuracy ([\d.]+)%", 85, ["spoken_digits.png"]),
    "argmax_attention": (r"test accuracy ([\d.]+)%", 90, ["argmax_attention.png"]),
    "snntorch_network digits 4": (r"test accuracy ([\d.]+)%", 90, ["snntorch_network.png"]),
    "deploy_digits": (r"([\d.]+)%; [\d,]+ spikes compared, 0 differences", 90, ["deployed.png", "digits.safetensors"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_run_and_reach_what_they_say(line, tmp_path, monkeypatch, capsys):
    if line == "cartpole":
        pytest.importorskip("gymnasium")
    if line.startswith("snntorch_network"):
        pytest.importorskip("snntorch")
    if line.startswith("train_nmnist") and not (Path(os.environ.get("POLYSTEP_SNN_DATA", "")) / "NMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder NMNIST: no recordings here")
    if line.startswith("spoken_digits") and not (Path(os.environ.get("POLYSTEP_SNN_DATA", "")) / "FSDD").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder FSDD: no recordings here")
    name, *arguments = line.split()
    pattern, least, files = EXAMPLES[line]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # compiling would take longer than running
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert float(re.findall(pattern, capsys.readouterr().out)[-1]) >= least
    assert all((tmp_path / file).stat().st_size > 5000 for file in files)
