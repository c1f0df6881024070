"""From the recordings of a published set to samples: found, read and framed once, kept in the cache folder, split.

What is particular about a set is its ``EventSet`` and a function that reads its recordings one by one; everything else is the same for all.
"""

import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from polystep_snn.datasets.base import Dataset
from polystep_snn.datasets.download import cache_dir, given_folders
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.folds import stratified_folds, stratified_split
from polystep_snn.datasets.frames_cache import cached, fingerprint
from polystep_snn.datasets.framing import Framing, Sensor, check_events
from polystep_snn.datasets.optional import no_tonic
from polystep_snn.datasets.plausible import check_length, check_lengths
from polystep_snn.errors import InputError

_log = logging.getLogger("polystep_snn")
EVENT = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", bool)])
VALIDATION_SHARE = 0.1
# Where more of all events than this are dropped, something is wrong.
_MOST = 0.9
_PACKED = (".zip", ".gz", ".tar.gz", ".tgz", ".tar", ".7z")
# Which training recordings validate does not depend on a run's seed.
_SPLIT_SEED = 0


@dataclass(frozen=True)
class EventSet:
    """A published set of recordings.

    Attributes:
        name: as in ``load``.
        title: as its authors write it.
        sensor: width, height and number of polarities, as tonic's ``sensor_size``.
        classes: their names.
        folder: where tonic puts it, below what it is told.
        parts: what that folder holds: files or folders of training and test recordings.
        default: how its events become frames where nothing else is said.
        usual_us: the shortest and the longest that its recordings usually last.
        unit: in which its files tell time.
        aliases: other names of the folder.
        saccades: whether its camera made those of N-MNIST, which ``Framing.stabilize`` undoes.
    """

    name: str
    title: str
    sensor: Sensor
    classes: tuple[str, ...]
    folder: str
    parts: tuple[str, str]
    default: Framing
    usual_us: tuple[int, int]
    unit: str
    saccades: bool = False
    aliases: tuple[str, ...] = ()

    def framing(self, given: Framing | None) -> Framing:
        """The given framing, or the default; InputError for one that undoes saccades that were not made."""
        if given is not None and given.stabilize and not self.saccades:
            raise InputError(f"stabilize is True, but {self.name} has no saccades of N-MNIST's camera to undo: leave it out")
        return given or self.default


class Recording(NamedTuple):
    """One recording as it was read.

    Attributes:
        where: its name, for messages.
        label: its class.
        test: whether it belongs to the publishers' test part.
        events: with the fields ``x``, ``y``, ``t`` (µs) and ``p``.
    """

    where: str
    label: int
    test: bool
    events: np.ndarray


@dataclass(frozen=True)
class Recordings:
    """All recordings of a folder, framed.

    Attributes:
        source: the set that they belong to.
        samples: the training recordings, then those of the test part.
        num_train: how many are for training.
        subset: whether recordings of the full set are missing.
        late: ``[n]``, events of each recording that came after the window and were dropped.
        num_events: in all recordings as they were read.
    """

    source: EventSet
    samples: EventSamples
    num_train: int
    subset: bool
    late: np.ndarray
    num_events: int

    @property
    def note(self) -> str:
        """What must be said beside every result; empty for the full set."""
        return f"subset: {self.num_train} + {len(self.samples) - self.num_train} recordings" if self.subset else ""

    @property
    def dropped(self) -> str:
        """What framing has left out of the recordings; empty for nothing."""
        late, cut = int(self.late.sum()), int((self.late > 0).sum())
        if not late:
            return ""
        return f"{late:,} events ({late / self.num_events:.1%}) of {cut} recordings came after the window and were dropped"

    def dataset(self) -> Dataset[EventSamples]:
        """The given split, with a tenth of every class of the training part as validation."""
        everything = np.arange(len(self.samples))
        return self._dataset(everything[: self.num_train], everything[self.num_train :], VALIDATION_SHARE, self.note)

    def folds(self, k: int = 5, seed: int = 0, validation: float = VALIDATION_SHARE) -> Iterator[Dataset[EventSamples]]:
        """Cross-validation over all recordings, of both parts alike: each of them is a test sample in one of the sets.

        Args:
            k: number of folds.
            seed: of the shuffle.
            validation: share of every class, of what is not tested, that validates.

        Raises:
            InputError: a class with too few recordings.
        """
        parts = stratified_folds(self.samples.labels, k, seed)
        for number, test in enumerate(parts, 1):
            rest = np.setdiff1d(np.arange(len(self.samples)), test)
            note = f"fold {number} of {k}"
            yield self._dataset(rest, test, validation, f"{self.note}; {note}" if self.note else note)

    def _dataset(self, rest: np.ndarray, test: np.ndarray, validation: float, note: str) -> Dataset[EventSamples]:
        train, validate = stratified_split(self.samples.labels[rest], validation, _SPLIT_SEED)
        take, classes = self.samples.take, self.source.classes
        return Dataset(self.source.name, take(rest[train]), take(rest[validate]), take(test), len(classes), classes, note, self.dropped)


