"""Data of one's own on the command line: what it is taken for, and what that asks of a run."""

from pathlib import Path
from typing import Any

from polystep_snn.cli.console import say
from polystep_snn.datasets import NAMES
from polystep_snn.datasets.config import SEQUENCE
from polystep_snn.datasets.own.describe import describe
from polystep_snn.datasets.own.duration import longest_us
from polystep_snn.datasets.own.paths import find_own, looks_like_path
from polystep_snn.errors import InputError
from polystep_snn.training.recipes import own_recipe


def describe_given(name: str, data_dir: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """The recipe for the data at a path; says what it is taken for.

    Args:
        name: as it was given.
        data_dir: where it lies if it is not there.
        given: options of the command line.

    Raises:
        InputError: neither a data set nor data.
    """
    if not looks_like_path(name) and data_dir is None:
        raise InputError(f"there is no data set {name!r}, and no file or folder of this name: choose one of {', '.join(NAMES)}, or a path")
    found = describe(find_own(name, data_dir), sequences=given.get("encoder") == SEQUENCE)
    options = {**own_recipe(found.kind, found.num_train, found.shape), "kind": found.kind}
    if found.kind == "images" and found.ambiguous:
        say(f"{name}: samples {list(found.shape)} are taken for images; --encoder sequence takes them for {found.shape[0]} steps")
    if found.kind == "events" and "window_us" not in given:
        options["window_us"] = longest_us(found.path)
        say(f"{name}: recordings last up to {options['window_us'] / 1e6:g} s; --window-us takes another part of them")
    return options
