"""Adapting to a sensor without labels: what it brings, where it does not act, how fast it is, and what a hundred labels add.

    python benchmarks/adapt_without_labels.py                                  # trains a run for each seed, then about 15 minutes
    python benchmarks/adapt_without_labels.py --runs runs/seed0 runs/seed1     # runs of `polystep-snn train mnist --neuron loihi`

The criterion of `hardware/unlabelled.py` was found on the first list of shifts; the second one was kept aside until it stood. A stream is
of 5,000 training images under the shift; accuracies are on the 10,000 test images under the same. After every stream the sensor recovers.
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

from polystep_snn.datasets import load
from polystep_snn.datasets.shifts import Shift
from polystep_snn.hardware import network_file, on_chip, watching
from polystep_snn.hardware.adaptation import Images, Pool, few_labels_lesson
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.self_labels import SelfLabelling, answers, self_labels
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import ImageStream

FOUND_ON = (
    *("noise:0.3", "noise:0.5", "contrast:0.5", "contrast:0.15", "inversion:0.4", "inversion:0.6", "rotation:15", "rotation:30"),
    *("translation:1", "translation:3", "occlusion:0.3", "dead:0.1", "dead:0.3", "dead:0.6"),
)
KEPT_ASIDE = (
    *("hot:0.1", "impulse:0.3", "gain:0.3", "gain:3", "brightness:0.3", "shade:0.5", "blur:1", "blur:2", "shear:0.2", "shear:0.5"),
)
# The last one is a sound sensor.
LABELLED = ("rotation:30", "noise:0.5", "blur:2", "contrast:0.15", "translation:3", "rotation:0")
SAMPLES, LABELS = 5000, 100
RULE = LearningRule(("readout", "hidden"), 16, 0.25, 2.0, "cosine", 0.2)
# Test images that say how many samples of the stream it takes.
FIRST = 2000


def accuracy(network: IntegerNetwork, images: Images) -> float:
    """In percent."""
    pool, simulator = Pool(network, images), Simulator(network)
    parts = np.array_split(np.arange(len(images.labels)), max(1, len(images.labels) // 1000))
    return 100 * float(np.mean(np.concatenate([simulator.run(pool.spikes(p)).argmax(1) == images.labels[p] for p in parts])))


def learned(network: IntegerNetwork, labelled: Images, acted: bool, seed: int) -> IntegerNetwork:
    """After PolyStep's update on the chip, as `adapt --labels 0.02 --writable readout hidden --no-self-labels` makes it."""
    lesson, pool = few_labels_lesson(network, RULE, labelled, acted, seed)
    on_chip.learn(lesson, pool.spikes)
    return lesson.learner.learned()


def learned_from_all(network: IntegerNetwork, first: IntegerNetwork, new: Images, acted: bool, seed: int) -> tuple[IntegerNetwork, bool]:
    """After what comes behind that by default, the whole stream as it has labelled itself; and whether neighbours voted."""
    pool = Pool(network, new)
    before, after = (answers(net, RULE, pool.spikes, len(new.labels)) for net in (network, first))
    found = self_labels(before, after, new.labels[:LABELS], SelfLabelling())
    lesson, pool = few_labels_lesson(first, RULE, Images(new.images, found.labels), acted, seed, passes=1)
    on_chip.learn(lesson, pool.spikes)
    return lesson.learner.learned(), found.walked


