"""Images of one's own, by Pillow: grey ones, or all of them in colour."""

from pathlib import Path

import numpy as np

from polystep_snn.errors import InputError

_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L")
_WIDE_MODES = ("I;16", "I;16B", "I;16L")


def read_images(files: list[Path]) -> np.ndarray:
    """All images of some files: ``[n, H, W]`` uint8, or ``[n, 3, H, W]`` where one of them has colours.

    Images of 16 bits keep the upper 8.

    Raises:
        InputError: a file that is no image or is damaged; images of several sizes; Pillow is not installed.
    """
    pictures: list[np.ndarray] = []
    size: tuple[int, int] | None = None
    for path in files:
        picture = _read(path)
        found = picture.shape[-1], picture.shape[-2]
        if size is not None and found != size:
            theirs = f"{files[0]} has {size[0]} x {size[1]}"
            raise InputError(f"{path} has {found[0]} x {found[1]} pixels, {theirs}: scale them to one size")
        size = found
        pictures.append(picture)
    if any(picture.ndim == 3 for picture in pictures):
        return np.stack([picture if picture.ndim == 3 else np.stack([picture] * 3) for picture in pictures])
    return np.stack(pictures)


def _read(path: Path) -> np.ndarray:
    """``[H, W]`` or ``[3, H, W]``, uint8."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError("Pillow, which reads images, is not installed: pip install pillow") from None
    try:
        with Image.open(path) as image:
            image.load()
            return _pixels(image)
    # Pillow's readers raise many kinds for damaged files.
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no image, or is damaged ({_line(error)}): fetch it again, or remove it") from None


def _pixels(image) -> np.ndarray:
    """``[H, W]`` or ``[3, H, W]``, uint8."""
    if image.mode in _WIDE_MODES:
        return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
    if image.mode in _GREY_MODES:
        return np.asarray(image.convert("L"))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
