"""``polystep-snn verify``: every spike and membrane of a trained network, in torch, in the simulator and on a backend."""

import argparse
from pathlib import Path

from polystep_snn.cli.console import print_json, progress_bar, say
from polystep_snn.errors import InputError

_EXAMPLES = """examples:
  polystep-snn verify runs/chip
  polystep-snn verify runs/chip --backend lava --limit 500
"""
_BATCH = 500


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "verify",
        help="every spike and membrane against the simulator or Lava",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES + "\nexit code 0 where all are equal, 1 at a difference\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--backend", choices=("simulator", "lava", "loihi2"), default="simulator", help="what torch is compared with")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test samples")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare, layer by layer and step by step."""
    import numpy as np

    from polystep_snn.convert import record_registers
    from polystep_snn.hardware.backend import open_backend
    from polystep_snn.hardware.verify import compare
    from polystep_snn.training.deploy import deploy, encoded_test_set
    from polystep_snn.training.run_folder import open_run

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    deployed = deploy(opened)
    layers = deployed.network.layers()
    names = ["simulator", *({arguments.backend} - {"simulator"})]
    total = {"samples": 0, "spikes_compared": 0, "membranes_compared": 0, "differences": 0, "first_difference": None}
    for name in names:
        samples = 0
        with open_backend(name, deployed.integers) as backend, progress_bar(name, arguments.limit) as bar:
            for in_torch, in_numpy, _ in encoded_test_set(opened, arguments.limit):
                for start in range(0, in_numpy.shape[1], _BATCH):
                    part = slice(start, start + _BATCH)
                    expected = record_registers(layers, in_torch[:, part])
                    found = backend.record(np.ascontiguousarray(in_numpy[:, part]))
                    comparison = compare(expected, found.layers, samples)
                    samples += expected[0].z.shape[1]
                    bar.update(expected[0].z.shape[1])
                    total["spikes_compared"] += comparison.spikes
                    total["membranes_compared"] += comparison.membranes
                    total["differences"] += comparison.differences
                    if comparison.first is not None and total["first_difference"] is None:
                        total["first_difference"] = f"{name}: {comparison.first}"
        total["samples"] = samples
    say(
        f"torch, {', '.join(names)}: {total['samples']} samples, {total['spikes_compared']:,} spikes and {total['membranes_compared']:,} "
        f"membranes compared, {total['differences']} differences"
    )
    if total["first_difference"]:
        say(f"first difference: {total['first_difference']}")
    if arguments.json:
        print_json(total)
    return 1 if total["differences"] else 0
