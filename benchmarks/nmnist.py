"""Cross-validation on N-MNIST: forward-only (int8 weights, float weights, the chip's neurons) and backpropagation through time.

    python benchmarks/nmnist.py --seeds 0 1 2
    python benchmarks/nmnist.py --seeds 0 --folds 1 2 --no-augmentation --json
    python benchmarks/nmnist.py --network conv --seeds 0 1 --methods polystep_float bptt
    python benchmarks/nmnist.py --network recurrent --tune --seeds 0 --folds 1 2 --methods polystep_float

All recordings there are, Train and Test alike, are dealt into folds; each fold is tested once by a network that was trained on nine
tenths of the others and chosen by the last tenth. Methods take turns, fold by fold and seed by seed, with the same recordings, framing,
augmentation, network, readout, batches and epochs; everything else is the recipe of ``polystep-snn train nmnist``. BPTT has the learning
rate and thresholds that scored best on validation parts.

``--tune`` compares the settings of ``TRIALS`` on validation parts alone.

With ``--runs`` a run that is there already is not made again, so that several processes can share the work, each with seeds of its
own, and a last one prints the table. ``framing_share`` is what reading and framing cached recordings takes of a training epoch,
``feeding_share`` that and augmenting them.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import report

from polystep_snn.datasets import Dataset
from polystep_snn.datasets.config import AUGMENTATION_OPTIONS
from polystep_snn.datasets.nmnist import load_nmnist
from polystep_snn.errors import InputError
from polystep_snn.files import read_json, write_json
from polystep_snn.snn.frames import time_blocks
from polystep_snn.training.build import build_bptt, build_framing, build_polystep, resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import Feed, make_feed
from polystep_snn.training.observer import Observer
from polystep_snn.training.recipes import recipe
from polystep_snn.training.trainer import Trainer

NUM_FOLDS = 5
# What is different from the recipe.
_MAPS = {"hidden": ("16c6s3", "32c4s2"), "epochs": 20, "batch_size": 8, "averaging": 0.995, "weight_decay": 0.05, "lr": 4e-3}
_PROBES = {"credit": "chained", "windows": 5, "radius": 0.5, "eps": 1.0}
# Found with --tune, seed 0, folds 1 to 3.
_RECURRENT = {"hidden": ("128r",), "radius": 1.0, "lr": 1e-2}
_DELAYED = {"hidden": ("128d8",), "blank_steps": 8}
NETWORKS: dict[str, dict[str, Any]] = {"dense": {}, "conv": {**_MAPS, **_PROBES}, "recurrent": _RECURRENT, "delayed": _DELAYED}
# For BPTT, found on validation parts: dense, among learning rates 2e-3 to 2e-2 and thresholds 1 or as calibrated; conv, among learning
# rates 2e-3, 5e-3 and 1e-2.
BPTT_TUNED: dict[str, dict[str, Any]] = {"dense": {"lr": 2e-2, "v_th": 0.0}, "conv": {"lr": 2e-3, "v_th": 0.0}}
BPTT_TUNED |= {"recurrent": {"lr": 1e-2, "v_th": 0.0}, "delayed": {"lr": 1e-2, "v_th": 0.0}}
# What ``--tune`` compares, for networks with memory.
TRIALS: dict[str, list[dict[str, Any]]] = {
    "polystep": [
        {"radius": 0.5, "lr": 5e-3},
        {"radius": 1.0, "lr": 5e-3},
        {"radius": 2.0, "lr": 5e-3},
        {"radius": 1.0, "lr": 1e-2},
        {"radius": 2.0, "lr": 1e-2},
    ],
    "bptt": [{"lr": 5e-3}, {"lr": 1e-2}, {"lr": 2e-2}],
}
# What fills the gradients.
METHODS: dict[str, Callable[..., Any]] = {
    "polystep": build_polystep,
    "polystep_float": build_polystep,
    "polystep_int8": build_polystep,
    "bptt": partial(build_bptt, surrogate="superspike"),
}


def configuration(method: str, seed: int, arguments: argparse.Namespace, trial: dict[str, Any] | None = None) -> TrainConfig:
    """Of one run; the same for all folds. ``trial`` is one of ``TRIALS``."""
    neuron = "loihi" if method == "polystep_int8" else "lif"
    options = {**recipe("nmnist", neuron), **NETWORKS[arguments.network], "neuron": neuron}
    if method in ("polystep_float", "bptt"):
        options["weight_bits"] = 32
    if method == "bptt":
        options |= BPTT_TUNED[arguments.network]
    options |= trial or {}
    if not arguments.augmentation:
        options = {name: value for name, value in options.items() if name not in AUGMENTATION_OPTIONS}
    if arguments.epochs is not None:
        options["epochs"] = arguments.epochs
    return resolve(TrainConfig("nmnist", seed=seed, threads=arguments.threads, device="cpu", **options))


def run(method: str, config: TrainConfig, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """What training and testing on one fold gave; read back where it was done before."""
    path = folder / "result.json"
    if path.is_file():
        result = read_json(path)
        if TrainConfig.from_json(result["config"]) != config or result["dataset"] != dataset.title:
            raise InputError(f"{folder} holds a run of another configuration: choose other --runs, or the same options")
        return result
    clock = _Clock()
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was stopped
    trainer = Trainer(config, folder, dataset, observer=clock, make_method=METHODS[method])
    summary = trainer.fit()
    assert summary is not None
    history = trainer.position.history
    seconds = statistics.median([b["seconds"] - a["seconds"] for a, b in pairwise(history)] or [history[0]["seconds"]])
    epoch = statistics.median(clock.seconds)
    sparse, steps = trainer.network.wirings[0].is_matrix, trainer.steps_per_epoch
    framing, feeding = (
        seconds_of_frames(feed, config.optimizer.batch_size, steps, sparse) for feed in (make_feed(config, dataset.train), trainer.feed)
    )
    result = {
        **{name: summary[name] for name in ("dataset", "test_accuracy", "val_accuracy", "epoch", "seed")},
        "last_val_accuracy": history[-1]["val_accuracy"],
        "train_accuracy": history[-1]["train_accuracy"],
        "seconds_per_epoch": seconds,
        "framing_share": framing / epoch,
        "feeding_share": feeding / epoch,
        "firing_rates": history[-1]["firing_rates"],
        "dead_neurons": history[-1]["dead_neurons"],
        "peak_mb": history[-1]["peak_rss_mb"],
        "config": config.to_json(),
    }
    write_json(path, result)
    return result


class _Clock(Observer):
    """Takes the time of this thread in every epoch: processes that share the machine do not count."""

    def __init__(self):
        self.seconds = []

    def epoch_begins(self, epoch, step, num_steps):
        self.started = time.thread_time()

    def epoch_done(self, metrics):
        self.seconds.append(time.thread_time() - self.started)


def seconds_of_frames(feed: Feed, batch_size: int, num_batches: int, sparse: bool) -> float:
    """Time of this thread that all frames of an epoch take, sparse as a dense layer takes them or not; the median of three epochs."""
    times = []
    for epoch in range(3):
        started = time.thread_time()
        for batch in torch.randperm(len(feed)).split(batch_size)[:num_batches]:
            for _ in time_blocks(feed.batch(batch, epoch)[0], sparse):
                pass
        times.append(time.thread_time() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--folds", type=int, nargs="+", choices=range(1, NUM_FOLDS + 1), default=list(range(1, NUM_FOLDS + 1)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--network", choices=NETWORKS, default="dense", help="one hidden layer of 128, or two convolutions")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-augmentation", dest="augmentation", action="store_false", help="recordings as they are")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs; by default they are forgotten")
    parser.add_argument("--tune", action="store_true", help="compare settings on validation parts instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    try:
        action = tune if arguments.tune else measure
        if arguments.runs is not None:
            action(arguments, arguments.runs)
        else:
            with tempfile.TemporaryDirectory() as folder:
                action(arguments, Path(folder))
    except InputError as error:
        sys.exit(f"error: {error}")


def tune(arguments: argparse.Namespace, runs: Path) -> None:
    """Validation accuracies of every method's settings; the test parts are not looked at."""
    folds = _folds(arguments)[1]
    results, rows = {}, []
    for method in arguments.methods:
        for trial in TRIALS["bptt" if method == "bptt" else "polystep"]:
            name = f"{method} " + " ".join(f"{key}={value:g}" for key, value in trial.items())
            found = [
                run(method, configuration(method, seed, arguments, trial), folds[fold], runs / f"{name}-fold{fold}-seed{seed}")
                for seed in arguments.seeds
                for fold in arguments.folds
            ]
            accuracies = [100 * result["val_accuracy"] for result in found]
            results[name] = {"val_accuracy_mean": round(statistics.mean(accuracies), 3), "val_accuracies": accuracies}
            rows.append({"settings": name, "val_accuracy_mean": results[name]["val_accuracy_mean"]})
            print(rows[-1], file=sys.stderr, flush=True)
    details = {"network": arguments.network, "folds": arguments.folds, "seeds": arguments.seeds}
    report(f"nmnist-tune-{arguments.network}", results, rows, details, arguments.json)


