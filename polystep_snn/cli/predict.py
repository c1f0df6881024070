"""``polystep-snn predict``: what a trained network says to samples without labels."""

import argparse
import csv
import io
import sys
from pathlib import Path

from polystep_snn.cli.console import print_json, say
from polystep_snn.cli.evaluate import BACKENDS
from polystep_snn.cli.run_options import add_run_argument

_EXAMPLES = """examples:
  polystep-snn predict runs/mine new.npy
  polystep-snn predict runs/photos camera/ --out answers.csv
  polystep-snn predict runs/chip new.npz --backend lava --json
"""


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict",
        help="what a trained network says to samples without labels",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES
        + """
Classes come with the softmax of the readout, real targets in their own units. The run's scaling is applied.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument("input", type=Path, metavar="INPUT", help=".npz or .npy file; an image, a sound, a recording; or a folder of them")
    parser.add_argument("--backend", choices=BACKENDS, help="where the network runs (default as of eval)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write CSV there instead of to standard output")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the run's data lies; only runs of version 0.1 need it")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output instead of CSV")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Answer."""
    from polystep_snn.cli.on_backend import answered
    from polystep_snn.files import make_folder, write_text
    from polystep_snn.training.answers import probabilities
    from polystep_snn.training.run_folder import open_run

    opened = open_run(arguments.run_folder, arguments.data_dir)
    samples, names = opened.read(arguments.input)
    found, backend = answered(opened, samples, arguments.backend, None)
    classes, values = opened.classes, opened.config.method.cost == "mse"
    scores = found.scores if values else probabilities(found.scores)
    decided = [] if values else [classes[k] for k in found.found.predictions.tolist()]
    if arguments.json:
        rows = [
            {"sample": name, **({} if values else {"class": decided[k]}), "scores": [float(f"{score:.6g}") for score in scores[k]]}
            for k, name in enumerate(names)
        ]
        print_json({"backend": backend, "classes": list(classes), "predictions": rows})
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["sample", *([] if values else ["class"]), *classes])
    for k, name in enumerate(names):
        writer.writerow([name, *([] if values else [decided[k]]), *(f"{score:.6g}" for score in scores[k])])
    if arguments.out is not None:
        make_folder(arguments.out.absolute().parent)
        write_text(arguments.out, table.getvalue())
        say(f"wrote {arguments.out}")
    elif not arguments.json:
        sys.stdout.write(table.getvalue())
    say(f"{len(names)} samples answered on {backend}")
    return 0
