"""The options of a run on the command line: flat, and grouped in ``--help`` as in ``TrainConfig``."""

import argparse
from dataclasses import Field
from pathlib import Path
from typing import Any

from polystep_snn.cli.console import number_or_name
from polystep_snn.errors import InputError
from polystep_snn.training.config import GROUPS, OPTIONS, options_of

_TITLES = {
    "data": "data: samples and their timesteps; from window-us to drop, for event recordings alone; from features on, for sequences",
    "network": "network",
    "method": "method: what is probed, and how",
    "optimizer": "optimizer",
    "run": "run",
}


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """The run that a command reads."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run, or name of a trained network, such as digits-int8")


def check_outside_package(run_folder: Path, out: Path | None, what: str) -> None:
    """InputError where ``what`` would be written into the folder of a trained network that comes with the package."""
    from polystep_snn.trained_networks import folder_of

    if out is None and folder_of(run_folder) != run_folder:
        raise InputError(f"{run_folder} lies within the package, where nothing is written: name a {what} with --out")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Every option of ``TrainConfig`` but the data set.

    Options that are not given stay out of the namespace: a data set's recipe, or the resumed run, decides them.
    """
    for group in GROUPS:
        section = parser.add_argument_group(_TITLES[group])
        for option in options_of(group):
            _add(section, option)


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, by name."""
    return {name: getattr(arguments, name) for name in OPTIONS if hasattr(arguments, name)}


def _add(section: Any, option: Field) -> None:
    flag, default, choices = "--" + option.name.replace("_", "-"), option.default, option.metadata["choices"]
    settings: dict[str, Any] = {"default": argparse.SUPPRESS, "help": option.metadata["help"]}
    if isinstance(default, bool):
        section.add_argument(flag, action=argparse.BooleanOptionalAction, **settings)
        return
    if isinstance(default, tuple):
        settings |= {"nargs": "+", "type": number_or_name, "metavar": "N"}
        default = " ".join(map(str, default)) or "none"
    else:
        settings |= {"type": type(default), "choices": choices, "metavar": None if choices else "X"}
    settings["help"] += f" (default {'none' if default == '' else default})"
    section.add_argument(flag, **settings)
