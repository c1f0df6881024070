"""What happens to a sensor in the field: shifts of an image stream, seeded.

Two kinds of randomness, with a seed each. The sensor's own is the same for all that it ever sees; the sample's is drawn for every image.

    noise        Gaussian, standard deviation AMOUNT, of the sample
    contrast     distances from the image's mean multiplied by AMOUNT
    inversion    (1 - AMOUNT) x + AMOUNT (1 - x)
    rotation     by AMOUNT degrees
    translation  by AMOUNT pixels, in a direction of the sensor's own
    occlusion    a square of AMOUNT of the side, somewhere else in every sample, is black
    dead         a fraction AMOUNT of the pixels, the sensor's own, is black
    hot          a fraction AMOUNT of the pixels, the sensor's own, is white
    impulse      a fraction AMOUNT of the pixels, others in every sample, is black or white
    gain         intensities multiplied by AMOUNT
    brightness   AMOUNT added to intensities
    shade        multiplied by 1 at one edge down to 1 - AMOUNT at the other, in a direction of the sensor's own
    blur         Gaussian, standard deviation AMOUNT pixels
    shear        rows moved sideways by AMOUNT pixels for every pixel from the middle row

Intensities stay in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from polystep_snn.errors import InputError


def kind_and_amount(text: str, such_as: str) -> tuple[str, float]:
    """Of a text ``KIND:AMOUNT``. InputError for another one."""
    kind, _, amount = text.partition(":")
    try:
        return kind, float(amount)
    except ValueError:
        raise InputError(f"a shift is {text!r}: give KIND:AMOUNT, such as {such_as}") from None


@dataclass(frozen=True)
class Shift:
    """A kind of shift and its amount.

    Raises:
        InputError: no such kind, or an amount that it cannot have.
    """

    kind: str
    amount: float

    def __post_init__(self):
        if self.kind not in _KINDS:
            raise InputError(f"there is no shift {self.kind!r}: choose one of {', '.join(_KINDS)}")
        _, low, high = _KINDS[self.kind]
        if not low <= self.amount <= high:
            raise InputError(f"the amount of {self.kind} is {self.amount:g}: choose from {low:g} to {high:g}")

    @classmethod
    def parse(cls, text: str) -> "Shift":
        """From a text ``KIND:AMOUNT``. InputError for another one."""
        return cls(*kind_and_amount(text, "noise:0.4"))

    def __call__(self, images: np.ndarray, seed: int, first: int = 0, sensor: int | None = None) -> np.ndarray:
        """Shifted images.

        Args:
            images: ``[n, height, width]`` float32 in [0, 1]; n may be 0.
            seed: of what is drawn for every sample.
            first: number of the first image, so that parts of a stream are shifted as the whole.
            sensor: seed of what is the sensor's own; name the same one for all that one sensor sees. None for ``seed``.
        """
        if not len(images):
            return images.astype(np.float32)
        drawn = _Random(seed, first, seed if sensor is None else sensor)
        return np.clip(_KINDS[self.kind][0](images, self.amount, drawn), 0.0, 1.0).astype(np.float32)


class _Random(NamedTuple):
    """Where a shift takes its random numbers from."""

    seed: int
    first: int
    sensor: int

    def of_samples(self, count: int) -> list[np.random.Generator]:
        return [np.random.default_rng((self.seed, self.first + k)) for k in range(count)]

    def of_sensor(self) -> np.random.Generator:
        return np.random.default_rng(self.sensor)


def _noise(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    noise = [g.standard_normal(images.shape[1:], np.float32) for g in drawn.of_samples(len(images))]
    return images + np.float32(amount) * np.stack(noise)


def _contrast(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    mean = images.mean((1, 2), keepdims=True)
    return mean + np.float32(amount) * (images - mean)


def _inversion(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    return images + np.float32(amount) * (1 - 2 * images)


def _rotation(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    from scipy.ndimage import rotate

    return rotate(images, amount, axes=(1, 2), reshape=False, order=1)


def _translation(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    from scipy.ndimage import shift

    angle = drawn.of_sensor().uniform(0, 2 * np.pi)
    return shift(images, (0, amount * np.sin(angle), amount * np.cos(angle)), order=1)


def _occlusion(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    images = images.copy()
    height, width = (round(amount * n) for n in images.shape[1:])
    for image, generator in zip(images, drawn.of_samples(len(images)), strict=True):
        y, x = generator.integers(0, (image.shape[0] - height + 1, image.shape[1] - width + 1))
        image[y : y + height, x : x + width] = 0
    return images


def _dead(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    size = images[0].size
    dead = drawn.of_sensor().permutation(size) < round(amount * size)
    return np.where(dead.reshape(images.shape[1:]), np.float32(0), images)


def _hot(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    return 1 - _dead(1 - images, amount, drawn)


def _impulse(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    uniform = np.stack([g.random(images.shape[1:], np.float32) for g in drawn.of_samples(len(images))])
    return np.where(uniform < amount / 2, np.float32(0), np.where(uniform < amount, np.float32(1), images))


def _gain(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    return np.float32(amount) * images


def _brightness(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    return images + np.float32(amount)


def _shade(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    angle = drawn.of_sensor().uniform(0, 2 * np.pi)
    y, x = (np.linspace(-1, 1, n) for n in images.shape[1:])
    across = np.sin(angle) * y[:, None] + np.cos(angle) * x
    return images * (1 - np.float32(amount) * (across / np.abs(across).max() + 1) / 2).astype(np.float32)


def _blur(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, amount, amount))


def _shear(images: np.ndarray, amount: float, drawn: _Random) -> np.ndarray:
    from scipy.ndimage import affine_transform

    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, amount, 1.0]])
    return affine_transform(images, matrix, (0, 0, -amount * (images.shape[1] - 1) / 2), order=1)


_Apply = Callable[[np.ndarray, float, _Random], np.ndarray]
_KINDS: dict[str, tuple[_Apply, float, float]] = {
    "noise": (_noise, 0.0, 10.0),
    "contrast": (_contrast, 0.0, 10.0),
    "inversion": (_inversion, 0.0, 1.0),
    "rotation": (_rotation, -180.0, 180.0),
    "translation": (_translation, 0.0, 1000.0),
    "occlusion": (_occlusion, 0.0, 1.0),
    "dead": (_dead, 0.0, 1.0),
    "hot": (_hot, 0.0, 1.0),
    "impulse": (_impulse, 0.0, 1.0),
    "gain": (_gain, 0.0, 10.0),
    "brightness": (_brightness, -1.0, 1.0),
    "shade": (_shade, 0.0, 1.0),
    "blur": (_blur, 0.0, 100.0),
    "shear": (_shear, -10.0, 10.0),
}
SHIFTS = tuple(_KINDS)
