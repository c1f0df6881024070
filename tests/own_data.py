"""Small data of one's own, of every kind, as a user would bring it."""

from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from sklearn.datasets import load_digits

NAMES = ("ant", "bee <b>", "$cat$ of one's own")


def _three(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the digits 0, 1 and 2, in [0, 1], and what they are."""
    images, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero(labels < 3)[:count]
    return (images[chosen].reshape(-1, 8, 8) / 16).astype(np.float32), labels[chosen]


def images(path: Path, count: int = 150) -> Path:
    """Grey images as floats, with numbers for classes."""
    x, y = _three(count)
    np.savez(path, x_train=x, y_train=y)
    return path


def named(path: Path, count: int = 150) -> Path:
    """The same, with text for classes."""
    x, y = _three(count)
    np.savez(path, x_train=x, y_train=np.array(NAMES)[y])
    return path


def image_values(path: Path, count: int = 150) -> Path:
    """The same, and how bright they are, in 1 to 100, as a real target."""
    x, _ = _three(count)
    np.savez(path, x_train=x, y_train=1 + 99 * x.mean((1, 2)))
    return path


def colours(folder: Path, count: int = 90) -> Path:
    """A folder a class, of colour images."""
    x, y = _three(count)
    tint = np.array([(1, 0.4, 0.2), (0.3, 1, 0.4), (0.2, 0.5, 1)])
    for k, (image, label) in enumerate(zip(x, y, strict=True)):
        own = folder / f"class-{label}"
        own.mkdir(parents=True, exist_ok=True)
        imsave(own / f"{k}.png", image[:, :, None] * tint[label])
    return folder


def table(path: Path, count: int = 150) -> Path:
    """Rows of three features."""
    generator = np.random.default_rng(0)
    y = np.arange(count) % 2
    np.savez(path, x_train=generator.normal(size=(count, 3)) + 2 * y[:, None], y_train=y)
    return path


def forecast(path: Path, count: int = 200) -> Path:
    """Sequences of three currents, and two real targets."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, 12, 3)).astype(np.float32)
    np.savez(path, x_train=x, y_train=np.stack([100 + 10 * x[:, -3:, 0].sum(1), x[:, :, 1].mean(1)], 1))
    return path


def spikes(path: Path, count: int = 120) -> Path:
    """Sequences of spikes: the class is whether they come often."""
    x, rate = _spikes(count)
    np.savez(path, x_train=x, y_train=(rate > 0.3).astype(int))
    return path


def spike_values(path: Path, count: int = 120) -> Path:
    """The same, and how many of them come as a real target."""
    x, _ = _spikes(count)
    np.savez(path, x_train=x, y_train=x.mean((1, 2)))
    return path


def _spikes(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    rate = generator.choice([0.1, 0.5], count)
    return (generator.random((count, 10, 6)) < rate[:, None, None]).astype(np.uint8), rate


def events(folder: Path, count: int = 90) -> Path:
    """A folder a class, of recordings of 60 events."""
    generator, (x, y) = np.random.default_rng(0), _three(count)
    for k, (image, label) in enumerate(zip(x, y, strict=True)):
        own = folder / f"class-{label}"
        own.mkdir(parents=True, exist_ok=True)
        place = generator.choice(64, 60, p=image.ravel() / image.sum())
        recording = np.zeros(60, [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])
        recording["x"], recording["y"], recording["p"] = place % 8, place // 8, generator.integers(0, 2, 60)
        recording["t"] = np.sort(generator.integers(0, 100_000, 60))
        np.save(own / f"{k}.npy", recording)
    return folder
