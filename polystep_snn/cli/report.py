"""``polystep-snn report``: everything there is to say of a run, as a web page in one file."""

import argparse
from pathlib import Path

from polystep_snn.cli.console import print_json, say
from polystep_snn.cli.plot import check_sample
from polystep_snn.cli.run_options import add_run_argument, check_outside_package
from polystep_snn.errors import InputError

_EXAMPLES = """examples:
  polystep-snn report runs/mnist
  polystep-snn report runs/mine --sample 7 --out mine.html
  polystep-snn report digits-int8 --out digits-int8.html
"""


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "report",
        help="everything there is to say of a run, as a web page in one file",
        description="Everything there is to say of a run, as a web page in one file that needs no network: data, scores, curves, activity, "
        "firing rates, what it takes of the chip, configuration, and how to repeat it. Written to RUN/report.html, or to --out.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default RUN/report.html)")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="test sample whose spikes are drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print the name of the file as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from polystep_snn.files import make_folder, write_text
    from polystep_snn.training.report import report_of
    from polystep_snn.training.run_folder import open_run

    check_outside_package(arguments.run_folder, arguments.out, "file")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    check_sample(opened, arguments.sample)
    path = arguments.out or arguments.run_folder / "report.html"
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file")
    make_folder(path.absolute().parent)
    write_text(path, report_of(opened, arguments.sample))
    say(f"wrote {path}")
    if arguments.json:
        print_json({"report": str(path)})
    return 0
