"""How long event recordings last."""

from pathlib import Path

import numpy as np

from polystep_snn.datasets.own.event_files import read_events
from polystep_snn.datasets.own.folders import list_files
from polystep_snn.errors import InputError

# Of which the longest is looked for.
_LOOKED_AT = 100
# The longest of some is not that of all.
_MARGIN = 1.05


def longest_us(path: Path) -> int:
    """About the longest duration of the training recordings in class folders, in µs: of up to 100 of them, rounded up to two digits.

    Raises:
        InputError: a recording that is damaged, or all of whose events come at one moment.
    """
    files = list_files(path).files["train"]
    chosen = np.unique(np.linspace(0, len(files) - 1, _LOOKED_AT).astype(int)).tolist()
    longest = max(int(read_events(files[k][0])["t"].max()) for k in chosen)
    if not longest:
        raise InputError(f"the recordings of {path} have all their events at one moment: give times in µs, or choose --window-us")
    unit = 10 ** max(0, len(str(int(longest * _MARGIN))) - 2)
    return -(-int(longest * _MARGIN) // unit) * unit
