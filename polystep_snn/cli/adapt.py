"""``polystep-snn adapt``: a deployed network learns from a stream that is not what it was trained on."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polystep_snn.cli import adapt_unlabelled
from polystep_snn.cli.console import print_json, say
from polystep_snn.cli.learning import carry_out
from polystep_snn.cli.run_options import add_run_argument
from polystep_snn.errors import InputError

_EXAMPLES = """examples:
  polystep-snn adapt runs/chip --shift noise:0.3 --out runs/noisy
  polystep-snn adapt runs/chip --shift rotation:30 --writable readout hidden --replay 0.5 --out runs/turned
  polystep-snn adapt runs/chip --shift contrast:0.15 --backend lava --samples 2000 --out runs/dim
  polystep-snn adapt runs/chip --shift inversion:0.4 --labels none --out runs/grey
  polystep-snn adapt runs/chip --shift blur:2 --labels 0.02 --writable readout hidden --out runs/soft

shifts: noise, contrast, inversion, rotation, translation, occlusion, dead, hot, impulse, gain, brightness, shade, blur, shear
"""
# Seeds of what is drawn for every sample. They all come from one sensor, which has the stream's.
_STREAM, _HELD_OUT, _TEST = 1, 2, 3


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "adapt",
        help="let a deployed network learn from a shifted stream",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument("--shift", required=True, metavar="KIND:AMOUNT", help="what happened to the sensor")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN2", help="folder for the adapted network; created")
    parser.add_argument("--backend", choices=("simulator", "lava"), default="simulator", help="where it learns (default simulator)")
    parser.add_argument("--writable", nargs="+", default=["readout"], metavar="W", help="readout, hidden_bias, hidden (default readout)")
    parser.add_argument("--samples", type=int, metavar="N", help="new samples in the stream (default 5000, or all that there are)")
    parser.add_argument("--replay", type=float, default=0.0, metavar="X", help="clean samples replayed for every new one (default 0)")
    parser.add_argument("--labelled", type=float, default=1.0, metavar="X", help="fraction of new samples with a label (default 1)")
    parser.add_argument(
        "--held-out", type=int, metavar="N", help="samples that judge every round, 0 for none (default 500, or all that there are)"
    )
    parser.add_argument("--round-size", type=int, metavar="N", help="new samples between judgements (default a fifth of the stream)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="samples a weight write (default 16)")
    parser.add_argument("--rate", type=float, default=0.25, metavar="X", help="learning rate of hidden weights (default 0.25)")
    parser.add_argument("--readout-rate", type=float, default=2.0, metavar="X", help="learning rate of the readout (default 2)")
    parser.add_argument("--radius", type=float, default=0.2, metavar="X", help="of hidden probes, in thresholds (default 0.2)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of stream and shift (default 0)")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test samples")
    adapt_unlabelled.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Adapt, and say what it was worth."""
    if arguments.labels is not None:
        return adapt_unlabelled.run(arguments)
    import numpy as np

    from polystep_snn.files import make_folder, write_json, write_text
    from polystep_snn.hardware.adaptation import Pool, Stream, field_lesson
    from polystep_snn.hardware.learning_rule import Learner, LearningRule
    from polystep_snn.training.deploy import deploy
    from polystep_snn.training.offchip import accuracy, fitted_readout, hidden_counts
    from polystep_snn.training.run_folder import RunFolder, open_run
    from polystep_snn.training.streams import check_shift, sensor_of

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    check_shift(arguments.shift)
    wanted = {name: getattr(arguments, name) for name in ("samples", "labelled", "held_out", "round_size", "seed")}
    Stream.fitting(1, 1, arguments.replay, **wanted)  # checks what was given before any data is read
    rule = LearningRule(tuple(arguments.writable), arguments.batch_size, arguments.rate, arguments.readout_rate, "cosine", arguments.radius)
    folder = RunFolder(arguments.out)
    folder.check_free()
    opened = open_run(arguments.run_folder, arguments.data_dir)
    network, dataset = deploy(opened).integers, opened.dataset
    Learner(network, rule, 1)  # checks whether it can learn before any stream is made
    if opened.config.data.blank_steps and opened.kind == "images":
        raise InputError(
            f"the run has {opened.config.data.blank_steps} blank steps behind every image, which streams of images do not have: train "
            "without --blank-steps"
        )
    if dataset.holds_values:
        raise InputError(f"the run in {arguments.run_folder} has real targets, but the rule on the chip learns classes: choose another run")
    of_run = 1000 * arguments.seed
    sensor = sensor_of(opened.config, dataset.train, arguments.shift, of_run + _STREAM)
    stream = Stream.fitting(len(dataset.train), len(dataset.validation), arguments.replay, **wanted)
    order = np.random.default_rng(arguments.seed).permutation(len(dataset.train))
    new, clean = (sensor.take(dataset.train, part) for part in (order[: stream.samples], order[stream.samples :][: stream.samples]))
    if not len(clean.labels):
        clean = new
    judges = np.arange(min(2 * stream.held_out, len(dataset.validation)))
    test = sensor.take(dataset.test, np.arange(len(dataset.test))[: arguments.limit])
    new, shifted_test = sensor.shifted(new, of_run + _STREAM), sensor.shifted(test, of_run + _TEST)
    shifted_judges = sensor.shifted(sensor.take(dataset.validation, judges), of_run + _HELD_OUT)
    lesson, pool = field_lesson(
        network,
        rule,
        stream,
        new,
        clean,
        sensor.shifted(sensor.take(dataset.validation, judges[: stream.held_out]), of_run + _HELD_OUT),
        sensor.take(dataset.validation, judges[stream.held_out :]),
    )
    make_folder(folder.path)
    lock = folder.lock("learns")
    folder.check_free()
    say(
        f"{dataset.name} under {arguments.shift}: {stream.samples} new samples in rounds of {stream.round_size}, {stream.held_out} judge; "
        f"{len(lesson.plan.samples)} to show in all, {', '.join(rule.writable)} writable"
    )
    seconds = carry_out(lesson, pool, arguments.backend, folder.network)
    adapted = lesson.learner.learned()

    tests = {"clean": Pool(network, test), "shifted": Pool(network, shifted_test)}
    result: dict[str, Any] = {
        f"{name}_accuracy_{when}": accuracy(net, tests[name].spikes, tests[name].labels)
        for name in tests
        for when, net in (("before", network), ("after", adapted))
    }
    counts = {
        name: (hidden_counts(network, Pool(network, part).spikes, len(part.labels)), part.labels)
        for name, part in (("new", new), ("held_out", shifted_judges), ("test", shifted_test))
    }
    result |= {
        "offchip_readout_accuracy": fitted_readout(counts["new"], counts["held_out"], counts["test"], network.num_steps),
        "samples": stream.samples,
        "writes": lesson.learner.updates,
        "forward_passes": len(lesson.plan.samples),
        "rollbacks": lesson.rollbacks,
        "seconds": round(seconds, 3),
        "backend": arguments.backend,
        "run": str(arguments.run_folder),
        "limit": arguments.limit,
        "shift": arguments.shift,
        "rule": asdict(rule),
        "stream": asdict(stream),
    }
    validation = Pool(network, sensor.take(dataset.validation, np.arange(len(dataset.validation))))
    score = accuracy(adapted, validation.spikes, validation.labels)
    # Not that of the run before, which the network's provenance tells of.
    write_text(folder.metrics, json.dumps({"epoch": 1, "val_accuracy": score}) + "\n")
    write_json(folder.summary, result)
    opened.describe_in(folder.path)
    _draw(folder, lesson, network, pool, stream.samples)
    say(
        f"shifted {result['shifted_accuracy_before']:.2%} -> {result['shifted_accuracy_after']:.2%} ",
    )
    say(f"clean   {result['clean_accuracy_before']:.2%} -> {result['clean_accuracy_after']:.2%}")
    say(f"the best readout fitted off the chip: {result['offchip_readout_accuracy']:.2%}")
    say(f"{result['forward_passes']} forward passes, {result['writes']} writes, {lesson.rollbacks} rollbacks, {seconds:.1f} s")
    lock.release()
    say(f"the adapted network is in {folder.path}")
    if arguments.json:
        print_json(result)
    return 0


def _draw(folder, lesson, network, pool, num_new: int) -> None:
    """Accuracy on the new samples as they came, of the learning network and of the one that stayed as it was."""
    from functools import partial

    import numpy as np

    from polystep_snn import plots
    from polystep_snn.files import make_folder, write_atomically
    from polystep_snn.hardware.lesson import JUDGE
    from polystep_snn.hardware.simulator import Simulator

    plan = lesson.plan
    shown = np.flatnonzero((plan.samples < num_new) & (plan.kinds != JUDGE))
    frozen = np.concatenate(
        [Simulator(network).run(pool.spikes(part)).argmax(1) for part in np.array_split(plan.samples[shown], max(1, len(shown) // 500))]
    )
    figure = plots.new_figure(6, 3.6)
    right = {"learning": lesson.decisions[shown] == plan.labels[shown], "as deployed": frozen == plan.labels[shown]}
    plots.running_accuracy(figure.subplots(), right)
    make_folder(folder.figures)
    write_atomically(folder.figures / "adaptation.png", partial(figure.savefig, format="png"))
