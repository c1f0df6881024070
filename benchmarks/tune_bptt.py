"""How the baseline of ``mnist.py`` was tuned: BPTT over surrogates, learning rates and weight decays, judged on validation alone.

    python benchmarks/tune_bptt.py
    python benchmarks/tune_bptt.py paper --surrogates superspike --epochs 5

Every combination trains the same network on the same data with the same schedule as PolyStep, once a seed, through the same
trainer. The accuracy is the mean over seeds of the best epoch's on the 5,000 validation images.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from common import report
from mnist import SETTINGS

from polystep_snn.baselines.bptt import SURROGATES
from polystep_snn.datasets import Dataset, load
from polystep_snn.training.build import build_bptt
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.trainer import Trainer


def run(config: TrainConfig, surrogate: str, dataset: Dataset) -> list[float]:
    """Train once; validation accuracy in percent after every epoch."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder), dataset, make_method=partial(build_bptt, surrogate=surrogate))
        trainer.fit()
    return [100 * metrics["val_accuracy"] for metrics in trainer.position.history]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", nargs="?", choices=SETTINGS, default="default", help="as in mnist.py")
    parser.add_argument("--surrogates", nargs="+", choices=SURROGATES, default=["superspike", "fast_sigmoid"])
    parser.add_argument("--lr", type=float, nargs="+", default=[1e-3, 3e-3, 5e-3, 1.2e-2], help="learning rates")
    parser.add_argument("--weight-decay", type=float, nargs="+", default=[0.1, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N training images, to try it out")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()

    dataset = load("mnist")
    if arguments.limit:
        train = replace(dataset.train, images=dataset.train.images[: arguments.limit], labels=dataset.train.labels[: arguments.limit])
        dataset = replace(dataset, train=train)
    results = {}
    for surrogate, lr, weight_decay in product(arguments.surrogates, arguments.lr, arguments.weight_decay):
        own = []
        for seed in arguments.seeds:
            options = {"lr": lr, "weight_decay": weight_decay, "epochs": arguments.epochs, "seed": seed, "threads": arguments.threads}
            own.append(run(TrainConfig("mnist", **{**SETTINGS[arguments.setting], **options}), surrogate, dataset))
        best = [max(accuracies) for accuracies in own]
        name = f"{surrogate}, lr {lr:g}, weight decay {weight_decay:g}"
        results[name] = {
            "val_accuracy_mean": round(statistics.mean(best), 3),
            "val_accuracy_min": round(min(best), 3),
            "val_accuracy_last_epoch": round(statistics.mean(accuracies[-1] for accuracies in own), 3),
            "val_accuracies": [[round(a, 3) for a in accuracies] for accuracies in own],
        }
        print(f"{name}: {results[name]['val_accuracy_mean']:.2f} %", file=sys.stderr)
    ranking = sorted(results, key=lambda name: -results[name]["val_accuracy_mean"])
    rows = [{"BPTT with": name, **{k: v for k, v in results[name].items() if k != "val_accuracies"}} for name in ranking]
    report(f"tune-bptt-{arguments.setting}", results, rows, {"arguments": vars(arguments)}, arguments.json)


if __name__ == "__main__":
    main()
