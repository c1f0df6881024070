"""MNIST (LeCun, Cortes and Burges 1998) and Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), which has its format and its file names.

70,000 grey images of 28 x 28 pixels each: handwritten digits, or articles of a fashion shop.
"""

from pathlib import Path

from polystep_snn.datasets.base import Dataset, Samples
from polystep_snn.datasets.idx_images import IdxImages, idx_files, load_idx_images

_MNIST_FILES = idx_files(
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
_FASHION_FILES = idx_files(
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)
MNIST = IdxImages(
    "mnist",
    "MNIST",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    # Where torchvision, tonic, snnTorch and others put them.
    ("MNIST/raw", "mnist", "MNIST", "raw", "mnist/MNIST/raw"),
    _MNIST_FILES,
    tuple("0123456789"),
    keras="mnist.npz",
    same_names=tuple((file.md5, "Fashion-MNIST") for file in _FASHION_FILES.values()),
)
FASHION_MNIST = IdxImages(
    "fashion-mnist",
    "Fashion-MNIST",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    # Where torchvision, Keras and the authors' repository put them.
    ("FashionMNIST/raw", "fashion-mnist", "FashionMNIST", "fashion-mnist/data/fashion", "data/fashion", "fashion", "raw"),
    _FASHION_FILES,
    ("T-shirt or top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    same_names=tuple((file.md5, "MNIST") for file in _MNIST_FILES.values()),
)


def load_mnist(data_dir: Path | None = None) -> Dataset[Samples]:
    """MNIST with its last 5,000 training images as validation; see ``load_idx_images``.

    Raises:
        InputError: a damaged file; or files that are neither there nor to be downloaded, with what to put where.
    """
    return load_idx_images(MNIST, data_dir)


def load_fashion_mnist(data_dir: Path | None = None) -> Dataset[Samples]:
    """Fashion-MNIST with its last 5,000 training images as validation; see ``load_idx_images``.

    Raises:
        InputError: a damaged file; or files that are neither there nor to be downloaded, with what to put where.
    """
    return load_idx_images(FASHION_MNIST, data_dir)
