"""Recordings that are no recordings: times in another unit, files that a broken copy has filled with zeros.

Both are well-formed, and train at chance. A set knows how long its recordings usually last, and in which unit its files tell time. A length
that is far off, and usual in another unit, is beyond doubt.
"""

import logging
from collections.abc import Sequence

import numpy as np

from polystep_snn.errors import InputError

_log = logging.getLogger("polystep_snn")
UNITS = ("s", "ms", "µs", "ns")
# So far beyond the usual lengths nothing is a recording that happens to be long or short.
_FAR = 20
# Fewer events than these are no evidence for a length.
_TELLING = 100


def check_length(where: str, duration_us: int, num_events: int, usual_us: tuple[int, int], unit: str) -> None:
    """InputError for a recording that is far too long, but usual in another unit, and for many events at one moment.

    Args:
        where: its name, for messages.
        duration_us: from its first to its last event.
        usual_us: the shortest and the longest that recordings of the set usually are.
        unit: in which files of the set tell time, of ``UNITS``.
    """
    other = _unit_instead(duration_us, usual_us, unit)
    if duration_us > _FAR * usual_us[1] and other:
        raise InputError(f"{where} lasts {duration_us / 1e6:,.6g} s, {_advice(usual_us, unit, other)}")
    if num_events >= _TELLING and duration_us == 0:
        raise InputError(f"{where} has all its {num_events} events at one moment: fetch it again, or delete it")


def check_lengths(title: str, durations_us: Sequence[int], num_events: Sequence[int], usual_us: tuple[int, int], unit: str) -> None:
    """InputError where the recordings of a set together are far too short, but usual in another unit; says how many end early."""
    middle = float(np.median(durations_us))
    if np.median(num_events) < _TELLING:
        return
    other = _unit_instead(middle, usual_us, unit)
    if middle < usual_us[0] / _FAR and other:
        raise InputError(f"the recordings of {title} last {middle / 1e6:.3g} s at the median, {_advice(usual_us, unit, other)}")
    short = int((np.asarray(durations_us) < usual_us[0] / 2).sum())
    if short and middle >= usual_us[0]:
        _log.warning(
            "%d of %d recordings of %s end before %.3g s, half of the shortest that is usual: they may have been cut off by a copy",
            *(short, len(durations_us), title, usual_us[0] / 2e6),
        )


def check_zeros(where: str, rows: np.ndarray) -> None:
    """InputError for a file with zeros in place of events, such as a download that was stopped leaves.

    Args:
        rows: ``[n, k]``, the numbers of each event as the file holds them.
    """
    zero = (rows == 0).all(axis=1)
    # One event may be at the corner at time 0.
    begins = np.flatnonzero(zero[1:] & zero[:-1])
    if len(begins):
        raise InputError(f"{where} holds zeros in place of events from number {begins[0]} on: fetch it again, or delete it")


def _unit_instead(duration_us: float, usual_us: tuple[int, int], unit: str) -> str | None:
    """The unit in which a length would be usual."""
    own = UNITS.index(unit)
    for other, name in enumerate(UNITS):
        # A file in ns that is read as one in s seems 10^9 times too long.
        if other != own and usual_us[0] / 2 <= duration_us * 1000.0 ** (own - other) <= 2 * usual_us[1]:
            return name
    return None


def _advice(usual_us: tuple[int, int], unit: str, other: str) -> str:
    usual = f"{usual_us[0] / 1e6:g} to {usual_us[1] / 1e6:g} s"
    return f"but they usually last {usual}: its times seem to be in {other}, and are read as {unit}; convert them to {unit}"
