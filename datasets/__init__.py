"""Real data as plain numpy arrays. Knows nothing of torch or of training.

Every data set is a ``Dataset`` of training, validation and test samples; ``load(name, data_dir)`` finds it.
"""

from pathlib import Path

from polystep_snn.datasets.base import Dataset as Dataset
from polystep_snn.datasets.base import Samples as Samples
from polystep_snn.datasets.base import Sequences as Sequences
from polystep_snn.datasets.framing import Framing as Framing
from polystep_snn.datasets.recordings import EventSet
from polystep_snn.datasets.speech_features import SpeechFeatures as SpeechFeatures
from polystep_snn.errors import InputError

NAMES = ("digits", "mnist", "fashion-mnist", "nmnist", "shd", "dvsgesture", "spoken-digits")
_IMAGES = ("digits", "mnist", "fashion-mnist")


def load(
    name: str,
    data_dir: Path | None = None,
    framing: Framing | None = None,
    features: SpeechFeatures | None = None,
    speaker: str = "",
) -> Dataset:
    """The data set called ``name``.

    Args:
        name: one of ``NAMES``.
        data_dir: where to look first. Data that is embedded in a package ignores it.
        framing: how the events of "nmnist", "shd" or "dvsgesture" become frames.
        features: how the recordings of "spoken-digits" become sequences.
        speaker: whose recordings of "spoken-digits" are the test part; by default the published ones are.

    Returns:
        Parts that are ``Samples`` (images), ``EventSamples`` (event recordings) or ``Sequences`` (sound).

    Raises:
        InputError: an unknown name; a framing for images or sound, features for anything else; a framing that undoes N-MNIST's saccades for
            another set; files that are missing and cannot be downloaded, or that are damaged.
    """
    if framing is not None and name in _IMAGES:
        raise InputError(f"{name} holds images, which are not framed: leave framing out")
    if framing is not None and name == "spoken-digits":
        raise InputError(f"{name} holds sound, which is not framed: leave framing out, or give features")
    if (features is not None or speaker) and name in NAMES and name != "spoken-digits":
        raise InputError(f"{name} holds no speech: leave features and speaker out")
    if name == "digits":
        from polystep_snn.datasets.digits import load_digits

        return load_digits()
    if name == "mnist":
        from polystep_snn.datasets.mnist import load_mnist

        return load_mnist(data_dir)
    if name == "fashion-mnist":
        from polystep_snn.datasets.mnist import load_fashion_mnist

        return load_fashion_mnist(data_dir)
    if name == "nmnist":
        from polystep_snn.datasets.nmnist import load_nmnist

        return load_nmnist(data_dir, framing).dataset()
    if name == "shd":
        from polystep_snn.datasets.shd import load_shd

        return load_shd(data_dir, framing).dataset()
    if name == "dvsgesture":
        from polystep_snn.datasets.dvs_gesture import load_dvs_gesture

        return load_dvs_gesture(data_dir, framing).dataset()
    if name == "spoken-digits":
        from polystep_snn.datasets.spoken_digits import load_spoken_digits

        return load_spoken_digits(data_dir, features, speaker).dataset(speaker)
    raise InputError(f"there is no data set {name!r}: choose one of {', '.join(NAMES)}")


def event_set(name: str) -> EventSet:
    """What the set of recordings called ``name`` is: its sensor, its classes. Nothing is read.

    Raises:
        InputError: an unknown name.
    """
    from polystep_snn.datasets import dvs_gesture, nmnist, shd

    sets = {source.name: source for source in (nmnist.SOURCE, shd.SOURCE, dvs_gesture.SOURCE)}
    if name not in sets:
        raise InputError(f"there is no set of recordings {name!r}: choose one of {', '.join(sets)}")
    return sets[name]
