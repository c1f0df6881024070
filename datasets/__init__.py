"""Real data as plain numpy arrays. Knows nothing of torch or of training.

Every data set is a ``Dataset`` of training, validation and test samples; ``load(name, data_dir)`` finds it.
"""

from pathlib import Path

from polystep_snn.datasets.base import Dataset as Dataset
from polystep_snn.datasets.base import Samples as Samples
from polystep_snn.datasets.framing import Framing as Framing
from polystep_snn.errors import InputError

NAMES = ("digits", "mnist", "nmnist")


def load(name: str, data_dir: Path | None = None, framing: Framing | None = None) -> Dataset:
    """The data set called ``name``.

    Args:
        name: one of ``NAMES``.
        data_dir: where to look first. Data that is embedded in a package ignores it.
        framing: how the events of "nmnist" become frames.

    Returns:
        Parts that are ``Samples`` (images) or, of "nmnist", ``EventSamples``.

    Raises:
        InputError: an unknown name; a framing for images; files that are missing and cannot be downloaded, or that are damaged.
    """
    if framing is not None and name in ("digits", "mnist"):
        raise InputError(f"{name} holds images, which are not framed: leave framing out")
    if name == "digits":
        from polystep_snn.datasets.digits import load_digits

        return load_digits()
    if name == "mnist":
        from polystep_snn.datasets.mnist import load_mnist

        return load_mnist(data_dir)
    if name == "nmnist":
        from polystep_snn.datasets.nmnist import load_nmnist

        return load_nmnist(data_dir, framing).dataset()
    raise InputError(f"there is no data set {name!r}: choose one of {', '.join(NAMES)}")
