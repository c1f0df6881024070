"""Spoken digits: the Free Spoken Digit Dataset (Jackson and others, release 1.0.10; CC BY-SA 4.0) as sequences of band energies or events.

Six speakers say every digit fifty times in English; sound has 8,000 samples a second and 16 bits, 0.14 to 2.3 s of it a recording. Their
names tell all: ``DIGIT_SPEAKER_INDEX.wav``. A folder may hold only some of the recordings; the set is then called a subset wherever its
``title`` is printed.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from polystep_snn.datasets.base import Dataset, Sequences
from polystep_snn.datasets.frames_cache import cached, fingerprint
from polystep_snn.datasets.speech_features import RATE_HZ, SpeechFeatures, level_crossings
from polystep_snn.datasets.spoken_digits_files import NUM_RECORDINGS, NamedFile, find_recordings, list_recordings
from polystep_snn.datasets.wav import read_wav
from polystep_snn.errors import InputError

_log = logging.getLogger("polystep_snn")
NAME = "spoken-digits"
CLASSES = tuple("0123456789")
# As published, the recordings 0 to 4 of every digit and speaker are for the test.
_NUM_TEST, _NUM_VALIDATION = 5, 5
# Where more recordings than this are cut, something is wrong.
_MOST_CUT = 0.25
# Changes whenever the same settings give other energies.
_ANALYSIS = 1


@dataclass(frozen=True)
class SpokenDigits:
    """All recordings of a folder as sequences.

    Attributes:
        sequences: of all recordings, by digit, speaker and index.
        speakers: ``[n]``, who speaks.
        indices: ``[n]``, the index in each name.
        lengths: ``[n]``, steps that each recording takes before it is cut or goes on as silence.
        features: how they were made.
    """

    sequences: Sequences
    speakers: np.ndarray
    indices: np.ndarray
    lengths: np.ndarray
    features: SpeechFeatures

    @property
    def names(self) -> tuple[str, ...]:
        """The speakers, each once, in alphabetical order."""
        return tuple(np.unique(self.speakers).tolist())

    @property
    def note(self) -> str:
        """What must be said beside every result; empty for the full set."""
        found = len(self.sequences)
        return "" if found == NUM_RECORDINGS else f"subset: {found} of {NUM_RECORDINGS} recordings, {len(self.names)} speakers"

    @property
    def dropped(self) -> str:
        """What making them equally long has done; empty for nothing."""
        steps, n = self.features.num_steps, len(self.lengths)
        cut, short = int((self.lengths > steps).sum()), int((self.lengths < steps).sum())
        window = f"{steps * self.features.step_ms / 1000:g} s"
        said = [f"{cut} of {n} recordings are longer than {window} and were cut there"] if cut else []
        return "; ".join(said + ([f"{short} are shorter and end in silence"] if short else []))

    def dataset(self, speaker: str = "") -> Dataset[Sequences]:
        """Three parts. Of what is not for the test, the recordings 5 to 9 of every digit and speaker validate.

        Args:
            speaker: all recordings of this speaker are the test part; then validation, whose speakers train too, flatters. By default the
                test part is the published one, the recordings 0 to 4 of every digit and speaker.

        Raises:
            InputError: a speaker of whom there is no recording, or nobody else; a part without recordings.
        """
        _check_speaker(speaker, self.names)
        test = self.speakers == speaker if speaker else self.indices < _NUM_TEST
        validation = ~test & (self.indices >= _NUM_TEST) & (self.indices < _NUM_TEST + _NUM_VALIDATION)
        parts = [self.sequences.take(np.flatnonzero(part)) for part in (~test & ~validation, validation, test)]
        note = "; ".join(filter(None, (self.note, f"speaker {speaker} held out" if speaker else "")))
        return Dataset(NAME, parts[0], parts[1], parts[2], len(CLASSES), CLASSES, note, self.dropped)


def load_spoken_digits(data_dir: Path | None = None, features: SpeechFeatures | None = None, speaker: str = "") -> SpokenDigits:
    """All recordings of the first folder that holds some, as sequences; energies come from the cache folder if they are known.

    Args:
        data_dir: where to look first.
        features: how recordings become sequences; by default energies of 32 bands in 40 steps of 20 ms.
        speaker: must be among those who speak; checked before any recording is read.

    Raises:
        InputError: a name that says no digit; a recording of another rate or depth, with two channels, empty, truncated or silent; no such
            speaker; nothing found and nothing to be downloaded.
    """
    features = features or SpeechFeatures()
    folder = find_recordings(data_dir)
    files = list_recordings(folder)
    _check_speaker(speaker, tuple(sorted({file.speaker for file in files})))
    settings = {"num_steps": features.num_steps, "step_ms": float(features.step_ms), "bands": features.bands, "analysis": _ANALYSIS}
    key = {"features": settings, "recordings": fingerprint(folder, [file.name for file in files])}
    arrays = cached(NAME, key, lambda: _analyse(folder, files, features))
    values = arrays["energies"]
    if features.kind == "events":
        values = level_crossings(values, counts=features.counts)
    sequences = Sequences(values, np.array([file.digit for file in files], np.uint8), num_groups=features.num_groups)
    speakers, indices = np.array([file.speaker for file in files]), np.array([file.number for file in files])
    digits = SpokenDigits(sequences, speakers, indices, arrays["lengths"], features)
    if (digits.lengths > features.num_steps).mean() > _MOST_CUT:
        _log.warning("%s: choose more steps, or longer ones", digits.dropped)
    return digits


def _check_speaker(speaker: str, names: tuple[str, ...]) -> None:
    if speaker and speaker not in names:
        raise InputError(f"speaker is {speaker!r}, but the recordings are of {', '.join(names)}: choose one of them")
    if speaker and len(names) == 1:
        raise InputError(f"speaker is {speaker!r}, but there is nobody else to learn from: leave it out, or add recordings")


def _analyse(folder: Path, files: list[NamedFile], features: SpeechFeatures) -> dict[str, np.ndarray]:
    """Energies ``[n, T, bands]`` of all recordings, and how many steps each takes."""
    about = {"desc": "listening to spoken digits", "unit": " recordings", "leave": False, "disable": not sys.stderr.isatty()}
    energies = np.empty((len(files), features.num_steps, features.bands), np.float32)
    lengths = np.empty(len(files), np.int64)
    for k, file in enumerate(tqdm(files, file=sys.stderr, **about)):
        sound, _ = read_wav(folder / file.name, RATE_HZ)
        energies[k], lengths[k] = features.energies(sound), features.length(len(sound))
    return {"energies": energies, "lengths": lengths}
