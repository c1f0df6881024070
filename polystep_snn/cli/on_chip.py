"""``polystep-snn train --on-chip``: a network that learns where it runs, from random int8 weights."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from polystep_snn.cli.console import print_json, say
from polystep_snn.cli.learning import carry_out
from polystep_snn.cli.run_options import given_options
from polystep_snn.datasets.config import EVENTS
from polystep_snn.errors import InputError
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import NOT_ON_CHIP, on_chip_recipe

if TYPE_CHECKING:
    from polystep_snn.datasets.base import Part
    from polystep_snn.hardware.adaptation import Images, SpikeTrains


def run(arguments: argparse.Namespace, own: dict[str, Any] | None = None) -> int:
    """Learn, keep what validation likes best, test it."""
    import numpy as np

    import polystep_snn
    from polystep_snn.files import make_folder, write_json, write_text
    from polystep_snn.hardware.adaptation import Pool, random_network, training_lesson
    from polystep_snn.hardware.chip import preflight
    from polystep_snn.hardware.learning_rule import LearningRule
    from polystep_snn.training.data import load_run_data
    from polystep_snn.training.offchip import accuracy
    from polystep_snn.training.run_folder import RunFolder
    from polystep_snn.training.streams import sensor_of

    given = given_options(arguments)
    for name in (*NOT_ON_CHIP, "reset", "alpha", "readout", "readout_decay"):
        if name in given:
            raise InputError(f"{name.replace('_', '-')} has no meaning with --on-chip: leave it out")
    if arguments.resume:
        raise InputError("--resume has no meaning with --on-chip: start the run again")
    config = TrainConfig(arguments.dataset, **{**on_chip_recipe(arguments.dataset, own), **given})
    width = config.network.hidden[0]
    if len(config.network.hidden) != 1 or not isinstance(width, int):
        raise InputError(
            f"hidden is {list(config.network.hidden)}: the loop on the chip trains networks of one dense hidden layer without recurrent "
            "weights or delays, give one width"
        )
    dataset, record = load_run_data(config, arguments.data_dir)
    sensor = sensor_of(config, dataset.train, None, 0)
    folder = RunFolder(arguments.out)
    folder.check_free()

    def seen(part: "Part", limit: int | None = None) -> "Images | SpikeTrains":
        return sensor.take(part, np.arange(len(part))[:limit])

    shape = tuple(dataset.train.shape)
    dv = min(round(4096 * (1 - config.network.beta)), 4095)
    sizes = (int(np.prod(shape)), width, dataset.num_classes)
    encoder = EVENTS if config.data.holds_sequences else config.data.encoder
    network = random_network(sizes, config.data.total_steps, encoder, shape, dataset.classes, dv, config.run.seed)
    rule = LearningRule(
        ("readout", "hidden"), config.optimizer.batch_size, schedule="cosine", radius=config.method.radius, eps=config.method.eps
    )
    lesson, pool = training_lesson(
        network, rule, seen(dataset.train, arguments.limit), seen(dataset.validation), config.optimizer.epochs, config.run.seed
    )
    # While it learns, every hidden neuron stands beside two copies of itself.
    report = preflight(network)
    say(report.table())
    report.check()
    say(f"learning, the hidden layer stands there three times: {2 * sizes[1]:,} neurons and {2 * sizes[0] * sizes[1]:,} synapses more")
    make_folder(folder.path)
    with folder.lock("learns"):
        folder.check_free()
        write_json(folder.config, config.to_json())
        write_json(folder.data, record.to_json())
        seconds = carry_out(lesson, pool, arguments.backend, folder.network)
    learned = lesson.learner.learned()
    test = Pool(network, seen(dataset.test))
    result: dict[str, Any] = {
        "dataset": dataset.title,
        "test_accuracy": accuracy(learned, test.spikes, test.labels),
        "val_accuracy": max(lesson.scores),
        "epoch": lesson.scores.index(max(lesson.scores)) + 1,
        "epochs": config.optimizer.epochs,
        "seconds": round(seconds, 3),
        "samples": len(lesson.plan.samples),
        "writes": lesson.learner.updates,
        "backend": arguments.backend,
        "limit": arguments.limit,
        "cores": report.cores,
        "seed": config.run.seed,
        "rule": asdict(rule),
        "versions": {"polystep_snn": polystep_snn.__version__},
    }
    write_text(folder.metrics, "".join(f'{{"epoch": {k + 1}, "val_accuracy": {score}}}\n' for k, score in enumerate(lesson.scores)))
    write_json(folder.summary, result)
    for k, score in enumerate(lesson.scores):
        say(f"epoch {k + 1:3d}/{config.optimizer.epochs}  validation {score:7.2%}")
    say(f"test accuracy {result['test_accuracy']:.2%} with the weights of epoch {result['epoch']}, {seconds:.0f} s; in {folder.path}")
    if arguments.json:
        print_json(result)
    return 0
