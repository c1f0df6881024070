"""What adapting has as settings, chosen on training and validation images: when to act without labels, and how a stream labels itself.

    python benchmarks/tune_adapting.py rule --runs runs/seed0 runs/seed1 runs/seed2    # of `train mnist --neuron loihi --seed N`
    python benchmarks/tune_adapting.py self-labels --runs runs/seed0 runs/seed1 runs/seed2

``rule``: under each of the first list of shifts of `adapt_without_labels.py` and with a sound sensor, maps are made from windows of
training images, whatever they bring, and their worth is measured on validation images. Every combination of thresholds then acts on
some of them: the points that it gains, a mean over shifts, and the most that it loses with one. ``self-labels``: of streams
that have labelled themselves by other settings, one changed at a time, the share of right labels. No test image is looked at.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from adapt_without_labels import FOUND_ON, LABELLED, LABELS, RULE, SAMPLES, accuracy, learned
from common import report

from polystep_snn.datasets import load
from polystep_snn.datasets.shifts import Shift
from polystep_snn.hardware import network_file, watching
from polystep_snn.hardware.adaptation import Images, Pool
from polystep_snn.hardware.current_statistics import MARGIN_UNIT, margins
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.self_labels import SelfLabelling, answers, self_labels
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import ImageStream

SOUND = LABELLED[-1]
# Windows a shift and seed, and validation images that say what maps are worth.
TRIALS, JUDGES = 4, 2000
LOST, SHARE, ERRORS = (0.0, 0.04, 0.08, 0.12, 0.16), (0.2, 0.3, 0.4, 0.5, 0.6), (0.0, 3.0)
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    *({"neighbours": k} for k in (2, 10, 20)),
    *({"stay": x} for x in (0.05, 0.2, 0.5)),
    *({"relaxed": x} for x in (0.0, 0.5, 2.0, 5.0, float("inf"))),
    *({"even": x} for x in (1.0, 3.0, 30.0)),
    *({"errors": x} for x in (-1e6, 0.0, 2.0, 3.0, 1e6)),
)


def images_of(part: Any) -> Images:
    return Images(part.images.astype(np.float32) / part.full_scale, part.labels.astype(np.int64))


def trials(network: IntegerNetwork, shift: Shift, seed: int, train: Images, validation: Images) -> Iterator[dict[str, float]]:
    """What maps bring back in the windows of a stream, and on the judges: where they are tried at all."""
    window = TransportRule().window
    order = np.random.default_rng((seed, 1)).permutation(len(train.labels))[: 3 * window * TRIALS]
    new = shift(train.images[order], 1000 * seed + 5)
    shifted = Images(shift(validation.images[:JUDGES], 1000 * seed + 6, sensor=1000 * seed + 5), validation.labels[:JUDGES])
    before, kept = accuracy(network, shifted), network.statistics
    assert kept is not None
    for start in range(0, len(order), 3 * window):
        stream, last = ImageStream(new[start : start + 3 * window]), slice(2 * window, 3 * window)
        adaptation = Adaptation(network, TransportRule(lost=0.0, share=0.0, errors=0.0))
        watching.adapt(adaptation, ImageStream(stream.images[: 2 * window]))
        tried, watched = adaptation.beside, [e.deployed for e in adaptation.events if e.what == "try"]
        if tried is network or not watched:
            yield {"lost": -1.0, "back": 0.0, "errors": 0.0, "gain": 0.0}
            continue
        old, with_maps = (margins(Simulator(n).run(stream.spikes(last, n))) for n in (network, tried))
        missing = kept.margin * window / MARGIN_UNIT - float(old.sum())
        gain = with_maps - old
        error = max(1e-9, float(gain.std() * np.sqrt(window)))
        back = float(gain.sum()) / missing if missing > 0 else 0.0
        watching.adapt(adaptation, ImageStream(stream.images[last]))
        worth = accuracy(adaptation.own, shifted) - before if adaptation.acted else 0.0
        yield {"lost": 1 - watched[0], "back": back, "errors": float(gain.sum()) / error, "gain": worth}


def tune_rule(networks: list[IntegerNetwork], seeds: list[int], train: Images, validation: Images) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every combination of thresholds; and all trials."""
    found: dict[str, list[dict[str, float]]] = {}
    for name in (*FOUND_ON, SOUND):
        pairs = zip(networks, seeds, strict=True)
        found[name] = [trial for network, seed in pairs for trial in trials(network, Shift.parse(name), seed, train, validation)]
        print(name, {key: round(statistics.mean(t[key] for t in found[name]), 3) for key in found[name][0]}, file=sys.stderr, flush=True)
    results = {}
    for lost, share, errors in product(LOST, SHARE, ERRORS):
        gains = {
            name: [t["gain"] if t["lost"] >= lost and t["back"] >= share and t["errors"] >= errors else 0.0 for t in own]
            for name, own in found.items()
        }
        results[f"lost {lost:g}, share {share:g}, errors {errors:g}"] = {
            "mean_gain": round(statistics.mean(statistics.mean(own) for own in gains.values()), 3),
            "worst": round(min(min(own) for own in gains.values()), 2),
        }
    return dict(sorted(results.items(), key=lambda item: -item[1]["mean_gain"])), {"trials": found}


def tune_labels(networks: list[IntegerNetwork], seeds: list[int], train: Images, _: Images) -> tuple[dict[str, Any], dict[str, Any]]:
    """The share of right labels by every change, by shift; and whether neighbours voted."""
    results: dict[str, dict[str, Any]] = {}
    details: dict[str, list[dict[str, Any]]] = {}
    for name in LABELLED:
        right: dict[str, list[float]] = {}
        details[name] = []
        for network, seed in zip(networks, seeds, strict=True):
            shift, order = Shift.parse(name), np.random.default_rng((seed, 1)).permutation(len(train.labels))[:SAMPLES]
            new = Images(shift(train.images[order], 1000 * seed + 5), train.labels[order])
            adaptation = Adaptation(network, TransportRule())
            watching.adapt(adaptation, ImageStream(new.images))
            moved, few = replace(adaptation.own, statistics=None), new.first(LABELS)
            first = learned(moved, few, adaptation.acted, seed)
            pool = Pool(moved, new)
            before, after = (answers(net, RULE, pool.spikes, SAMPLES) for net in (moved, first))
            for change in CHANGES:
                found = self_labels(before, after, few.labels, replace(SelfLabelling(), **change))
                words = ", ".join(f"{key} {value:g}" for key, value in change.items()) or "as they are"
                right.setdefault(words, []).append(100 * float((found.labels == new.labels)[LABELS:].mean()))
                if not change:
                    details[name].append(found._asdict() | {"labels": right[words][-1]})
            print(name, details[name][-1], file=sys.stderr, flush=True)
        for words, values in right.items():
            results.setdefault(words, {})[name] = round(statistics.mean(values), 2)
    for row in results.values():
        row["mean"] = round(statistics.mean(row.values()), 2)
    return results, {"settings": asdict(SelfLabelling()), "found": details}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rule", "self-labels"))
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="finished runs, one a seed, from 0 on")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    data, seeds = load("mnist"), list(range(len(arguments.runs)))
    networks = [network_file.load(run / "network.safetensors") for run in arguments.runs]
    tune = tune_rule if arguments.what == "rule" else tune_labels
    results, details = tune(networks, seeds, images_of(data.train), images_of(data.validation))
    rows = [{"settings": name, **row} for name, row in results.items()]
    report(f"tune-adapting-{arguments.what}", results, rows, details, arguments.json)


if __name__ == "__main__":
    main()
