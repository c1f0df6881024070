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
from dataclasses import dataclass
from typing import Any

import torch
from common import positive, report, require
from maxsat_formula import RATIO, check_size, needs, random_formula
from maxsat_methods import STEPS, compiled_probsat, generator_of, greedy, polystep

from polystep_snn.errors import InputError

# Seeds of formulas for each number of variables.
SIZES = {100: 5, 1_000: 5, 10_000: 5, 100_000: 3, 1_000_000: 1}
FIRST_SEED = 100
METHODS = ("random", "greedy", "polystep", "probsat")
# Percent of clauses in the paper (arXiv 2605.01928), for comparison.
PUBLISHED = {100_000: {"polystep": 98.0, "probsat": 99.6}, 1_000_000: {"polystep": 92.6, "probsat": 98.9}}


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
        unsatisfied = needs(literals, generator_of(r.seed).random(r.num_variables) < 0.5)[1]
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
