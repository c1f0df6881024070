"""Spiking Heidelberg Digits: spoken digits, German and English, heard by a model of the cochlea (Cramer et al. 2022).

700 channels, no polarity, 20 classes; most recordings last 0.6 to 1 s. The layout is that of ``tonic.datasets.SHD``: ``shd_train.h5`` and
``shd_test.h5``. Files may hold only some of the recordings; the set is then called a subset wherever its ``title`` is printed. Two of the
twelve speakers are heard in the test part alone, so validation, a tenth of the training part, flatters.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from polystep_snn.datasets.framing import Framing
from polystep_snn.datasets.plausible import check_length
from polystep_snn.datasets.recordings import EVENT, EventSet, Recording, Recordings, check_labels, find_folder, frame_recordings
from polystep_snn.datasets.shd_file import Spikes, read_spikes
from polystep_snn.errors import InputError

SENSOR = (700, 1, 1)
CLASSES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
)
_FRAMING = Framing(num_steps=100, window_us=1_000_000)
SOURCE = EventSet("shd", "SHD", SENSOR, CLASSES, "SHD", ("shd_train.h5", "shd_test.h5"), _FRAMING, (200_000, 1_500_000), "s")
HOME = "https://zenkelab.org/datasets"
FULL = (8156, 2264)
# Later than any recording ends, and far from what overflows.
_LATEST_S = 1000.0


def load_shd(data_dir: Path | None = None, framing: Framing | None = None) -> Recordings:
    """All recordings of the first folder that holds SHD, framed; see ``recordings``.

    Args:
        data_dir: where to look first.
        framing: how events become frames; by default 100 bins of 10 ms.

    Raises:
        InputError: a file that is missing, damaged, of another layout, or lacks a class; a recording that is empty, has a channel that the
            cochlea does not have, or is out of order; nothing found and nothing to be downloaded.
    """
    framing = SOURCE.framing(framing)
    path = find_folder(SOURCE, data_dir, download_shd)
    _check_files(path)
    return frame_recordings(SOURCE, path, SOURCE.parts, FULL, lambda: _read(path), framing)


def download_shd(target: Path) -> None:
    """The full set; see ``tonic_download.download``."""
    from polystep_snn.datasets.tonic_download import download

    download(SOURCE, HOME, _check_files, target)


def _check_files(path: Path) -> None:
    for part in SOURCE.parts:
        if not (path / part).is_file():
            raise InputError(f"{path / part} is missing: fetch it from {HOME} and extract it there")


def _read(path: Path) -> Iterator[Recording]:
    for number, (part, full) in enumerate(zip(SOURCE.parts, FULL, strict=True)):
        spikes = read_spikes(path / part)
        check_labels(SOURCE, path / part, spikes.labels, full)
        ends = np.cumsum(spikes.lengths)
        for k, (end, length) in enumerate(zip(ends.tolist(), spikes.lengths.tolist(), strict=True)):
            where = f"{path / part}, recording {k},"
            yield Recording(where, int(spikes.labels[k]), number == 1, _events(spikes, slice(end - length, end), where))


def _events(spikes: Spikes, span: slice, where: str) -> np.ndarray:
    """Spikes as events: x is the channel, y is 0."""
    # Before they are multiplied: float16 ends at 65,504.
    times = spikes.times[span].astype(np.float64)
    # First, so that times in another unit are told by its name.
    finite = times[np.isfinite(times)]
    check_length(where, int(finite.max(initial=0) * 1e6), 1, SOURCE.usual_us, SOURCE.unit)
    wrong = np.flatnonzero(~((times >= 0) & (times < _LATEST_S)))
    if len(wrong):
        raise InputError(f"{where} has a spike at {times[wrong[0]]:g} s, expected 0 to {_LATEST_S:g}: fetch the file again")
    events = np.zeros(len(times), EVENT)
    events["x"] = spikes.units[span]
    events["t"] = times * 1e6
    events["p"] = True
    return events
