"""Test accuracy on MNIST of the epoch that validation chose, over seeds, forward-only and by backpropagation through time.

    python benchmarks/mnist.py default --seeds 0 1 2 3 4
    python benchmarks/mnist.py paper --methods polystep --json

The settings differ in nothing but what their name says: everything else is the default of ``polystep-snn train mnist``. Methods take
turns, seed by seed, on the same network, data, optimizer and epochs. BPTT has the learning rate, weight decay and surrogate
that scored best on validation (seeds 0 and 1) among 1e-3 … 5e-3, 0.1 … 0.5, fast sigmoid and superspike.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from common import report, spread

from polystep_snn.datasets import load
from polystep_snn.training.build import build_bptt, build_polystep
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.observer import Observer
from polystep_snn.training.trainer import Trainer

SETTINGS = {
    "default": {},  # 784-128-10, T = 15, direct current, membrane readout
    "wide": {"hidden": (512,)},
    "paper": {"readout": "count"},  # spike counts of LIF outputs as logits, reset to zero, beta = 0.95 (arXiv 2605.01928)
    "short": {"hidden": (300,), "num_steps": 8},
    "long": {"hidden": (64,), "num_steps": 30},
    "rate": {"encoder": "rate"},
    "poisson": {"encoder": "poisson"},
    "latency": {"encoder": "latency"},
    "deep": {"hidden": (256, 128), "num_steps": 10, "credit": "chained"},
    "conv": {"hidden": ("16c5s2", "32c5s2"), "num_steps": 10, "credit": "chained", "batch_size": 64, "weight_decay": 0.05},
}


class _Quiet(Observer):
    """Keeps the warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


# Found on validation, seeds 0 and 1; see the top of this file.
BPTT_TUNED = {"lr": 5e-3, "weight_decay": 0.5}
# What is different from the defaults, and what fills the gradients.
METHODS = {
    "polystep": ({}, build_polystep),
    "bptt": (BPTT_TUNED, partial(build_bptt, surrogate="superspike")),
}


def run(method: str, setting: str, seed: int, epochs: int, threads: int, permuted: bool) -> dict:
    """Train once; the summary with time to 95 and 97 % of validation."""
    dataset = load("mnist")
    if permuted:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(dataset.train), generator=generator).numpy()
        dataset = replace(dataset, train=replace(dataset.train, labels=dataset.train.labels[order]))
    observer = _Quiet()
    with tempfile.TemporaryDirectory() as folder:
        options, make_method = METHODS[method]
        config = TrainConfig("mnist", seed=seed, epochs=epochs, threads=threads, **{**SETTINGS[setting], **options})
        trainer = Trainer(config, Path(folder), dataset, observer=observer, make_method=make_method)
        summary = trainer.fit()
    history = trainer.position.history
    seconds = [b["seconds"] - a["seconds"] for a, b in pairwise(history)] or [history[0]["seconds"]]
    # The first epoch holds the compilation: it counts as long as a later one.
    warm = [seconds[0] + m["seconds"] - history[0]["seconds"] for m in history]
    summary["seconds_per_epoch"] = statistics.median(seconds)
    for goal in (95, 97):
        summary[f"seconds_to_{goal}"] = next((t for m, t in zip(history, warm, strict=True) if m["val_accuracy"] >= goal / 100), None)
    summary["peak_mb"] = history[-1]["peak_rss_mb"]
    summary["warnings"] = observer.warnings
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["polystep", "bptt"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--permuted-labels", action="store_true", help="labels that say nothing: what leaks shows as accuracy above 10 %%")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()

    runs: dict[str, list[dict]] = {method: [] for method in arguments.methods}
    for seed in arguments.seeds:
        for method, own in runs.items():
            own.append(run(method, arguments.setting, seed, arguments.epochs, arguments.threads, arguments.permuted_labels))
            print(f"{method}, seed {seed}: test {own[-1]['test_accuracy']:.2%}, validation {own[-1]['val_accuracy']:.2%}", file=sys.stderr)
    results, rows = {}, []
    for method, own in runs.items():
        accuracies = [100 * r["test_accuracy"] for r in own]
        results[method] = {
            **spread("accuracy", accuracies),
            "accuracy_min": round(min(accuracies), 3),
            **{key: middle(own, key) for key in ("seconds_per_epoch", "seconds_to_95", "seconds_to_97", "peak_mb")},
        }
        rows.append({"method": method, **results[method], "accuracies": " ".join(f"{a:.2f}" for a in accuracies)})
    name = f"mnist-{arguments.setting}" + ("-permuted" if arguments.permuted_labels else "")
    if arguments.threads != 1:
        name += f"-threads{arguments.threads}"
    report(name, results, rows, {"setting": SETTINGS[arguments.setting], "epochs": arguments.epochs, "runs": runs}, arguments.json)


def middle(runs: list[dict], key: str) -> float | None:
    """The median over runs; None if one of them never got there."""
    values = [r[key] for r in runs]
    return None if None in values else round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
