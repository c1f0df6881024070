"""``polystep-snn eval``: accuracy of a trained network on the test set."""

import argparse
from pathlib import Path

from polystep_snn.cli.console import described, print_json, say
from polystep_snn.cli.run_options import add_run_argument
from polystep_snn.errors import InputError

_EXAMPLES = """examples:
  polystep-snn eval runs/mnist
  polystep-snn eval runs/mnist --limit 1000 --json
  polystep-snn eval runs/chip --backend lava --limit 500
  polystep-snn eval runs/mine --data other.npz
  polystep-snn eval digits-int8 --backend simulator
"""
BACKENDS = ("torch", "simulator", "lava", "loihi2", "auto")


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "eval",
        help="accuracy of a trained network on the test set",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        help="where the network runs; auto is Lava where it is installed, else the simulator (default torch; the simulator where a folder "
        "holds integers alone)",
    )
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument(
        "--data", metavar="OTHER", help="other data than the run's: a name or a path; its test part, or all of it, is tested"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test samples")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate the validation-selected weights of a run."""
    from polystep_snn.cli.on_backend import answered
    from polystep_snn.training.run_folder import open_run
    from polystep_snn.training.scores import scores_of

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    if arguments.data is not None:
        opened = opened.on(arguments.data)
    found, backend = answered(opened, opened.dataset.test, arguments.backend, arguments.limit)
    dataset, score = opened.dataset, f"val_{opened.config.method.score}"
    targets = None if opened.record is None else opened.record.targets
    result = {
        "dataset": dataset.title,
        "backend": backend,
        **scores_of(found.found, found.labels, dataset.num_classes, targets),
        "samples": len(found.labels),
        "epoch": opened.best["epoch"],
        score: opened.best[score],
    }
    say(f"{dataset.title}: {described(result)} on {len(found.labels)} samples, weights of epoch {opened.best['epoch']}, on {backend}")
    if arguments.json:
        print_json(result)
    return 0
