"""Sound files, whole and broken."""

import numpy as np
import pytest
from scipy.io import wavfile

from polystep_snn.datasets.wav import read_wav
from polystep_snn.errors import InputError
from tests.datasets.spoken_files import RATE, float_wav, tone, write_wav


def test_samples_are_those_that_were_written(tmp_path):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, np.array([0, 1, -(2**15), 2**14], np.int16))
    sound, rate = read_wav(path, RATE)
    assert (sound.dtype, rate) == (np.float32, RATE)
    assert sound.tolist() == [0.0, 2**-15, -1.0, 0.5]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: write_wav(path, tone(1), rate=16_000),
            "has 16000 samples a second, expected 8000: convert it to 8000 Hz, one channel",
        ),
        (lambda path: write_wav(path, tone(1), channels=2), "has 2 channels, expected one: convert it"),
        (lambda path: write_wav(path, np.full(9, 130, np.uint8)), "has 8 bits a sample, expected 16: convert it"),
        (lambda path: write_wav(path, np.full(9, 130, np.int32)), "has 32 bits a sample, expected 16"),
        (lambda path: write_wav(path, tone(1, 0)), "holds no sound: fetch it again, or delete it"),
        (lambda path: write_wav(path, np.zeros(90, np.int16)), "is silent throughout, with 90 zeros"),
        (float_wav, r"is no PCM wav file \(unknown format: 3\): convert it"),
        (lambda path: path.write_bytes(b""), "is empty: fetch it again"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), "is no PCM wav file .file does not start with RIFF id"),
        (lambda path: path.mkdir(), "cannot be read .Is a directory."),
        (lambda path: None, "cannot be read .No such file"),
    ],
    ids=["rate", "stereo", "8 bits", "32 bits", "empty", "silent", "float", "nothing", "web page", "folder", "missing"],
)
def test_broken_files(tmp_path, write, message):
    path = tmp_path / "7_ann_3.wav"
    write(path)
    with pytest.raises(InputError, match=message) as error:
        read_wav(path, RATE)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [1, 11, 30, 43, 44, 45, 46, 100, 243])
def test_truncated_files(tmp_path, length):
    path = write_wav(tmp_path / "a.wav", tone(1)[:100])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"is truncated|is no PCM") as error:
        read_wav(path, RATE)
    if length >= 44:
        assert f"it holds {(length - 44) // 2} of 100 samples" in str(error.value)


def test_any_damage_to_a_header_is_an_error_or_sound(tmp_path):
    """Every bit of the header, turned over by itself."""
    path = write_wav(tmp_path / "a.wav", tone(1)[:100])
    whole = path.read_bytes()
    refused = 0
    for bit in range(8 * 44):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            sound, _ = read_wav(path, RATE)
        except InputError:
            refused += 1
        else:
            assert 0 < len(sound) <= 100
    assert refused > 200
