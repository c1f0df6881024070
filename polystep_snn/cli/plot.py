"""``polystep-snn plot``: figures of a run."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polystep_snn.cli.console import print_json, say
from polystep_snn.cli.run_options import add_run_argument, check_outside_package

if TYPE_CHECKING:
    from polystep_snn.training.opened_run import OpenedRun

_EXAMPLES = """examples:
  polystep-snn plot runs/mnist
  polystep-snn plot runs/mnist --sample 7
  polystep-snn plot digits-int8 --out digits-int8-figures
"""


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "plot",
        help="figures of a run: curves, spikes and membranes, firing rates, decisions or answers",
        description="Figures of a run: curves, spikes and membranes, firing rates, and the confusion matrix of classes, or answers against "
        "real targets. Written to RUN/figures, or to --out. A folder that holds integers alone is run in the simulator.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the figures; created (default RUN/figures)")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="test sample whose spikes are drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print the names of the figures as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw the figures of a run."""
    from polystep_snn.files import make_folder, write_atomically
    from polystep_snn.training.figures import figures_of
    from polystep_snn.training.run_folder import RunFolder, open_run

    check_outside_package(arguments.run_folder, arguments.out, "folder")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    check_sample(opened, arguments.sample)
    folder = arguments.out or RunFolder(arguments.run_folder).figures
    make_folder(folder)
    written = []
    for name, figure in figures_of(opened, arguments.sample).items():
        path = folder / f"{name}.png"
        write_atomically(path, partial(figure.savefig, format="png"))
        written.append(str(path))
        say(f"wrote {path}")
    if arguments.json:
        print_json({"figures": written})
    return 0


def check_sample(run: "OpenedRun", sample: int) -> None:
    """InputError unless there is a test sample of this number."""
    from polystep_snn.errors import InputError

    if not 0 <= sample < len(run.dataset.test):
        raise InputError(f"--sample is {sample}: {run.dataset.name} has test samples 0..{len(run.dataset.test) - 1}")
