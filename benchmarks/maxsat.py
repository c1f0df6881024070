r"""Weight space where the loss is a count: random 3-SAT at 4.27 clauses a variable, as many clauses satisfied as possible.

    python benchmarks/maxsat.py
    python benchmarks/maxsat.py --variables 10000 --methods polystep --steps 200    # to results/maxsat-10000-part.json

A variable is true where its latent value is above 0, a hard threshold; every variable is a particle that probes both its values. What
a probe changes is known exactly from the clauses in which the variable stands, so that one pass over the clauses evaluates all 2 n
candidates. ``WeightStep`` takes the step, ``torch.optim.SGD`` with momentum and weight decay follows it.

Beside it, on the same formulas: a random assignment, a greedy descent, and probSAT (Balint and Schöning 2012), compiled, for as long as
PolyStep took. Settings were found on seeds below 100 at 20,000 variables. Formulas near the threshold of 4.267 may have no solution.
Every run is a process of its own with one thread; seconds are those of the processor, and peak memory includes Python and torch (0.3 GiB).
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from common import positive, report, require
from torch import Tensor, nn

from polystep_snn.errors import InputError
from polystep_snn.polystep.schedule import Schedule
from polystep_snn.polystep.transport import Softmax
from polystep_snn.spaces.weight.directions import Part
from polystep_snn.spaces.weight.step import WeightSpace, WeightStep
from polystep_snn.spaces.weight.subspaces import FullSpace

RATIO = 4.27
# Seeds of formulas for each number of variables.
SIZES = {100: 5, 1_000: 5, 10_000: 5, 100_000: 3, 1_000_000: 1}
FIRST_SEED, STEPS = 100, 1000
METHODS = ("random", "greedy", "polystep", "probsat")
# Percent of clauses in the paper (arXiv 2605.01928), for comparison.
PUBLISHED = {100_000: {"polystep": 98.0, "probsat": 99.6}, 1_000_000: {"polystep": 92.6, "probsat": 98.9}}


def check_size(num_variables: int) -> None:
    """Raises InputError: fewer than three variables, or more literals than int32 holds."""
    if not 3 <= num_variables < 2**30:
        raise InputError(f"num_variables is {num_variables}: choose at least 3 and less than 2^30")


def random_formula(num_variables: int, seed: int, ratio: float = RATIO) -> np.ndarray:
    """A uniform random 3-SAT formula: literals ``[3, M]``, int32; literal ``2 i + 1`` says that variable i is true, ``2 i`` that it is not.

    The three variables of a clause differ. Clauses are sorted by their first literal, which helps the caches and changes nothing else.

    Raises:
        InputError: fewer than three variables, or more literals than int32 holds.
    """
    check_size(num_variables)
    generator = np.random.default_rng(seed)
    num_clauses = round(ratio * num_variables)
    variables = generator.integers(num_variables, size=(num_clauses, 3), dtype=np.int32)
    repeated = np.arange(num_clauses)
    while len(repeated):
        a, b, c = variables[repeated].T
        repeated = repeated[(a == b) | (b == c) | (a == c)]
        variables[repeated] = generator.integers(num_variables, size=(len(repeated), 3), dtype=np.int32)
    literals = np.sort(2 * variables + generator.integers(2, size=variables.shape, dtype=np.int32), axis=1)
    return np.ascontiguousarray(literals[np.argsort(literals[:, 0], kind="stable")].T)


def needs(literals: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, int]:
    """How many clauses need each literal, ``[n, 2]`` (false, true), since no other literal of theirs is true; and how many are unsatisfied.

    Setting variable i from false to true changes the number of unsatisfied clauses by ``needs[i, 0] - needs[i, 1]``, whatever i is now.
    """
    truth = np.stack([~values, values], axis=1).view(np.int8).ravel()
    found = [truth.take(row) for row in literals]
    true = found[0] + found[1] + found[2]
    needed = np.concatenate([row[true == own] for row, own in zip(literals, found, strict=True)])
    return np.bincount(needed, minlength=2 * len(values)).reshape(-1, 2), len(true) - int(np.count_nonzero(true))


class Assignment(nn.Module):
    """n variables, each true where its latent value is above 0."""

    def __init__(self, num_variables: int, seed: int):
        super().__init__()
        self.latent = nn.Parameter(0.1 * torch.randn(num_variables, generator=torch.Generator().manual_seed(seed)), requires_grad=False)

    def forward(self) -> Tensor:
        return self.latent > 0


class ClausesBatch:
    """All candidates of an assignment; see ``polystep.candidates.Batch``. The loss is the number of unsatisfied clauses."""

    def __init__(self, module: Assignment, literals: np.ndarray):
        self._latent = module.latent
        self.output = module()
        self.rates: list[Tensor] = []
        needed, unsatisfied = needs(literals, self.output.numpy())
        self.loss = torch.tensor(float(unsatisfied))
        # By how much the loss changes where a variable changes its value.
        to_true = torch.from_numpy(needed[:, 0] - needed[:, 1]).to(self._latent.dtype)
        self._change = torch.where(self.output, -to_true, to_true)

    def costs(self, part: Part, offsets: Tensor) -> Tensor:
        values = self._latent + offsets[:, :, 0] > 0
        return self.loss + torch.where(values != self.output, self._change, 0.0)


class Clauses:
    """Evaluates candidates of an ``Assignment`` that move one variable each, exactly. Counts are exact up to 2^24 clauses (float32)."""

    def __init__(self, module: Assignment, literals: np.ndarray):
        self._module, self._literals = module, literals

    def batch(self, inputs: Any, target: Any) -> ClausesBatch:
        return ClausesBatch(self._module, self._literals)

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        yield 1.0, inputs, target


class Solution(NamedTuple):
    """The best assignment of a search, ``[n]`` bool, and how many clauses it leaves unsatisfied."""

    values: np.ndarray
    unsatisfied: int


def polystep(literals: np.ndarray, num_variables: int, seed: int, steps: int = STEPS) -> Solution:
    """PolyStep on latent values; the regularisation and the learning rate fall over the steps."""
    module = Assignment(num_variables, seed)
    # The radius is beyond every latent value, which weight decay holds near [-1, 1]: each probe sees both values of its variable.
    step = WeightStep(
        module,
        space=WeightSpace(radius=10.0, subspace=FullSpace(), particle_dim=1),
        transport=Softmax(eps=Schedule(2.0, 0.3, "geometric")),
        seed=seed,
        evaluator=Clauses(module, literals),
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.85, weight_decay=1.0)
    rate = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.2 ** (1 / steps))
    best = Solution(np.zeros(num_variables, bool), literals.shape[1] + 1)
    for k in range(steps):
        values = module().numpy()
        unsatisfied = int(step.step(None, progress=k / steps).loss)
        if unsatisfied < best.unsatisfied:
            best = Solution(values, unsatisfied)
        if not unsatisfied:
            break
        optimizer.step()
        rate.step()
    return best


def _generator(seed: int) -> np.random.Generator:
    """Random numbers of a search: others than those of the formula with this seed."""
    return np.random.default_rng([seed, 1])


def greedy(literals: np.ndarray, num_variables: int, seed: int) -> Solution:
    """Descent from a random assignment: of the variables whose flip alone would help, a random fifth is flipped at a time."""
    generator = _generator(seed)
    values = generator.random(num_variables) < 0.5
    best = Solution(values, literals.shape[1] + 1)
    while True:
        needed, unsatisfied = needs(literals, values)
        if unsatisfied < best.unsatisfied:
            best = Solution(values.copy(), unsatisfied)
        helps = np.flatnonzero(np.where(values, needed[:, 1] < needed[:, 0], needed[:, 0] < needed[:, 1]))
        if not len(helps):
            return best
        chosen = helps[generator.random(len(helps)) < 0.2] if len(helps) > 20 else generator.choice(helps, 1)
        values[chosen] ^= True


def compiled_probsat() -> Callable:
    """probSAT with its polynomial break-only rule for 3-SAT (cb = 2.06, eps = 0.9), compiled.

    Raises:
        InputError: ``numba`` is not installed.
    """
    try:
        from numba import njit
    except ImportError:
        raise InputError("probSAT needs numba, which is not installed: pip install numba") from None

    @njit
    def start(literals, values, true, where, unsatisfied):
        count = 0
        for c in range(literals.shape[1]):
            for k in range(3):
                true[c] += values[literals[k, c] >> 1] == (literals[k, c] & 1)
            if not true[c]:
                where[c], unsatisfied[count] = count, c
                count += 1
        return count

    @njit
    def search(literals, first, members, values, true, where, unsatisfied, count, flips, weight):
        best = count
        for _ in range(flips):
            if not count:
                break
            clause, total = unsatisfied[np.random.randint(count)], 0.0  # noqa: NPY002 (numba's own generator)
            shares = np.zeros(3)
            for k in range(3):
                literal, broken = literals[k, clause] ^ 1, 0
                for p in range(first[literal], first[literal + 1]):
                    broken += true[members[p]] == 1
                shares[k] = weight[broken]
                total += shares[k]
            point, chosen = np.random.random() * total, 0  # noqa: NPY002
            while chosen < 2 and point >= shares[chosen]:
                point -= shares[chosen]
                chosen += 1
            made = literals[chosen, clause]
            values[made >> 1] = made & 1
            for p in range(first[made], first[made + 1]):
                c = members[p]
                true[c] += 1
                if true[c] == 1:
                    count -= 1
                    last = unsatisfied[count]
                    unsatisfied[where[c]], where[last] = last, where[c]
            for p in range(first[made ^ 1], first[(made ^ 1) + 1]):
                c = members[p]
                true[c] -= 1
                if not true[c]:
                    where[c], unsatisfied[count] = count, c
                    count += 1
            best = min(best, count)
        return count, best

    @njit
    def seed_generator(seed):
        np.random.seed(seed)  # noqa: NPY002

    def probsat(literals: np.ndarray, num_variables: int, seed: int, seconds: float) -> tuple[int, int]:
        started = time.process_time()
        num_clauses = literals.shape[1]
        # The clauses of literal l are members[first[l] : first[l + 1]].
        members = (np.argsort(literals.ravel(), kind="stable") % num_clauses).astype(np.int32)
        first = np.concatenate([[0], np.cumsum(np.bincount(literals.ravel(), minlength=2 * num_variables))])
        values = _generator(seed).integers(2, size=num_variables, dtype=np.int8)
        true, where = np.zeros(num_clauses, np.int8), np.zeros(num_clauses, np.int32)
        unsatisfied = np.zeros(num_clauses, np.int32)
        weight = (0.9 + np.arange(np.diff(first).max() + 1)) ** -2.06
        seed_generator(seed)
        count = best = start(literals, values, true, where, unsatisfied)
        flips, portion = 0, 20_000
        while not flips or (count and time.process_time() - started < seconds):
            count, lowest = search(literals, first, members, values, true, where, unsatisfied, count, portion, weight)
            best, flips = min(best, lowest), flips + portion
        if needs(literals, values.astype(bool))[1] != count:
            raise RuntimeError("probSAT's own count of unsatisfied clauses is wrong")
        return best, flips

    probsat(random_formula(10, 0), 10, 0, 0.0)  # compiles
    return probsat


@dataclass(frozen=True)
class Run:
    """One method on one formula; ``seconds`` is a limit, for those that have no end of their own."""

    method: str
    num_variables: int
    seed: int
    steps: int = STEPS
    seconds: float = 0.0


def run(r: Run) -> dict[str, Any]:
    """Percent of clauses satisfied, seconds of the search (formula and compilation not counted), peak memory of the process."""
    torch.set_num_threads(1)
    literals = random_formula(r.num_variables, r.seed)
    search = compiled_probsat() if r.method == "probsat" else None
    started, wall, more = time.process_time(), time.perf_counter(), {}
    if r.method == "random":
        unsatisfied = needs(literals, _generator(r.seed).random(r.num_variables) < 0.5)[1]
    elif r.method == "greedy":
        unsatisfied = greedy(literals, r.num_variables, r.seed).unsatisfied
    elif r.method == "probsat":
        assert search is not None
        unsatisfied, more["flips"] = search(literals, r.num_variables, r.seed, r.seconds)
    else:
        found = polystep(literals, r.num_variables, r.seed, r.steps)
        unsatisfied = needs(literals, found.values)[1]
        more["steps"] = r.steps
    seconds, wall = time.process_time() - started, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "satisfied": 100 * (1 - unsatisfied / literals.shape[1]),
        "unsatisfied": unsatisfied,
        "clauses": literals.shape[1],
        "seconds": round(seconds, 2),
        "wall_seconds": round(wall, 2),
        "peak_gib": round(peak, 2),
        **more,
    }


def in_a_process(r: Run) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--run", json.dumps(r.__dict__)], stdout=subprocess.PIPE, text=True)
    if done.returncode == 2:
        sys.exit(2)  # it has said why
    done.check_returncode()
    result = json.loads(done.stdout)
    print(f"{r.num_variables:,} variables, seed {r.seed}, {r.method}: {result}", file=sys.stderr, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variables", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=positive, help="formulas of each size (default: 5; 3 of 100,000 variables, 1 of 1,000,000)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--steps", type=positive, default=STEPS, help="of PolyStep")
    parser.add_argument("--seconds", type=float, default=60.0, help="of probSAT, where PolyStep does not run beside it")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output: by method, several sizes by size")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if arguments.run:
            print(json.dumps(run(Run(**json.loads(arguments.run)))))
            return
        for n in arguments.variables:
            check_size(n)
    except InputError as error:
        parser.error(str(error))
    if "probsat" in arguments.methods:
        require(parser, "numba")

    found: dict[int, dict[str, Any]] = {}
    for n in arguments.variables:
        num_seeds = arguments.seeds or SIZES.get(n, 1)
        runs: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS if method in arguments.methods}
        for seed in range(FIRST_SEED, FIRST_SEED + num_seeds):
            for method, results in runs.items():
                limit = runs["polystep"][-1]["seconds"] if method == "probsat" and "polystep" in runs else arguments.seconds
                results.append(in_a_process(Run(method, n, seed, arguments.steps, limit)))
        methods, rows = {}, []
        for method, results in runs.items():
            percent = [r["satisfied"] for r in results]
            methods[method] = {"mean": statistics.mean(percent), "worst": min(percent), "runs": results}
            row = {
                "variables": f"{n:,}",
                "method": method,
                "satisfied %": f"{statistics.mean(percent):.3f}",
                "worst %": f"{min(percent):.3f}",
            }
            row["unsatisfied"] = f"{statistics.mean(r['unsatisfied'] for r in results):g}"
            row["seconds"] = f"{statistics.mean(r['seconds'] for r in results):.1f}"
            row["GiB"] = f"{max(r['peak_gib'] for r in results):.2f}"
            rows.append(row | {"paper %": PUBLISHED.get(n, {}).get(method, "")})
        details = {"ratio": RATIO, "steps": arguments.steps, "first_seed": FIRST_SEED, "published": PUBLISHED.get(n)}
        # What is only a part of a table does not replace it.
        whole = len(runs) == len(METHODS) and num_seeds >= SIZES.get(n, 1) and arguments.steps == STEPS
        report(f"maxsat-{n}" if whole else f"maxsat-{n}-part", methods, rows, details, False)
        found[n] = methods
    if arguments.json:
        print(json.dumps(found if len(found) > 1 else next(iter(found.values()))))


if __name__ == "__main__":
    main()
