"""Networks without a derivative on MNIST, method by method at equal candidate evaluations: the paper's rows, in weight space.

    python benchmarks/paper.py int8                                    # this package, the long run, five seeds
    python benchmarks/paper.py int8 --budget 50000 --methods weights published openai_es eggroll spsa cma_es
    python benchmarks/paper.py int8 --tune --methods weights published openai_es eggroll spsa cma_es

One evaluation is one candidate on one batch, whose size is the same for all methods. Every method starts from the same weights for a
seed, sees the same batches in the same order, and is validated 20 times along its budget; the weights that were best on the 5,000
validation images are tested, once. Forward passes for validation are not counted; time is processor time of one thread, without them.

Settings are chosen on validation images, four a method (``paper_methods.SETTINGS``), by ``--tune`` on the int8 network, seed 0, 20,000
evaluations a setting; it leaves them in ``results/paper-tune.json``, and runs with a ``--budget`` take the best one from there, for all
tasks. What suits 20,000 evaluations does not suit a thousand times as many: the long run has the setting named in ``_LONG``. The
published package's steps and radii are, task by task, those of its own experiments.

The published package is optional: pip install polystep. CMA-ES needs pip install cma.
"""

import argparse
import copy
import importlib.metadata
import importlib.util
import json
import statistics
import sys
import time
from typing import Any

import torch
from common import RESULTS, positive, report, require, spread
from paper_methods import SETTINGS, make_method
from paper_tasks import TASKS, Task, accuracy

from polystep_snn.errors import InputError
from polystep_snn.files import read_json

_VALIDATIONS = 20
# Candidates of the runs that settings are chosen by, and where those runs stand.
_TUNING_BUDGET, _TUNED = 20_000, "paper-tune"
# Which setting has the long run.
_LONG = {"weights": 3}
# What methods need that this package does not.
_PACKAGES = {"published": "polystep", "cma_es": "cma"}

Parts = dict[str, tuple[torch.Tensor, torch.Tensor]]


