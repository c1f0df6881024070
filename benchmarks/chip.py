"""What is trained is what the chip computes, on MNIST: accuracy over seeds, and every spike against the simulator and Lava.

    python benchmarks/chip.py --seeds 0 1 2 3 4
    python benchmarks/chip.py --seeds 0 --epochs 1 --lava-samples 0 --runs runs/bench

784-128-10 with 16 steps of the deterministic rate code, three ways: ``chip``, trained on the chip's integer neurons and int8 weights as by
``polystep-snn train mnist --neuron loihi``; ``float``, its twin in floating point; ``quantized``, the twin with its weights rounded
afterwards. The deployed networks of all seeds run in the simulator on the whole test set; the first seed's is also held against torch,
every spike, current and membrane, in the simulator on the whole test set and in Lava (`make lava-env`) on the first samples.

A run takes a minute or two. ``--runs DIR`` keeps them: what is finished there is opened, and what was begun goes on.
"""

import argparse
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import report, table

from polystep_snn.datasets import Dataset, load
from polystep_snn.errors import InputError
from polystep_snn.files import read_json
from polystep_snn.hardware.backend import Backend, open_backend
from polystep_snn.hardware.lava.worker_process import find_python
from polystep_snn.training.build import resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.deploy import Deployed, decisions, deploy, drift, verify
from polystep_snn.training.recipes import NEURON_RECIPES
from polystep_snn.training.run_folder import OpenedRun, RunFolder, open_run
from polystep_snn.training.trainer import Trainer

CHIP = NEURON_RECIPES["loihi"]
METHODS: dict[str, dict[str, Any]] = {
    "chip": {"neuron": "loihi", **CHIP},
    "float": {name: CHIP[name] for name in ("encoder", "num_steps")},
}

# Of the printed tables.
KEYS = ("accuracy_mean", "accuracy_std", "accuracy_min", "seconds_per_epoch", "peak_mb")
CHIP_KEYS = ("minus_float", "deployed_minus_trained", "differing_decisions")


def trained(method: str, seed: int, epochs: int, threads: int, runs: Path, dataset: Dataset) -> dict[str, Any]:
    """The summary of a run, which is made, finished, or found in ``runs``."""
    config = resolve(TrainConfig("mnist", seed=seed, epochs=epochs, threads=threads, **METHODS[method]))
    folder = RunFolder(runs / folder_name(method, seed))
    if folder.config.is_file():
        there, wanted = TrainConfig.from_json(read_json(folder.config)).to_json(), config.to_json()
        for name in wanted:
            if there[name] != wanted[name]:
                raise InputError(f"{folder.path} has {name} {there[name]}, not {wanted[name]}: choose other --runs, or the same options")
    if not folder.summary.is_file():
        Trainer(config, folder.path, dataset, resume=folder.checkpoint.is_file()).fit()
    summary = read_json(folder.summary)
    print(f"{method}, seed {seed}: test {summary['test_accuracy']:.2%}, validation {summary['val_accuracy']:.2%}", file=sys.stderr)
    history = open_run(folder.path).history
    seconds = [b["seconds"] - a["seconds"] for a, b in pairwise(history)] or [history[0]["seconds"]]
    return {
        **{name: summary[name] for name in ("test_accuracy", "val_accuracy", "epoch", "seed")},
        "seconds_per_epoch": statistics.median(seconds),
        "peak_mb": history[-1]["peak_rss_mb"],
    }


def folder_name(method: str, seed: int) -> str:
    return f"{method}{seed}"


def on_backend(run: OpenedRun, deployed: Deployed, backend: Backend, limit: int | None = None) -> dict[str, Any]:
    """Accuracy, and decisions that differ from torch's."""
    in_torch = run._replace(network=deployed.network).evaluate(limit).predictions.cpu().numpy()
    started = time.perf_counter()
    decided, labels = (np.concatenate(parts) for parts in zip(*decisions(run, backend, limit), strict=True))
    return {
        "samples": len(labels),
        "accuracy": float((decided == labels).mean()),
        "differing_decisions": int((decided != in_torch).sum()),
        "seconds": round(time.perf_counter() - started, 3),
    }