def find_folder(source: EventSet, data_dir: Path | None, download: Callable[[Path], None]) -> Path:
    """The first folder that holds a part of the set.

    It is looked for in ``data_dir`` and in ``$POLYSTEP_SNN_DATA``, each time under the name that tonic gives it, under the same in small
    letters, under other names of the set, or directly, then in the user's cache folder; else the full set is downloaded into that.

    Args:
        source: the set.
        data_dir: where to look first.
        download: puts the full set into the folder that it is given, or raises ``InputError``.

    Raises:
        InputError: a folder that does not exist; archives that are still packed; nothing found and nothing to be downloaded.
    """
    for base in given_folders(data_dir):
        if not base.is_dir():
            raise InputError(f"the data folder {base} does not exist: create it, or leave --data-dir (or $POLYSTEP_SNN_DATA) out")
        folders = [base / name for name in dict.fromkeys((source.folder, source.folder.lower(), *source.aliases, ""))]
        for folder in folders:
            if any((folder / part).exists() for part in source.parts):
                return folder
        for folder in folders:
            for packed in (folder / f"{part}{suffix}" for part in source.parts for suffix in _PACKED):
                if packed.is_file():
                    raise InputError(f"{packed} is packed: extract it there")
    target = cache_dir() / source.folder
    if not target.is_dir():
        download(target)
    return target


def frame_recordings(
    source: EventSet,
    path: Path,
    files: Sequence[str],
    full: tuple[int, int],
    read: Callable[[], Iterable[Recording]],
    framing: Framing,
    total: int | None = None,
) -> Recordings:
    """All recordings of a folder, framed; framed ones come from the cache folder.

    Args:
        source: the set.
        path: the folder.
        files: below it, all that is read: their sizes and times of change decide whether frames in the cache are theirs.
        full: training and test recordings of the full set.
        read: reads the recordings, those for training first.
        framing: how events become frames.
        total: number of recordings, for the progress bar.

    Raises:
        InputError: a recording that is empty, not of this sensor or out of order; what ``read`` refuses.
    """
    shape = framing.shape(source.sensor)
    arrays = cached(source.name, _key(path, files, framing), lambda: _frame_all(source, read(), framing, total))
    labels, tests = arrays["labels"], arrays["tests"]
    counts = (int((~tests).sum()), int(tests.sum()))
    bounds = np.concatenate([[0], np.cumsum(arrays["lengths"])])
    numbers = np.arange(len(labels))
    samples = EventSamples(
        labels, arrays["steps"], arrays["channels"], bounds[:-1], bounds[1:], numbers, framing.num_steps, shape, framing.counts
    )
    recordings = Recordings(source, samples, counts[0], counts != full, arrays["late"], int(arrays["events"].sum()))
    if recordings.late.sum() > _MOST * recordings.num_events:
        _log.warning("%s: choose a longer window_us, and see whether times are in %s", recordings.dropped, source.unit)
    return recordings


def check_labels(source: EventSet, path: Path, labels: np.ndarray, full: int) -> None:
    """InputError unless the recordings of a part, with their labels ``[n]``, are of all classes and no more than the full set has."""
    if len(labels) > full:
        raise InputError(f"{path} holds {len(labels)} recordings, {source.title} has {full}: remove what does not belong there")
    wrong = labels[(labels < 0) | (labels >= len(source.classes))]
    if len(wrong):
        raise InputError(f"{path} has a recording of class {wrong[0]}, the last class is {len(source.classes) - 1}: fetch it again")
    missing = np.setdiff1d(np.arange(len(source.classes)), labels)
    if len(missing):
        raise InputError(f"{path} holds no recording of class {missing[0]}: fetch it again, or add recordings")


def _key(path: Path, files: Sequence[str], framing: Framing) -> dict:
    """What decides the frames: settings, files (by name, size and time of change), and the tonic that reads and cleans them."""
    try:
        tonic = importlib.metadata.version("tonic")
    except importlib.metadata.PackageNotFoundError:
        raise no_tonic() from None
    return {"framing": framing.settings, "recordings": fingerprint(path, files), "tonic": tonic}


def _frame_all(source: EventSet, recordings: Iterable[Recording], framing: Framing, total: int | None) -> dict[str, np.ndarray]:
    about = {"desc": f"framing {source.title}", "unit": " recordings", "leave": False, "disable": not sys.stderr.isatty()}
    framed, labels, tests, durations, numbers = [], [], [], [], []
    for recording in tqdm(recordings, total=total, file=sys.stderr, **about):
        check_events(recording.events, source.sensor, recording.where)
        durations.append(int(recording.events["t"][-1] - recording.events["t"][0]))
        numbers.append(len(recording.events))
        check_length(recording.where, durations[-1], numbers[-1], source.usual_us, source.unit)
        framed.append(framing.frame(recording.events, source.sensor, recording.where))
        labels.append(recording.label)
        tests.append(recording.test)
    check_lengths(source.title, durations, numbers, source.usual_us, source.unit)
    return {
        "labels": np.array(labels, np.uint8),
        "tests": np.array(tests, bool),
        "steps": np.concatenate([recording.steps for recording in framed]),
        "channels": np.concatenate([recording.channels for recording in framed]),
        "lengths": np.array([len(recording.steps) for recording in framed], np.int64),
        "late": np.array([recording.late for recording in framed], np.int64),
        "events": np.array(numbers, np.int64),
    }