def run(
    name: str, task_name: str, budget: int, batch_size: int, seed: int, setting: dict[str, Any], data: Parts, test: bool = True
) -> dict[str, Any]:
    """Train once; the accuracies (%) on validation and test of the weights that were best on validation."""
    torch.manual_seed(seed)
    network = TASKS[task_name].make()
    method = make_method(name, task_name, network, budget, seed, setting)
    if method.evaluations > budget:
        raise InputError(f"a step of {name} takes {method.evaluations} evaluations, but the budget is {budget}: give more")
    images, labels = data["train"]
    order = torch.Generator().manual_seed(seed)
    spent, steps, seconds = 0, 0, 0.0
    best, kept, curve = -1.0, None, []
    while spent + method.evaluations <= budget:
        batch = torch.randint(len(labels), (batch_size,), generator=order)
        spent += method.evaluations
        started = time.process_time()
        method.step(images[batch], labels[batch], min(1.0, spent / budget))
        seconds += time.process_time() - started
        spent += getattr(method, "more", 0)
        steps += 1
        last = spent + method.evaluations > budget
        if last or spent * _VALIDATIONS // budget > len(curve):
            found = accuracy(network, data["validation"])
            curve += [found] * max(1, spent * _VALIDATIONS // budget - len(curve))
            if found > best:
                best, kept = found, copy.deepcopy(network.state_dict())
    assert kept is not None
    network.load_state_dict(kept)
    return {
        "method": name,
        "seed": seed,
        "setting": setting,
        "validation": round(best, 3),
        "test": round(accuracy(network, data["test"]), 3) if test else None,
        "evaluations": spent,
        "steps": steps,
        "seconds": round(seconds, 2),
        "microseconds_per_evaluation": round(1e6 * seconds / spent, 2),
        "curve": [round(v, 2) for v in curve],
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one method's runs: mean and standard deviation over seeds."""
    tests = [r["test"] for r in runs]
    return {
        **spread("test", tests, 2, None),
        "validation_mean": round(statistics.mean(r["validation"] for r in runs), 2),
        "seeds": len(runs),
        "evaluations": runs[0]["evaluations"],
        "seconds": round(statistics.median(r["seconds"] for r in runs), 1),
        "microseconds_per_evaluation": round(statistics.median(r["microseconds_per_evaluation"] for r in runs), 1),
    }


def summaries(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A summary of every method that has run."""
    return {name: summary(own) for name in SETTINGS if (own := [r for r in runs if r["method"] == name])}


def tuned() -> dict[str, Any]:
    """What ``tune`` has left, by method."""
    file = RESULTS / f"{_TUNED}.json"
    return read_json(file)["methods"] if file.is_file() else {}


def tune(task_name: str, names: list[str], batch_size: int, as_json: bool) -> None:
    """What validation says of every setting at a small budget; test images are not looked at."""
    data = TASKS[task_name].data()
    results = tuned()
    for name in names:
        found = [run(name, task_name, _TUNING_BUDGET, batch_size, 0, setting, data, test=False) for setting in SETTINGS[name]]
        best = max(found, key=lambda r: r["validation"])
        results[name] = {"chosen": best["setting"], "runs": found}
        rows = [
            {"method": n, **{k: r[k] for k in ("setting", "validation", "steps", "seconds")}} for n in results for r in results[n]["runs"]
        ]
        report(_TUNED, results, rows, {"task": task_name, "budget": _TUNING_BUDGET, "batch_size": batch_size}, False)
    if as_json:
        print(json.dumps(results))


def chosen_settings(names: list[str], long: bool) -> dict[str, dict[str, Any]]:
    """The setting of every method: of the long run, or what ``tune`` found best.

    Raises:
        InputError: a method has not been tuned, or not with the settings that there are now.
    """
    if long:
        return {name: SETTINGS[name][_LONG.get(name, 0)] for name in names}
    found = tuned()
    for name in names:
        if name not in found or found[name]["chosen"] not in SETTINGS[name]:
            raise InputError(f"{name} has no tuned setting: run `paper.py int8 --tune --methods {name}` first, or give --setting")
    return {name: found[name]["chosen"] for name in names}


def kept_runs(path: str, details: dict[str, Any], settings: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs of an earlier call with the same budget, batch and settings."""
    file = RESULTS / f"{path}.json"
    if not file.is_file():
        return []
    earlier = read_json(file)
    if any(earlier.get(key) != value for key, value in details.items()):
        raise InputError(f"{file.name} was measured with other settings: leave --resume out to replace it")
    return [r for r in earlier["runs"] if r["setting"] == settings.get(r["method"], r["setting"])]


def compare(arguments: argparse.Namespace) -> None:
    """The table of a task."""
    task: Task = TASKS[arguments.task]
    names: list[str] = arguments.methods
    path = f"paper-{arguments.task}" + (f"-{arguments.budget}" if arguments.budget else "")
    path += f"-setting{arguments.setting}" if arguments.setting is not None else ""
    details = {"task": arguments.task, "budget": arguments.budget or task.budget, "batch_size": arguments.batch_size}
    if arguments.setting is None:
        settings = chosen_settings(names, arguments.budget is None)
    else:
        settings = {name: SETTINGS[name][arguments.setting] for name in names}
    runs = kept_runs(path, details, settings) if arguments.resume else []
    data = task.data()
    torch.manual_seed(0)
    num_parameters = sum(p.numel() for p in task.make().parameters())
    version = importlib.metadata.version("polystep") if importlib.util.find_spec("polystep") else None
    for seed in arguments.seeds:
        for name in names:
            if any(r["method"] == name and r["seed"] == seed for r in runs):
                continue
            runs.append(run(name, arguments.task, details["budget"], arguments.batch_size, seed, settings[name], data))
            print({k: v for k, v in runs[-1].items() if k != "curve"}, file=sys.stderr, flush=True)
            methods = summaries(runs)
            rows = [{"method": n, **{k: v for k, v in m.items() if k != "seeds"}, "seeds": m["seeds"]} for n, m in methods.items()]
            more = {"parameters": num_parameters, "paper": task.paper, "published_version": version, "runs": runs}
            # After every run: what stands is kept.
            report(path, methods, rows, details | more, False)
    if arguments.json:
        print(json.dumps(summaries(runs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--methods", nargs="+", choices=SETTINGS, default=["weights"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", type=positive, help="candidate evaluations of a run, for all methods; the task's own if left out")
    parser.add_argument("--batch-size", type=positive, default=256)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument(
        "--setting", type=int, choices=range(4), help="one of the method's four settings, not the tuned one; to its own results"
    )
    parser.add_argument("--tune", action="store_true", help="compare settings on validation images instead")
    parser.add_argument("--resume", action="store_true", help="keep the runs that the result file holds, and add to them")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    require(parser, *(package for method, package in _PACKAGES.items() if method in arguments.methods))
    torch.set_num_threads(arguments.threads)
    try:
        if arguments.tune:
            tune(arguments.task, arguments.methods, arguments.batch_size, arguments.json)
        else:
            compare(arguments)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
