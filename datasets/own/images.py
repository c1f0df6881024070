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
    try:
        from PIL import Image
    except ImportError:
        raise InputError("Pillow, which reads images, is not installed: pip install pillow") from None
    pictures, size = [], None
    for path in files:
        try:
            with Image.open(path) as image:
                if size is not None and image.size != size[0]:
                    raise InputError(
                        f"{path} has {image.width} x {image.height} pixels, {size[1]} has {size[0][0]} x {size[0][1]}: scale them to one size"
                    )
                size = size or (image.size, path)
                image.load()
                pictures.append(_pixels(image))
        except InputError:
            raise
        # Pillow's readers raise many kinds for damaged files.
        except (OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is no image, or is damaged ({_line(error)}): fetch it again, or remove it") from None
    if any(picture.ndim == 3 for picture in pictures):
        return np.stack([picture if picture.ndim == 3 else np.stack([picture] * 3) for picture in pictures])
    return np.stack(pictures)


def _pixels(image) -> np.ndarray:
    """``[H, W]`` or ``[3, H, W]``, uint8."""
    if image.mode in _WIDE_MODES:
        return (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
    if image.mode in _GREY_MODES:
        return np.asarray(image.convert("L"))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
