r"""Policies that balance a pole and swing up an acrobot, with float, int8 and binary weights, found by asking and telling.

    pip install gymnasium cma
    python benchmarks/policies.py
    python benchmarks/policies.py --tasks cartpole --weights binary --seeds 1    # to results/policies-cartpole-part.json

A policy is ``observation -> tanh -> action`` with 8 hidden neurons and no biases; it takes the action with the largest output. On the int8
grid every matrix is rounded to 255 levels, binary weights are signs: the return is a step function of what is searched, the latent
weights. All methods play the same number of training episodes; every candidate of a generation plays the same initial states. After
every tenth of the budget ``mean`` plays 50 evaluation episodes, from states that are never trained on, and the best of the ten is
kept. Its figure is the mean return of 100 fresh episodes in gymnasium itself.

Training plays in a batch of environments that takes gymnasium's steps (``tests/examples/test_examples.py`` holds them equal). On
CartPole PolyStep's radius was chosen among four on seeds 0 and 1 with float weights; on Acrobot its radius, and the scale of the velocities
that all methods see, by hand on seed 0. The settings of the others were not tuned. Where the published package is installed
(``pip install --no-deps polystep``) its ask/tell search is run with its defaults.
"""

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from common import positive, report, require
from torch import Tensor

from polystep_snn.baselines.evolution import CMAES, OpenAIES
from polystep_snn.errors import InputError
from polystep_snn.polystep.ask_tell import PolyStepES

HIDDEN, EPISODES, LIMIT = 8, 4, 500
FIRST_SEED, SEEDS = 100, 5
WEIGHTS = ("float", "int8", "binary")


