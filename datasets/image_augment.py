"""Random changes of images, so that few of them teach more: moves and mirror images.

Each image of each epoch has its own random number, a function of the seed, the epoch and the image's number alone: neither the order of a
batch, nor who else is in it, changes it.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from polystep_snn.errors import InputError


@dataclass(frozen=True)
class ImageAugmentation:
    """What may happen to an image. The defaults change nothing.

    Attributes:
        shift: it moves by up to so many pixels along either axis, every whole number equally likely. What leaves the frame is lost, and
            zeros come in. Along an axis of one pixel nothing moves.
        flip_lr: probability with which left and right change places.
        seed: decides everything, together with epoch and number.

    Raises:
        InputError: a value out of its range.
    """

    shift: int = 0
    flip_lr: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name, highest in (("shift", 64), ("seed", 2**64 - 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
                raise InputError(f"{name} is {value}: give a whole number from 0 to {highest}")
        if not 0 <= self.flip_lr <= 1:
            raise InputError(f"flip_lr is {self.flip_lr}: give a probability from 0 to 1")

    @property
    def changes(self) -> bool:
        """Whether anything may happen at all."""
        return bool(self.shift or self.flip_lr)

    def sources(self, numbers: np.ndarray, shape: tuple[int, ...], epoch: int) -> np.ndarray:
        """Where every pixel of the changed images comes from.

        Args:
            numbers: ``[B]``, the number of each image.
            shape: height and width of an image, or channels, height and width; all channels move alike.
            epoch: from 0.

        Returns:
            ``[B, N]`` int64: a pixel of the flat image, 0 to N - 1, or N for a zero.
        """
        height, width = shape[-2:]
        word = _words(self.seed, epoch, int(numbers.max(initial=0)) // _BLOCK)[numbers]
        # Three random numbers of 16 bits.
        flip, right, down = (((word >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.int64)[:, None] for k in range(3))
        x, y = (np.arange(size) - self._move(draw, size) for size, draw in ((width, right), (height, down)))
        beside = ((y < 0) | (y >= height))[:, :, None] | ((x < 0) | (x >= width))[:, None, :]
        x = np.where(flip < self.flip_lr * 65_536, width - 1 - x, x)
        pixels = prod(shape)
        at = np.where(beside, pixels, y[:, :, None] * width + x[:, None, :]).reshape(len(numbers), 1, -1)
        planes = np.arange(0, pixels, height * width)[:, None]
        return np.minimum(at + planes, pixels).reshape(len(numbers), pixels)

    def _move(self, draw: np.ndarray, size: int) -> np.ndarray:
        """``[B, 1]``: by how many pixels along an axis."""
        return ((draw * (2 * self.shift + 1)) >> 16) - self.shift if size > 1 else np.zeros_like(draw)


# Words are drawn for so many images at a time.
_BLOCK = 65_536


@lru_cache(maxsize=2)
def _words(seed: int, epoch: int, last_block: int) -> np.ndarray:
    """``[n]`` uint64, a random number for each image of an epoch. The first ones are the same, however many there are."""
    return np.random.Philox(key=[seed, epoch]).random_raw((last_block + 1) * _BLOCK)
