"""DVS Gesture: eleven gestures before an event camera (Amir et al. 2017), 128 x 128 pixels, two polarities, about 6 s each.

The layout is that of ``tonic.datasets.DVSGesture``, cut and labelled already: ``ibmGestureTrain/<user>_<light>/<label>.npy`` and
``ibmGestureTest/...``, each an array ``[n, 4]`` of x, y, polarity and time in ms; labels count from 0. A folder may hold only some of the
recordings; the set is then called a subset wherever its ``title`` is printed. The people of the test part are not those of the training
part, so validation, a tenth of the latter, flatters.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np

from polystep_snn.datasets.framing import Framing
from polystep_snn.datasets.plausible import check_zeros
from polystep_snn.datasets.recordings import EVENT, EventSet, Recording, Recordings, check_labels, find_folder, frame_recordings
from polystep_snn.errors import InputError

SENSOR = (128, 128, 2)
CLASSES = (
    *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise"),
    *("left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures"),
)
# A movement repeats about once a second; the whole of every recording would take several times the memory.
_FRAMING = Framing(num_steps=30, window_us=1_500_000)
_USUAL_US = (1_000_000, 30_000_000)
_PARTS = ("ibmGestureTrain", "ibmGestureTest")
SOURCE = EventSet("dvsgesture", "DVS Gesture", SENSOR, CLASSES, "DVSGesture", _PARTS, _FRAMING, _USUAL_US, "ms", aliases=("DVS-Gesture",))
HOME = "https://figshare.com/ndownloader/files (38022171 and 38020584)"
# As tonic serves it; one recording of the 1,342 of the paper, user02 under the lab's light, label 0, is not among them.
FULL = (1077, 264)


def load_dvs_gesture(data_dir: Path | None = None, framing: Framing | None = None) -> Recordings:
    """All recordings of the first folder that holds DVS Gesture, framed; see ``recordings``.

    Args:
        data_dir: where to look first.
        framing: how events become frames; by default 30 bins of 50 ms, the first 1.5 s. Time counts from a recording's first event.

    Raises:
        InputError: a part that is missing or lacks a class; a file that is no recording; a recording that is empty, truncated, not of this
            sensor or out of order; nothing found and nothing to be downloaded.
    """
    framing = SOURCE.framing(framing)
    path = find_folder(SOURCE, data_dir, download_dvs_gesture)
    files = list_files(path)
    return frame_recordings(SOURCE, path, files, FULL, lambda: _read(path, files), framing, len(files))


def download_dvs_gesture(target: Path) -> None:
    """The full set; see ``tonic_download.download``."""
    from polystep_snn.datasets.tonic_download import download

    def check(folder: Path) -> None:
        if len(list_files(folder)) != sum(FULL):
            raise InputError("the archives do not hold all recordings")

    download(SOURCE, HOME, check, target)


def list_files(path: Path) -> list[str]:
    """The recordings of a folder, as paths below it: the training part, then the test part, by user, light and label.

    Raises:
        InputError: a missing part or class, a name that is no label, more recordings than there are.
    """
    files: list[str] = []
    for part, full in zip(SOURCE.parts, FULL, strict=True):
        here = path / part
        if not here.is_dir():
            raise InputError(f"{here} is missing: extract its archive, {part}.tar.gz, there")
        found = []
        for folder in sorted(folder for folder in os.listdir(here) if (here / folder).is_dir()):
            for name in os.listdir(here / folder):
                stem, suffix = os.path.splitext(name)
                if suffix == ".npy":
                    if not stem.isdecimal():
                        raise InputError(f"{here / folder / name} has no label for a name, such as 3.npy: remove it")
                    found.append((folder, int(stem), f"{part}/{folder}/{name}"))
        check_labels(SOURCE, here, np.array([label for _, label, _ in found], np.int64), full)
        files += [name for _, _, name in sorted(found)]
    return files


def _read(path: Path, files: list[str]) -> Iterator[Recording]:
    for name in files:
        part, _, file = name.split("/")
        yield Recording(str(path / name), int(file.removesuffix(".npy")), part == SOURCE.parts[1], read_recording(path / name))


def read_recording(path: Path) -> np.ndarray:
    """The events of a file; time counts from the first of them.

    Returns:
        ``[n]`` with the fields ``x``, ``y``, ``t`` (µs) and ``p``.

    Raises:
        InputError: not numpy's format, truncated, pickled, not ``[n, 4]`` numbers, coordinates or polarities that cannot be.
    """
    try:
        # Mapped, so that what a header promises is compared with what is there before anything is allocated.
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, TokenError) as error:
        # The last: from Python 3.12 on, a header of no numpy's is none of Python's either.
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({reason}): fetch it again, or delete it") from None
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
        found = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, np.ndarray) else "an archive"
        raise InputError(f"{path} holds {found}, expected numbers [n, 4]: fetch it again, or delete it")
    x, y, p, t = np.asarray(rows).T
    for name, values in (("x", x), ("y", y), ("polarity", p)):
        wrong = values[~(values == np.floor(values)) | (values < 0) | (values > (1 if name == "polarity" else 32_767))]
        if len(wrong):
            raise InputError(f"{path} has an event with {name} {wrong[0]:g}: fetch it again, or delete it")
    if rows.dtype.kind == "f" and not np.isfinite(t).all():
        raise InputError(f"{path} has an event at no finite time: fetch it again, or delete it")
    check_zeros(str(path), np.asarray(rows))
    events = np.empty(len(rows), EVENT)
    for name, values in (("x", x), ("y", y), ("p", p)):
        events[name] = values
    # To µs in a type that holds them.
    events["t"] = (t if rows.dtype.kind == "f" else t.astype(np.int64)) * 1000
    events["t"] -= events["t"][:1]
    return events
