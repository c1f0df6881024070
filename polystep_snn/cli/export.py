"""``polystep-snn export``: a trained network as a file for the chip or for another tool."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from polystep_snn.cli.console import print_json, say
from polystep_snn.cli.run_options import add_run_argument
from polystep_snn.errors import InputError

if TYPE_CHECKING:
    from polystep_snn.hardware.integer_network import IntegerNetwork
    from polystep_snn.training.opened_run import OpenedRun

_EXAMPLES = """examples:
  polystep-snn export runs/chip --format network --out digits.safetensors
  polystep-snn export runs/chip --format nir --out digits.nir
  polystep-snn export runs/chip --format lava-dl --out digits.net
  polystep-snn export mnist-int8 --format nir --out mnist.nir
"""
FORMATS = ("network", "nir", "lava-dl")


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "export",
        help="a trained network as a file for the chip or for another tool",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument("--format", choices=FORMATS, default="network", help="integers, NIR graph, or lava-dl .net (default network)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the integer network of a run, after the chip's limits have been looked at."""
    from polystep_snn.files import make_folder
    from polystep_snn.hardware import network_file
    from polystep_snn.hardware.chip import preflight
    from polystep_snn.hardware.formats import netx, nir
    from polystep_snn.trained_networks import folder_of, pretrained
    from polystep_snn.training.deploy import deploy, drift
    from polystep_snn.training.run_folder import open_run

    if arguments.out.is_dir():
        raise InputError(f"{arguments.out} is a folder: name a file")
    cost = None
    if folder_of(arguments.run_folder) != arguments.run_folder:
        # One that comes with the package needs no data.
        integers, fits, opened = pretrained(str(arguments.run_folder)).network, [], None
    else:
        opened = open_run(arguments.run_folder, arguments.data_dir)
        deployed = deploy(opened)
        integers, fits = deployed.integers, deployed.fits
    make_folder(arguments.out.absolute().parent)
    for k, fit in enumerate(fits):
        say(f"layer {k} quantized: unit {fit.scale:.3g}, {fit.clipped:.2%} of the weights clipped, error {fit.error:.2%}")
    if fits and opened is not None:
        if opened.config.network.reset != "zero":
            say(f"the reset {opened.config.network.reset!r} becomes the chip's, to zero")
        cost = drift(opened, deployed)
        if opened.config.method.cost == "mse":
            say(f"quantized, validation R² goes from {cost.accuracy_before:.4f} to {cost.accuracy_after:.4f}")
        else:
            say(f"quantized, validation accuracy goes from {cost.accuracy_before:.2%} to {cost.accuracy_after:.2%}")
        for k, (before, after) in enumerate(zip(cost.rates_before, cost.rates_after, strict=True)):
            say(f"layer {k}: mean firing rate goes from {before:.4f} to {after:.4f} spikes a step")
    report = preflight(integers)
    say(report.table())
    report.check()
    if arguments.format == "network":
        network_file.save(arguments.out, integers if opened is None else _with_statistics(opened, integers))
    else:
        {"nir": nir.write, "lava-dl": netx.write}[arguments.format](arguments.out, integers)
    if arguments.format == "nir":
        say(nir.who_reads(integers))
    say(f"wrote {arguments.out}")
    if arguments.json:
        print_json(
            {
                "file": str(arguments.out),
                "format": arguments.format,
                "sizes": integers.sizes,
                "cores": report.cores,
                "layers": [fit._asdict() for fit in fits],
                "quantization": None if cost is None else cost._asdict(),
            }
        )
    return 0


def _with_statistics(opened: "OpenedRun", integers: "IntegerNetwork") -> "IntegerNetwork":
    """With what adapting without labels starts from, where the run's data is at hand."""
    from polystep_snn.training.kept_statistics import with_statistics

    if integers.statistics is not None:
        return integers
    try:
        return with_statistics(opened, integers)
    except InputError as error:
        say(f"without statistics for `adapt --labels none`: {error}")
        return integers
