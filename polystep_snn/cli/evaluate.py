"""``polystep-snn eval``: accuracy of a trained network on the test set."""

import argparse
from pathlib import Path

from polystep_snn.cli.console import print_json, say
from polystep_snn.errors import InputError

_EXAMPLES = """examples:
  polystep-snn eval runs/mnist
  polystep-snn eval runs/mnist --limit 1000 --json
"""


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "eval",
        help="accuracy of a trained network on the test set",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test samples")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate the validation-selected weights of a run."""
    from polystep_snn.training.run_folder import open_run

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    score = opened.evaluate(arguments.limit)
    result = {
        "dataset": opened.dataset.name,
        "backend": "torch",
        "test_accuracy": score.accuracy,
        "samples": len(score.predictions),
        "epoch": opened.best["epoch"],
        "val_accuracy": opened.best["val_accuracy"],
    }
    say(f"test accuracy {score.accuracy:.2%} on {len(score.predictions)} samples, weights of epoch {opened.best['epoch']}")
    if arguments.json:
        print_json(result)
    return 0