def measure(arguments: argparse.Namespace, runs: Path) -> None:
    """Train everything, print the table, write the JSON."""
    data, folds = _folds(arguments)
    kind = ("" if arguments.network == "dense" else f"{arguments.network}-") + ("augmented" if arguments.augmentation else "plain")
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in arguments.methods}
    for seed in arguments.seeds:
        for fold in arguments.folds:
            for method, own in found.items():
                config = configuration(method, seed, arguments)
                own.append(run(method, config, folds[fold], runs / f"{kind}-{method}-fold{fold}-seed{seed}"))
                last = own[-1]
                print(
                    f"{method}, seed {seed}, {last['dataset']}: test {last['test_accuracy']:.2%}, validation {last['val_accuracy']:.2%}",
                    file=sys.stderr,
                )
    results, rows = {}, []
    for method, own in found.items():
        results[method] = row(own, len(arguments.folds))
        rows.append({"method": method, **results[method]})
    for method in results:
        if method != "polystep" and "polystep" in results:
            difference = results["polystep"]["accuracy_mean"] - results[method]["accuracy_mean"]
            print(f"polystep minus {method}: {difference:+.2f} points on the mean", file=sys.stderr)
    details = {"dataset": data.note or "the full set", "folds": arguments.folds, "seeds": arguments.seeds, "runs": found}
    name = "nmnist" + ("" if arguments.network == "dense" else f"-{arguments.network}") + ("" if arguments.augmentation else "-plain")
    report(name, results, rows, details, arguments.json)


