"""``polystep-snn adapt --labels none`` and ``--labels 0.02``: without labels first, and then with the few there are."""

import argparse
import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from polystep_snn.cli.console import print_json, progress_bar, say
from polystep_snn.cli.learning import carry_out
from polystep_snn.errors import InputError

if TYPE_CHECKING:
    from polystep_snn.datasets.base import Part
    from polystep_snn.hardware.adaptation import Images, SpikeTrains
    from polystep_snn.hardware.unlabelled import Adaptation

_SAMPLES = 5000
# As ``adapt`` draws: of the stream, which is the sensor's too, and of the test samples.
_STREAM, _TEST = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that only this has."""
    parser.add_argument(
        "--labels",
        metavar="none|X",
        help="adapt without labels, by optimal transport; with a fraction X of labels learn from these afterwards (default: learn only)",
    )
    parser.add_argument(
        "--no-self-labels",
        dest="self_labels",
        action="store_false",
        help="with --labels X: learn from these labels alone, not from the rest of the stream as they and its neighbours label it",
    )
    parser.add_argument("--every", type=int, default=150, metavar="N", help="with --labels: samples between two decisions (default 150)")


def parse_labels(text: str) -> float:
    """A fraction: 0 for "none", at most 1.

    Raises:
        InputError: anything else.
    """
    if text == "none":
        return 0.0
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 < fraction <= 1:
        raise InputError(f"--labels is {text!r}: choose none, or a fraction above 0, 1 at most")
    return fraction


def run(arguments: argparse.Namespace) -> int:
    """Adapt, say why or why not, and what it was worth."""
    import numpy as np

    from polystep_snn.files import make_folder, write_json, write_text
    from polystep_snn.hardware import network_file
    from polystep_snn.hardware.adaptation import Images, Pool, few_labels_lesson
    from polystep_snn.hardware.backend import open_backend
    from polystep_snn.hardware.learning_rule import LearningRule
    from polystep_snn.hardware.self_labels import SelfLabelling, answers, self_labels
    from polystep_snn.hardware.transport_rule import TransportRule
    from polystep_snn.hardware.unlabelled import Adaptation
    from polystep_snn.hardware.watching import ImageStream, SpikeStream, check_stream
    from polystep_snn.trained_networks import folder_of
    from polystep_snn.training.deploy import deploy
    from polystep_snn.training.kept_statistics import with_statistics
    from polystep_snn.training.offchip import accuracy
    from polystep_snn.training.run_folder import RunFolder, open_run
    from polystep_snn.training.streams import check_shift, sensor_of

    fraction = parse_labels(arguments.labels)
    if not fraction and not arguments.self_labels:
        raise InputError("--no-self-labels has no meaning without labels: leave it out, or give --labels a fraction")
    for name in ("labelled", "replay", "held_out", "round_size"):
        if getattr(arguments, name) != {"labelled": 1.0, "replay": 0.0}.get(name):
            raise InputError(f"--{name.replace('_', '-')} has no meaning with --labels: leave it out")
    samples = _SAMPLES if arguments.samples is None else arguments.samples
    if samples < 1:
        raise InputError(f"--samples is {samples}: choose at least 1")
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    check_shift(arguments.shift)
    rule = TransportRule(arguments.every)
    learning = LearningRule(
        tuple(arguments.writable), arguments.batch_size, arguments.rate, arguments.readout_rate, "cosine", arguments.radius
    )
    folder = RunFolder(arguments.out)
    folder.check_free()
    opened = open_run(arguments.run_folder, arguments.data_dir)
    if opened.config.method.cost == "mse":
        raise InputError(f"the run in {arguments.run_folder} has real targets, but what adapts on the chip are classes: choose another run")
    dataset = opened.dataset
    of_run = 1000 * arguments.seed
    sensor = sensor_of(opened.config, dataset.train, arguments.shift, of_run + _STREAM)
    deployed = RunFolder(folder_of(arguments.run_folder)).network
    network = network_file.load(deployed) if deployed.exists() else with_statistics(opened, deploy(opened).integers)
    adaptation = Adaptation(network, rule)

    def shifted(part: "Part", numbers: np.ndarray, seed: int) -> "Images | SpikeTrains":
        return sensor.shifted(sensor.take(part, numbers), of_run + seed)

    order = np.random.default_rng(arguments.seed).permutation(len(dataset.train))[:samples]
    new = shifted(dataset.train, order, _STREAM)
    stream = ImageStream(new.images) if isinstance(new, Images) else SpikeStream(new.spikes, len(new.labels))
    check_stream(stream, network, rule.window)
    num_labels = round(fraction * len(stream))
    if fraction and num_labels < learning.batch_size:
        raise InputError(
            f"--labels {arguments.labels} of {len(stream)} samples are {num_labels}, less than a batch of {learning.batch_size}: give "
            "more, or a smaller --batch-size"
        )
    make_folder(folder.path)
    lock = folder.lock("adapts")
    folder.check_free()
    say(f"{dataset.name} under {arguments.shift}: {len(stream)} samples without labels, a decision every {rule.window} at least")
    started = time.perf_counter()
    with open_backend(arguments.backend, network) as backend, progress_bar(backend.name, len(stream)) as bar:
        backend.adapt(adaptation, stream, on_samples=lambda shown: bar.update(shown - bar.n))
    for event in adaptation.events:
        if event.what != "keep":
            say(f"after {event.sample} samples: {event.what}, {event.reason}")
    say(("acted: " if adaptation.acted else "did not act: ") + adaptation.reason)
    moved = adapted = replace(adaptation.own, statistics=None)
    if num_labels:
        few = new.first(num_labels)
        lesson, pool = few_labels_lesson(moved, learning, few, adaptation.acted, arguments.seed)
        say(f"then {num_labels} labelled samples, in {lesson.learner.num_updates} batches, {', '.join(learning.writable)} writable")
        carry_out(lesson, pool, arguments.backend, folder.network)
        adapted = lesson.learner.learned()
    told: dict[str, Any] = {}
    if num_labels and arguments.self_labels:
        before, after = (answers(net, learning, Pool(net, new).spikes, len(stream)) for net in (moved, adapted))
        found = self_labels(before, after, few.labels, SelfLabelling())
        right = float((found.labels == new.labels)[num_labels:].mean()) if num_labels < len(stream) else 1.0
        told = {"walked": found.walked, "right": found.right, "right_walked": found.right_walked, "accuracy": right}
        voted = "its neighbours vote on every sample" if found.walked else "neighbours have no vote"
        say(
            f"of the labelled samples the network had {found.right} right without them, its neighbours {found.right_walked}: {voted}; "
            "then the whole stream, once, as it has been labelled"
        )
        labelled = new._replace(labels=found.labels)
        lesson, pool = few_labels_lesson(adapted, learning, labelled, adaptation.acted, arguments.seed, passes=1)
        carry_out(lesson, pool, arguments.backend, folder.network)
        adapted = lesson.learner.learned()
    network_file.save(folder.network, adapted)
    seconds = time.perf_counter() - started

    tested = np.arange(len(dataset.test))[: arguments.limit]
    result: dict[str, Any] = {"acted": adaptation.acted, "reason": adaptation.reason}
    for name, seen in (("clean", sensor.take(dataset.test, tested)), ("shifted", shifted(dataset.test, tested, _TEST))):
        stages = {"before": network, **({"without_labels": moved} if num_labels else {}), "after": adapted}
        for when, stage in stages.items():
            pool = Pool(stage, seen)
            result[f"{name}_accuracy_{when}"] = accuracy(stage, pool.spikes, pool.labels)
    result |= {
        "samples": len(stream),
        "labels": num_labels,
        "writes": len(adaptation.history) - 1,
        "events": [event._asdict() for event in adaptation.events],
        "seconds": round(seconds, 3),
        "backend": arguments.backend,
        "shift": arguments.shift,
        "rule": asdict(rule),
        "learning": asdict(learning),
        "run": str(arguments.run_folder),
        "given_labels": arguments.labels,
        "self_labels": told,
        "limit": arguments.limit,
        "seed": arguments.seed,
    }
    validation = Pool(adapted, sensor.take(dataset.validation, np.arange(len(dataset.validation))))
    score = accuracy(adapted, validation.spikes, validation.labels)
    # Not that of the run before, which the network's provenance tells of.
    write_text(folder.metrics, json.dumps({"epoch": 1, "val_accuracy": score}) + "\n")
    write_json(folder.summary, result)
    opened.describe_in(folder.path)
    _draw(folder, adaptation, new)
    for name in ("shifted", "clean"):
        say(f"{name:8s}{result[f'{name}_accuracy_before']:.2%} -> {result[f'{name}_accuracy_after']:.2%}")
    lock.release()
    say(f"the adapted network is in {folder.path}")
    if arguments.json:
        print_json(result)
    return 0


def _draw(folder, adaptation: "Adaptation", new: "Images | SpikeTrains") -> None:
    """Accuracy on the stream as it came, of the network that decided and of the one that stayed as it was."""
    from functools import partial

    import numpy as np

    from polystep_snn import plots
    from polystep_snn.files import make_folder, write_atomically
    from polystep_snn.hardware.adaptation import Pool
    from polystep_snn.hardware.simulator import Simulator

    pool, simulator = Pool(adaptation.deployed, new), Simulator(adaptation.deployed)
    numbers = np.arange(len(new.labels))
    frozen = np.concatenate([simulator.run(pool.spikes(part)).argmax(1) for part in np.array_split(numbers, max(1, len(numbers) // 500))])
    figure = plots.new_figure(6, 3.6)
    right = {"adapting": np.concatenate(adaptation.decisions) == new.labels, "as deployed": frozen == new.labels}
    plots.running_accuracy(figure.subplots(), right)
    make_folder(folder.figures)
    write_atomically(folder.figures / "adaptation.png", partial(figure.savefig, format="png"))
