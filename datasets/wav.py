"""Sound files: PCM in RIFF/WAVE, as the standard library's ``wave`` reads it, checked for what a broken copy leaves."""

import wave
from pathlib import Path

import numpy as np

from polystep_snn.errors import InputError

_SAMPLE_BYTES = 2


def read_wav(path: Path, rate_hz: int | None = None) -> tuple[np.ndarray, int]:
    """The sound of a file with one channel and 16 bits a sample.

    Args:
        path: the file.
        rate_hz: the sampling rate that it must have; None for any.

    Returns:
        ``[N]`` float32 in [-1, 1), and its sampling rate.

    Raises:
        InputError: no PCM, another rate or depth, several channels; a file that is empty, truncated or silent throughout.
    """
    remedy = f"convert it to {f'{rate_hz} Hz, ' if rate_hz else ''}one channel, 16 bits"
    try:
        with wave.open(str(path)) as file:
            rate, channels, depth, promised = file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()
            content = file.readframes(promised)
    # An EOFError says nothing.
    except EOFError:
        size = path.stat().st_size
        raise InputError(f"{path} is {f'truncated after {size} bytes' if size else 'empty'}: fetch it again, or delete it") from None
    # RuntimeError is how `wave` says that a part reaches beyond the whole.
    except (wave.Error, RuntimeError) as error:
        reason = str(error) or "its parts do not fit together"
        raise InputError(f"{path} is no PCM wav file ({reason}): {remedy}, or delete it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): fetch it again, or delete it") from None
    if rate_hz and rate != rate_hz:
        raise InputError(f"{path} has {rate} samples a second, expected {rate_hz}: {remedy}")
    if channels != 1:
        raise InputError(f"{path} has {channels} channels, expected one: {remedy}")
    if depth != _SAMPLE_BYTES:
        raise InputError(f"{path} has {8 * depth} bits a sample, expected {8 * _SAMPLE_BYTES}: {remedy}")
    if not promised:
        raise InputError(f"{path} holds no sound: fetch it again, or delete it")
    found = len(content) // _SAMPLE_BYTES
    if found < promised:
        raise InputError(f"{path} is truncated: it holds {found} of {promised} samples; fetch it again, or delete it")
    sound = np.frombuffer(content, "<i2").astype(np.float32) / 2**15
    if not sound.any():
        raise InputError(f"{path} is silent throughout, with {promised} zeros: fetch it again, or delete it")
    return sound, rate