def held_against(run: OpenedRun, deployed: Deployed, name: str, limit: int | None = None) -> dict[str, Any]:
    """What torch and a backend give on the first samples, number by number."""
    with open_backend(name, deployed.integers) as backend:
        return {"backend": name, **on_backend(run, deployed, backend, limit), **verify(run, deployed.network, backend, limit)._asdict()}


def quantized(run: OpenedRun, deployed: Deployed) -> dict[str, Any]:
    """What rounding a network afterwards costs: on the test set accuracy, on validation accuracy and firing rates."""
    cost = drift(run, deployed)
    return {
        "test_accuracy": run._replace(network=deployed.network).evaluate().accuracy,
        "clipped": [fit.clipped for fit in deployed.fits],
        "error": [fit.error for fit in deployed.fits],
        **cost._asdict(),
        "rate_drift": [after / before - 1 for before, after in zip(cost.rates_before, cost.rates_after, strict=True)],
    }


def measure(arguments: argparse.Namespace, runs: Path) -> None:
    dataset = load("mnist")
    own: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    for seed in arguments.seeds:
        for method, found in own.items():
            found.append(trained(method, seed, arguments.epochs, arguments.threads, runs, dataset))

    comparisons = []
    for summary in own["chip"]:
        run = open_run(runs / folder_name("chip", summary["seed"]))
        deployed = deploy(run)
        with open_backend("simulator", deployed.integers) as backend:
            summary["simulator"] = on_backend(run, deployed, backend)
        if summary is own["chip"][0]:
            comparisons.append(held_against(run, deployed, "simulator"))
            if arguments.lava_samples:
                comparisons.append(held_against(run, deployed, "lava", arguments.lava_samples))
    own["quantized"] = []
    for summary in own["float"]:
        run = open_run(runs / folder_name("float", summary["seed"]))
        own["quantized"].append({**summary, **quantized(run, deploy(run))})

    results = {method: spread(found) for method, found in own.items()}
    on_chip = [r["simulator"] for r in own["chip"]]
    results["chip"] |= {
        "minus_float": round(results["chip"]["accuracy_mean"] - results["float"]["accuracy_mean"], 3),
        "deployed_minus_trained": max((s["accuracy"] - r["test_accuracy"] for s, r in zip(on_chip, own["chip"], strict=True)), key=abs),
        "differing_decisions": sum(s["differing_decisions"] for s in on_chip),
        "comparisons": comparisons,
    }
    for name in ("clipped", "rate_drift"):
        results["quantized"][name] = round(max((x for r in own["quantized"] for x in r[name]), key=abs), 5)
    print("\n" + table(comparisons), file=sys.stderr)
    print("\n" + table([{k: v for k, v in results["chip"].items() if k in CHIP_KEYS}]), file=sys.stderr)
    rows = [
        {
            "method": method,
            **{key: results[method][key] for key in KEYS},
            "accuracies": " ".join(f"{100 * r['test_accuracy']:.2f}" for r in found),
        }
        for method, found in own.items()
    ]
    name = "chip" if arguments.epochs == 10 else f"chip-epochs{arguments.epochs}"
    report(name, results, rows, {"settings": METHODS, "epochs": arguments.epochs, "runs": own}, arguments.json)


def spread(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Over seeds."""
    accuracies = [100 * r["test_accuracy"] for r in found]
    return {
        "accuracy_mean": round(statistics.mean(accuracies), 3),
        "accuracy_std": round(statistics.stdev(accuracies), 3) if len(found) > 1 else 0.0,
        "accuracy_min": round(min(accuracies), 3),
        **{key: round(statistics.median(r[key] for r in found), 3) for key in ("seconds_per_epoch", "peak_mb")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lava-samples", type=int, default=500, help="test samples that Lava runs and records; 0 where there is no Lava")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder that keeps the runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    try:
        if arguments.lava_samples:
            find_python()
        if arguments.runs is not None:
            measure(arguments, arguments.runs)
            return
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments, Path(folder))
    except InputError as error:
        sys.exit(f"chip.py: {error}")


if __name__ == "__main__":
    main()