class CartPole:
    """CartPole-v1, many at a time: states ``[N, 4]``, actions ``[N]`` in {0, 1}. One point a step."""

    name, sizes, bound, budget, point, perfect = "CartPole-v1", (4, HIDDEN, 2), 0.05, 20_000, 1.0, LIMIT
    # What observations are divided by.
    scale = np.array([2.4, 2.0, 0.21, 2.0])

    @staticmethod
    def step(state: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The states after a step, and which episodes have ended."""
        x, x_dot, theta, theta_dot = state.T
        cos, sin = np.cos(theta), np.sin(theta)
        push = (np.where(action == 1, 10.0, -10.0) + 0.05 * np.square(theta_dot) * sin) / 1.1
        theta_acc = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * np.square(cos) / 1.1))
        x_acc = push - 0.05 * theta_acc * cos / 1.1
        state = np.stack([x + 0.02 * x_dot, x_dot + 0.02 * x_acc, theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc], axis=1)
        return state, (np.abs(state[:, 0]) > 2.4) | (np.abs(state[:, 2]) > 12 * 2 * math.pi / 360)

    @staticmethod
    def observe(state: np.ndarray) -> np.ndarray:
        return state.astype(np.float32)


class Acrobot:
    """Acrobot-v1, many at a time: states ``[N, 4]`` (two angles, two velocities), actions ``[N]`` in {0, 1, 2}. Minus one a step."""

    name, sizes, bound, budget, point, perfect = "Acrobot-v1", (6, HIDDEN, 3), 0.1, 10_000, -1.0, 0
    scale = np.array([1.0, 1.0, 1.0, 1.0, 3.0, 6.0])

    @staticmethod
    def _slope(state: np.ndarray, torque: np.ndarray) -> np.ndarray:
        theta1, theta2, dtheta1, dtheta2 = state
        cos2, sin2 = np.cos(theta2), np.sin(theta2)
        d1 = 0.25 + (1.0 + 0.25 + cos2) + 2.0
        d2 = 0.25 + 0.5 * cos2 + 1.0
        phi2 = 0.5 * 9.8 * np.cos(theta1 + theta2 - math.pi / 2)
        phi1 = -0.5 * dtheta2**2 * sin2 - dtheta2 * dtheta1 * sin2 + 1.5 * 9.8 * np.cos(theta1 - math.pi / 2) + phi2
        ddtheta2 = (torque + d2 / d1 * phi1 - 0.5 * dtheta1**2 * sin2 - phi2) / (1.25 - d2**2 / d1)
        return np.stack([dtheta1, dtheta2, -(d2 * ddtheta2 + phi1) / d1, ddtheta2])

    @classmethod
    def step(cls, state: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The states after a step (Runge-Kutta, 0.2 s), and which episodes have ended."""
        y, torque = state.T, action - 1.0
        k1 = cls._slope(y, torque)
        k2 = cls._slope(y + 0.1 * k1, torque)
        k3 = cls._slope(y + 0.1 * k2, torque)
        k4 = cls._slope(y + 0.2 * k3, torque)
        y = y + 0.2 / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
        for angle in y[:2]:
            angle -= 2 * math.pi * np.ceil((np.abs(angle) - math.pi) / (2 * math.pi)).clip(0) * np.sign(angle)
        y[2] = y[2].clip(-4 * math.pi, 4 * math.pi)
        y[3] = y[3].clip(-9 * math.pi, 9 * math.pi)
        return y.T, -np.cos(y[0]) - np.cos(y[1] + y[0]) > 1.0

    @staticmethod
    def observe(state: np.ndarray) -> np.ndarray:
        one, two, *velocities = state.T
        return np.stack([np.cos(one), np.sin(one), np.cos(two), np.sin(two), *velocities], axis=1).astype(np.float32)


TASKS: dict[str, type[CartPole] | type[Acrobot]] = {"cartpole": CartPole, "acrobot": Acrobot}


def matrices(task: type, vectors: np.ndarray, weights: str) -> tuple[np.ndarray, np.ndarray]:
    """Latent vectors ``[C, dim]`` as the matrices ``[C, n_in, H]`` and ``[C, H, n_out]`` that policies compute with."""
    n_in, hidden, n_out = task.sizes
    found = []
    for matrix in (vectors[:, : n_in * hidden].reshape(-1, n_in, hidden), vectors[:, n_in * hidden :].reshape(-1, hidden, n_out)):
        if weights == "int8":
            unit = np.maximum(np.abs(matrix).max((1, 2), keepdims=True), 1e-12) / 127
            matrix = np.rint(matrix / unit) * unit
        elif weights == "binary":
            matrix = np.where(matrix > 0, 1.0, -1.0)
        found.append(matrix)
    return found[0], found[1]


def act(task: type, policy: tuple[np.ndarray, np.ndarray], observations: np.ndarray) -> np.ndarray:
    """Actions ``[C, E]`` of C policies for observations ``[C, E, n_in]``."""
    return (np.tanh(observations / task.scale @ policy[0]) @ policy[1]).argmax(2)


def returns(task: type, vectors: np.ndarray, weights: str, initial: np.ndarray) -> np.ndarray:
    """Returns ``[C, E]`` of C latent vectors from E initial states ``[E, 4]``."""
    first, second = matrices(task, vectors, weights)
    state = np.tile(initial.astype(np.float32).astype(np.float64) if task is Acrobot else initial, (len(vectors), 1, 1))
    total, running = np.zeros(state.shape[:2]), np.ones(state.shape[:2], bool)
    alive = np.arange(len(vectors))  # policies with an episode that has not ended
    for _ in range(LIMIT):
        flat = state.reshape(-1, 4)
        actions = act(task, (first[alive], second[alive]), task.observe(flat).reshape(*state.shape[:2], -1))
        flat, ended = task.step(flat, actions.ravel())
        ended = ended.reshape(len(alive), -1)
        # CartPole counts its last step, Acrobot does not.
        total[alive] += task.point * (running[alive] & ~(ended & (task is Acrobot)))
        running[alive] &= ~ended
        go_on = running[alive].any(1)
        state, alive = flat.reshape(len(alive), -1, 4)[go_on], alive[go_on]
        if not len(alive):
            break
    return total


def play(task: type, vector: np.ndarray, weights: str, seeds: range) -> list[float]:
    """Returns of a policy in gymnasium itself, one episode a seed.

    Raises:
        InputError: gymnasium is not installed.
    """
    try:
        import gymnasium
    except ImportError:
        raise InputError("policies are tested in gymnasium, which is not installed: pip install gymnasium") from None
    environment = gymnasium.make(task.name)
    policy, found = matrices(task, vector[None], weights), []
    for seed in seeds:
        observation, _ = environment.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = environment.step(int(act(task, policy, observation[None, None])[0, 0]))
            total, over = total + float(reward), terminated or truncated
        found.append(total)
    environment.close()
    return found


class Published:
    """The published package's search, as ours are called. Where it stands before the first ``tell`` is ``x0``."""

    def __init__(self, x0: Tensor, seed: int):
        from polystep import PolyStepES as Theirs

        self._search = Theirs(len(x0), x0=x0.float(), seed=seed)
        self.popsize = self._search.popsize

    @property
    def mean(self) -> Tensor:
        mean = self._search.mean
        return (mean() if callable(mean) else mean).reshape(-1)

    def ask(self) -> Tensor:
        return self._search.ask()

    def tell(self, costs: Tensor) -> None:
        self._search.tell(costs.float())


METHODS: dict[str, Callable[[Tensor, int], Any]] = {
    "polystep": lambda x0, seed: PolyStepES(x0, radius=2.0, seed=seed),
    "openai-es": lambda x0, seed: OpenAIES(x0, sigma=0.3, lr=0.3, seed=seed),
    "cma-es": lambda x0, seed: CMAES(x0, sigma=0.5, seed=seed),
}
if importlib.util.find_spec("polystep"):
    METHODS["published"] = Published


class Found(NamedTuple):
    """The kept policy, its evaluation return, and the training episodes before it."""

    vector: np.ndarray
    evaluation: float
    played: int


def train(task: type, make: Callable[[Tensor, int], Any], weights: str, seed: int, checks: int = 10) -> Found:
    """A search of ``task.budget`` training episodes."""
    n_in, hidden, n_out = task.sizes
    random = np.random.default_rng([seed, 0])
    x0 = 0.5 * random.standard_normal(hidden * (n_in + n_out))
    judged = np.random.default_rng([seed, 1]).uniform(-task.bound, task.bound, (50, 4))
    optimizer = make(torch.from_numpy(x0), seed)
    best, played, checked = Found(x0, -math.inf, 0), 0, 0
    while played + optimizer.popsize * EPISODES <= task.budget:
        initial = random.uniform(-task.bound, task.bound, (EPISODES, 4))
        gained = returns(task, optimizer.ask().double().numpy(), weights, initial)
        optimizer.tell(torch.from_numpy(-gained.mean(1)))
        played += gained.size
        if played * checks >= (checked + 1) * task.budget or played + gained.size > task.budget:
            checked = played * checks // task.budget
            mean = optimizer.mean.double().numpy().copy()
            value = returns(task, mean[None], weights, judged).mean()
            if value > best.evaluation:
                best = Found(mean, float(value), played)
            if value == task.perfect:
                break
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=list(WEIGHTS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=positive, default=SEEDS)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output: by method, several tasks by task")
    arguments = parser.parse_args()
    require(parser, "gymnasium", *(["cma"] if "cma-es" in arguments.methods else []))
    # What is only a part of a table does not replace it.
    parts = (arguments.weights, WEIGHTS), (arguments.methods, METHODS)
    whole = arguments.seeds >= SEEDS and all(set(chosen) == set(there) for chosen, there in parts)

    results: dict[str, dict[str, Any]] = {}
    for task_name in arguments.tasks:
        task = TASKS[task_name]
        methods: dict[str, dict[str, Any]] = {}
        rows = []
        details = {"episodes": task.budget, "episodes_a_candidate": EPISODES, "first_seed": FIRST_SEED}
        for weights in arguments.weights:
            for method in arguments.methods:
                started, scores, kept = time.process_time(), [], []
                for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds):
                    kept.append(train(task, METHODS[method], weights, seed))
                    scores.append(statistics.mean(play(task, kept[-1].vector, weights, range(1000 * seed, 1000 * seed + 100))))
                result = {
                    "test": scores,
                    "evaluation": [k.evaluation for k in kept],
                    "episodes": [k.played for k in kept],
                    "seconds": (time.process_time() - started) / arguments.seeds,
                }
                methods[f"{weights}-{method}"] = result
                spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
                row = {"weights": weights, "method": method, "test return": f"{statistics.mean(scores):.1f}{spread}"}
                row["worst"] = f"{min(scores):.1f}"
                row["episodes"] = f"{statistics.mean(result['episodes']):,.0f}"
                rows.append(row | {"seconds": f"{result['seconds']:.1f}"})
                print(f"{task_name}: {rows[-1]}", file=sys.stderr, flush=True)
        report(f"policies-{task_name}" if whole else f"policies-{task_name}-part", methods, rows, details, False)
        results[task_name] = methods
    if arguments.json:
        print(json.dumps(results if len(results) > 1 else next(iter(results.values()))))


if __name__ == "__main__":
    main()
