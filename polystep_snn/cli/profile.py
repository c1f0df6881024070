"""``polystep-snn profile``: memory and time of a training step against the number of timesteps."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from polystep_snn.cli.console import number_or_name, print_json, say
from polystep_snn.datasets import NAMES
from polystep_snn.errors import InputError
from polystep_snn.snn.config import READOUTS
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.recipes import recipe

_EXAMPLES = """examples:
  polystep-snn profile --num-steps 25 100 400 --out profile
  polystep-snn profile --num-steps 25 100 400 --no-compile --readout count --out profile
  polystep-snn profile --dataset nmnist --num-steps 30 300 --methods polystep --out profile
  polystep-snn profile --run runs/mnist --num-steps 16 64 256 --methods polystep --out profile
"""


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "profile",
        help="memory and time of a training step against the number of timesteps",
        description="Memory and time of a training step against the number of timesteps, each point in processes of its own. "
        "The network is that of a run (--run), or the recipe's of a data set with the options below. No data is read.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--num-steps", type=int, nargs="+", default=[25, 50, 100, 200, 400], metavar="T", help="timesteps to measure at")
    parser.add_argument("--methods", nargs="+", default=["polystep", "bptt"], choices=("polystep", "bptt"), help="what to measure")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for profile.json and profile.png; created")
    parser.add_argument("--run", type=Path, dest="run_folder", metavar="RUN", help="profile the network and options of this run")
    parser.add_argument("--dataset", choices=NAMES, default="mnist", help="whose recipe is profiled without --run (default mnist)")
    parser.add_argument("--hidden", type=number_or_name, nargs="+", metavar="N", help="the hidden layers, as of train (default 128)")
    parser.add_argument("--readout", choices=READOUTS, help="kind of readout (default membrane)")
    parser.add_argument("--batch-size", type=int, metavar="B", help="samples a step (default: the recipe's)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", metavar="X", help="cpu, cuda or auto (default auto)")
    parser.add_argument("--no-compile", dest="compile", action="store_const", const=False, help="run eagerly")
    parser.add_argument("--json", action="store_true", help="print the points as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, write JSON and a figure."""
    from polystep_snn import plots
    from polystep_snn.datasets.own.record import DataRecord
    from polystep_snn.files import make_folder, read_json, write_atomically, write_json
    from polystep_snn.profiling import measure, num_classes
    from polystep_snn.trained_networks import folder_of
    from polystep_snn.training.run_folder import RunFolder

    if min(arguments.num_steps) < 1:
        raise InputError(f"--num-steps is {min(arguments.num_steps)}: choose at least 1")
    record, shape = None, None
    if arguments.run_folder is None:
        config = TrainConfig(arguments.dataset, **recipe(arguments.dataset))
    else:
        folder = RunFolder(folder_of(arguments.run_folder))
        if not folder.config.is_file():
            raise InputError(f"{arguments.run_folder} holds no run (no config.json): train first, or name another folder")
        config = TrainConfig.from_json(read_json(folder.config))
        record = DataRecord.from_json(read_json(folder.data)) if folder.data.is_file() else None
    if config.data.dataset in NAMES:
        outputs = num_classes(config)
    elif record is not None:
        outputs, shape = record.num_outputs, record.shape
    else:
        raise InputError(f"{arguments.run_folder} does not say what samples of {config.data.dataset} are like: restore its data.json")
    given = {name: getattr(arguments, name) for name in ("hidden", "readout", "batch_size", "threads", "device", "compile")}
    config = config.replace(**{name: value for name, value in given.items() if value is not None})
    make_folder(arguments.out)

    points: list[dict[str, Any]] = []
    say(f"{'method':10s} {'timesteps':>9s} {'peak MB':>9s} {'ms a step':>10s}")
    for num_steps in sorted(set(arguments.num_steps)):
        for method in arguments.methods:
            points.append(measure(method, num_steps, config.to_json(), outputs, shape))
            say(f"{method:10s} {num_steps:9d} {points[-1]['peak_mb']:9.2f} {1e3 * points[-1]['seconds_per_step']:10.2f}")
    result = {"points": points}
    write_json(arguments.out / "profile.json", {**result, "config": config.to_json()})
    figure = plots.new_figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    plots.against_steps(left, points, "peak_mb", "Memory of a training step", "peak (MB)")
    plots.against_steps(right, points, "seconds_per_step", "Time of a training step", "seconds")
    write_atomically(arguments.out / "profile.png", partial(figure.savefig, format="png"))
    say(f"wrote {arguments.out / 'profile.json'} and {arguments.out / 'profile.png'}")
    if arguments.json:
        print_json(result)
    return 0