def one(network: IntegerNetwork, name: str, seed: int, train: Images, test: Images, window: int) -> dict[str, Any]:
    """A network and a shift."""
    shift, generator = Shift.parse(name), np.random.default_rng(seed)
    order = generator.permutation(len(train.labels))
    clean = Images(train.images[order], train.labels[order])
    new = Images(shift(clean.images[:SAMPLES], 1000 * seed + 1), clean.labels[:SAMPLES])
    shifted = Images(shift(test.images, 1000 * seed + 3, sensor=1000 * seed + 1), test.labels)
    adaptation = Adaptation(network, TransportRule(window))
    watching.adapt(adaptation, ImageStream(new.images))
    acted, moved = adaptation.acted, adaptation.own
    before = after = accuracy(network, shifted)
    if acted:
        after = accuracy(moved, shifted)
    result = {"before": before, "after": after, "acted": acted, "reason": adaptation.reason, "samples": 0}
    if acted:
        part = Images(shifted.images[:FIRST], shifted.labels[:FIRST])
        found = [(shown, accuracy(own, part)) for shown, own in adaptation.history]
        start, end = found[0][1], found[-1][1]
        result["samples"] = next(shown for shown, reached in found if reached - start >= 0.9 * (end - start))
    watching.adapt(adaptation, ImageStream(clean.images[SAMPLES : SAMPLES + 1000]))
    # The very object, so every register.
    result["restored"] = adaptation.own is network
    if name in LABELLED:
        few = Images(new.images[:LABELS], new.labels[:LABELS])
        result["labels"] = accuracy(learned(network, few, False, seed), shifted)
        first = learned(moved, few, acted, seed)
        result["both"] = accuracy(first, shifted)
        last, result["walked"] = learned_from_all(moved, first, new, acted, seed)
        result["all"] = accuracy(last, shifted)
    return result


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and the worst of them."""
    gains = [r["after"] - r["before"] for r in found]
    row = {
        "before": round(statistics.mean(r["before"] for r in found), 2),
        "accuracy_mean": round(statistics.mean(r["after"] for r in found), 2),
        "accuracy_std": round(statistics.stdev(r["after"] for r in found), 2) if len(found) > 1 else 0.0,
        "least_gain": round(min(gains), 2),
        "acted": f"{sum(r['acted'] for r in found)} of {len(found)}",
        "samples_to_90_percent_of_gain": max(r["samples"] for r in found),
        "restored": f"{sum(r['restored'] for r in found)} of {len(found)}",
    }
    for name in ("labels", "both", "all"):
        row[name] = round(statistics.mean(r[name] for r in found), 2) if name in found[0] else ""
    if "all" in found[0]:
        row["all_std"] = round(statistics.stdev(r["all"] for r in found), 2) if len(found) > 1 else 0.0
        row["walked"] = f"{sum(r['walked'] for r in found)} of {len(found)}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, nargs="+", help="one finished run for each seed; without it they are trained")
    parser.add_argument("--shifts", nargs="+", default=[*FOUND_ON, *KEPT_ASIDE, LABELLED[-1]])
    parser.add_argument("--every", type=int, default=150, help="samples between two decisions")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    if arguments.runs is not None and len(arguments.runs) != len(arguments.seeds):
        parser.error(f"{len(arguments.runs)} runs for {len(arguments.seeds)} seeds: give one a seed")
    data = load("mnist")
    train, test = (Images(p.images.astype(np.float32) / p.full_scale, p.labels.astype(np.int64)) for p in (data.train, data.test))
    with tempfile.TemporaryDirectory() as name:
        runs = arguments.runs or [Path(name) / f"seed{seed}" for seed in arguments.seeds]
        for run, seed in zip(runs, arguments.seeds, strict=True):
            if arguments.runs is None:
                command = ("train", "mnist", "--neuron", "loihi", "--seed", str(seed), "--out", str(run))
                subprocess.run([sys.executable, "-m", "polystep_snn.cli.main", *command], check=True)
        networks = [network_file.load(run / "network.safetensors") for run in runs]
    results, details = {}, {}
    for shift in arguments.shifts:
        pairs = zip(networks, arguments.seeds, strict=True)
        details[shift] = [one(network, shift, seed, train, test, arguments.every) for network, seed in pairs]
        results[shift] = summary(details[shift])
        print(shift, results[shift], file=sys.stderr, flush=True)
    rows = [{"shift": name, "kept aside": "yes" if name in KEPT_ASIDE else "", **row} for name, row in results.items()]
    settings = {"arguments": {"seeds": arguments.seeds, "every": arguments.every}, "seeds": details}
    report("adapt-without-labels", results, rows, settings, arguments.json)


if __name__ == "__main__":
    main()
