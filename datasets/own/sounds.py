"""Sounds of one's own: wav files of any rate, heard at 8,000 samples a second."""

import math
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from polystep_snn.datasets.speech_features import RATE_HZ, SpeechFeatures
from polystep_snn.datasets.wav import read_wav
from polystep_snn.errors import InputError

# Below it the highest bands are empty.
_LOWEST_HZ = RATE_HZ


def read_energies(files: list[Path], features: SpeechFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Band energies of all recordings.

    Returns:
        ``[n, T, bands]`` float32, and how many steps each recording takes, ``[n]``.

    Raises:
        InputError: a file that is not PCM with one channel and 16 bits, or is damaged, silent, or of less than 8,000 samples a second.
    """
    about = {"desc": "listening", "unit": " recordings", "leave": False, "disable": not sys.stderr.isatty()}
    energies = np.empty((len(files), features.num_steps, features.bands), np.float32)
    lengths = np.empty(len(files), np.int64)
    for k, path in enumerate(tqdm(files, file=sys.stderr, **about)):
        sound = heard(path)
        energies[k], lengths[k] = features.energies(sound), features.length(len(sound))
    return energies, lengths


def heard(path: Path) -> np.ndarray:
    """The sound of a file at 8,000 samples a second, ``[N]`` float32; others are resampled by a polyphase filter."""
    sound, rate = read_wav(path)
    if rate == RATE_HZ:
        return sound
    if rate < _LOWEST_HZ:
        raise InputError(f"{path} has {rate} samples a second, at least {_LOWEST_HZ} are needed: record it anew, or remove it")
    from scipy.signal import resample_poly

    common = math.gcd(rate, RATE_HZ)
    return resample_poly(sound, RATE_HZ // common, rate // common).astype(np.float32)
