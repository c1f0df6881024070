"""Learning on the chip, in integers: recovery from shifts of the sensor, and a network trained from nothing.

    python benchmarks/on_chip.py                       # both, on the simulator
    python benchmarks/on_chip.py --part adapt --run runs/chip
    python benchmarks/on_chip.py --part train --seeds 0 --backend lava --limit 10000 --epochs 1

Recovery is measured against the best readout that logistic regression finds for the same hidden spikes and all labels. It needs
a run of `polystep-snn train mnist --neuron loihi`; without --run one is trained.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from common import report

SHIFTS = ("noise:0.3", "contrast:0.15", "rotation:30")
WRITABLE = {"readout": ["readout"], "whole network": ["readout", "hidden"]}
REPLAY = (0.0, 0.5)


def command(*arguments: object) -> dict:
    """The JSON that a command of polystep-snn prints."""
    line = [sys.executable, "-m", "polystep_snn.cli.main", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def adapt(run: Path, folder: Path, backend: str, seeds: list[int]) -> dict[str, dict]:
    results = {}
    for shift, (name, writable), replay in product(SHIFTS, WRITABLE.items(), REPLAY):
        found = []
        for seed in seeds:
            out = folder / f"{shift}-{name}-{replay}-{seed}".replace(":", "-").replace(" ", "-")
            options = ("--writable", *writable, "--replay", replay, "--seed", seed, "--backend", backend)
            found.append(command("adapt", run, "--shift", shift, "--out", out, *options))
        mean = {key: statistics.mean(r[key] for r in found) for key in found[0] if isinstance(found[0][key], float)}
        gain = mean["shifted_accuracy_after"] - mean["shifted_accuracy_before"]
        results[f"{shift}, {name}, replay {replay}"] = {
            "shifted_before": round(100 * mean["shifted_accuracy_before"], 2),
            "shifted_after": round(100 * mean["shifted_accuracy_after"], 2),
            "offchip_readout": round(100 * mean["offchip_readout_accuracy"], 2),
            "share_of_its_gain": round(gain / (mean["offchip_readout_accuracy"] - mean["shifted_accuracy_before"]), 3),
            "clean_before": round(100 * mean["clean_accuracy_before"], 2),
            "clean_after": round(100 * mean["clean_accuracy_after"], 2),
            "samples_per_second": round(found[0]["forward_passes"] / mean["seconds"]),
        }
    return results


def train(folder: Path, backend: str, seeds: list[int], options: list[str]) -> dict[str, dict]:
    found = [
        command("train", "mnist", "--on-chip", "--backend", backend, "--out", folder / f"born-{s}", "--seed", s, *options) for s in seeds
    ]
    accuracies = [100 * r["test_accuracy"] for r in found]
    return {
        f"trained from nothing, {backend}": {
            "accuracy_mean": round(statistics.mean(accuracies), 2),
            "accuracy_std": round(statistics.stdev(accuracies), 2) if len(accuracies) > 1 else 0.0,
            "accuracies": [round(a, 2) for a in accuracies],
            "samples_per_second": round(statistics.mean(r["samples"] / r["seconds"] for r in found)),
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("adapt", "train", "both"), default="both")
    parser.add_argument("--run", type=Path, help="a finished run of the neuron 'loihi' on MNIST")
    parser.add_argument("--backend", choices=("simulator", "lava"), default="simulator")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8, help="passes of the network that is trained from nothing")
    parser.add_argument("--limit", type=int, help="training samples of a pass")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.part != "train":
            run = arguments.run or folder / "chip"
            if arguments.run is None:
                command("train", "mnist", "--neuron", "loihi", "--out", run)
            results |= adapt(run, folder, arguments.backend, arguments.seeds)
        if arguments.part != "adapt":
            options = ["--epochs", str(arguments.epochs), *(["--limit", str(arguments.limit)] if arguments.limit else [])]
            results |= train(folder, arguments.backend, arguments.seeds, options)
    title = f"on-chip-{arguments.part}-{arguments.backend}"
    settings = {"arguments": {k: v.name if isinstance(v, Path) else v for k, v in vars(arguments).items()}}
    report(title, results, [{"setting": name, **result} for name, result in results.items()], settings, arguments.json)


if __name__ == "__main__":
    main()
