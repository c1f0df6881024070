"""Small folders of spoken digits, which are whistled: a tone a digit, another volume a speaker."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

RATE = 8000
SPEAKERS = ("ann", "bob")
SECONDS = 0.3


def tone(digit: int, seconds: float = SECONDS, volume: float = 0.5) -> np.ndarray:
    """A tone of 300 to 3,000 Hz as 16-bit samples."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (2**15 * volume * np.sin(2 * np.pi * 300 * (1 + digit) * time)).astype("<i2")


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, channels: int = 1) -> Path:
    """Samples of one, two or four bytes."""
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, samples.dtype.itemsize, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def write_folder(folder: Path, speakers: tuple[str, ...] = SPEAKERS, indices: int = 12) -> Path:
    """Every digit of every speaker so often."""
    folder.mkdir(parents=True)
    for k, speaker in enumerate(speakers):
        for digit in range(10):
            for index in range(indices):
                seconds = SECONDS + 0.01 * index
                write_wav(folder / f"{digit}_{speaker}_{index}.wav", tone(digit, seconds, 0.1 * (k + 1)))
    return folder


def float_wav(path: Path) -> Path:
    """A file of floating point samples, which is no PCM."""
    body = np.zeros(100, "<f4").tobytes()
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32) + struct.pack("<4sI", b"data", len(body))
    path.write_bytes(struct.pack("<4sI4s", b"RIFF", 4 + len(header) + len(body), b"WAVE") + header + body)
    return path


@pytest.fixture
def base(tmp_path, cache):
    """A data folder with 240 recordings, and an empty cache."""
    write_folder(tmp_path / "data" / "FSDD" / "recordings")
    return tmp_path / "data"