def _folds(arguments: argparse.Namespace) -> tuple[Dataset, dict[int, Dataset]]:
    """All recordings, and the five folds. Their order does not depend on a run's seed: all methods and seeds see the same parts."""
    data = load_nmnist(framing=build_framing(configuration("polystep", 0, arguments)))
    return data, dict(enumerate(data.folds(NUM_FOLDS, seed=0), 1))


def row(runs: list[dict[str, Any]], num_folds: int) -> dict[str, float]:
    """Accuracies in percent: mean and standard deviation over all runs, standard deviation over seeds of the mean over folds."""
    accuracies = [100 * r["test_accuracy"] for r in runs]
    by_seed = [statistics.mean(accuracies[k : k + num_folds]) for k in range(0, len(accuracies), num_folds)]
    return {
        "accuracy_mean": round(statistics.mean(accuracies), 3),
        "accuracy_std": _spread(accuracies),
        "std_over_seeds": _spread(by_seed),
        "accuracy_min": round(min(accuracies), 3),
        "seconds_per_epoch": round(statistics.median(r["seconds_per_epoch"] for r in runs), 3),
        **{name: round(statistics.median(r[name] for r in runs), 4) for name in ("framing_share", "feeding_share")},
        "peak_mb": max(r["peak_mb"] for r in runs),
    }


def _spread(values: list[float]) -> float:
    return round(statistics.stdev(values), 3) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
