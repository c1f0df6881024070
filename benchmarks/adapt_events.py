"""Adapting to events without labels: a new speaker of spoken digits, and N-MNIST with events that are lost or come by themselves.

    python benchmarks/adapt_events.py                    # trains eight networks, about 20 minutes
    python benchmarks/adapt_events.py --keep runs        # keeps them there, and takes those that stand there

``speakers``: a recurrent network of int8 weights has learned from all other speakers. Half of a speaker's recordings go by as a stream, the
other half is tested; then the halves change places. ``nmnist``: a dense one, a seed a run; all training recordings go by under the shift,
the test recordings are tested under it. Nothing was chosen on these data: the rule is that of images; windows of speakers are shorter,
since streams are.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import report
from over_time import SPEAKERS

from polystep_snn.datasets.folds import stratified_folds
from polystep_snn.hardware import network_file, watching
from polystep_snn.hardware.adaptation import SpikeTrains
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import SpikeStream
from polystep_snn.training.offchip import accuracy
from polystep_snn.training.run_folder import open_run
from polystep_snn.training.streams import sensor_of

SHIFTS = ("drop:0.3", "drop:0.5", "noise:0.005", "noise:0.02")
SEEDS = (0, 1, 2)
# Samples of a stage: half a speaker's recordings are 250, all of N-MNIST's subset for training 900.
WINDOWS = {"speakers": 80, "nmnist": 150}


def run_of(folder: Path, *options: str) -> Path:
    """A finished run; trained where it is not there."""
    if not (folder / "network.safetensors").exists():
        subprocess.run(
            [sys.executable, "-m", "polystep_snn.cli.main", "train", *options, "--neuron", "loihi", "--out", str(folder)], check=True
        )
    return folder


def adapted(folder: Path, window: int, new: SpikeTrains, tested: SpikeTrains) -> dict[str, Any]:
    """A stream goes by, and the network that it ends with is tested."""
    network, rule = network_file.load(folder / "network.safetensors"), TransportRule(window)
    adaptation = Adaptation(network, rule)
    watching.adapt(adaptation, SpikeStream(new.spikes, len(new.labels)))
    before, after = (100 * accuracy(net, tested.spikes, tested.labels) for net in (network, adaptation.own))
    return {"before": before, "after": after, "acted": adaptation.acted, "reason": adaptation.reason, "samples": len(new.labels)}


def speaker(folder: Path, name: str) -> list[dict[str, Any]]:
    """Both halves of a speaker's recordings."""
    opened = open_run(run_of(folder / f"spoken-{name}", "spoken-digits", "--hidden", "128r", "--speaker", name))
    sensor, part = sensor_of(opened.config, opened.dataset.test, None, 0), opened.dataset.test
    # Recordings come in any order, not by digit.
    halves = [np.random.default_rng(0).permutation(half) for half in stratified_folds(part.labels, 2, 0)]
    seen = [sensor.take(part, half) for half in halves]
    return [adapted(opened.path, WINDOWS["speakers"], *pair) for pair in (seen, seen[::-1])]


def shifted(folder: Path, seed: int, shift: str) -> dict[str, Any]:
    """N-MNIST under a shift."""
    opened = open_run(run_of(folder / f"nmnist-{seed}", "nmnist", "--seed", str(seed)))
    sensor = sensor_of(opened.config, opened.dataset.train, shift, 1000 * seed + 1)
    order = np.random.default_rng(seed).permutation(len(opened.dataset.train))
    new = sensor.shifted(sensor.take(opened.dataset.train, order), 1000 * seed + 1)
    tested = sensor.shifted(sensor.take(opened.dataset.test, np.arange(len(opened.dataset.test))), 1000 * seed + 3)
    return adapted(opened.path, WINDOWS["nmnist"], new, tested)


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over runs, and the worst of them."""
    return {
        "before": round(statistics.mean(r["before"] for r in found), 2),
        "after": round(statistics.mean(r["after"] for r in found), 2),
        "least_gain": round(min(r["after"] - r["before"] for r in found), 2),
        "acted": f"{sum(r['acted'] for r in found)} of {len(found)}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder of the runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    details: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        for person in SPEAKERS:
            details[f"speaker {person}"] = speaker(folder, person)
        for shift in SHIFTS:
            details[f"N-MNIST {shift}"] = [shifted(folder, seed, shift) for seed in SEEDS]
    results = {case: summary(found) for case, found in details.items()}
    report("adapt-events", results, [{"case": case, **row} for case, row in results.items()], {"runs": details}, arguments.json)


if __name__ == "__main__":
    main()
