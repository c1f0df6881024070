"""Real data where it is at hand; files and mirrors that are broken in every way."""

import gzip
import hashlib
import http.server
import socket
import struct
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.datasets import Dataset, Samples, download, load, mnist
from polystep_snn.datasets import digits as digits_module
from polystep_snn.datasets.idx_images import IdxFile
from polystep_snn.errors import InputError


def test_digits_come_in_three_disjoint_parts(digits):
    assert [len(part) for part in (digits.train, digits.validation, digits.test)] == [1257, 180, 360]
    images = np.concatenate([part.images for part in (digits.train, digits.validation, digits.test)])
    assert images.shape == (1797, 8, 8)
    assert images.max() == digits.train.full_scale == 16
    from sklearn.datasets import load_digits

    # The same images, whatever their order.
    def content(x):
        return sorted(image.astype(np.uint8).tobytes() for image in x)

    assert content(images) == content(load_digits().images)
    assert all(len(np.unique(part.labels)) == 10 for part in (digits.train, digits.validation, digits.test))


def test_digits_are_the_same_wherever_scikit_learn_keeps_its_file(digits, monkeypatch):
    monkeypatch.setattr(digits_module, "_FILE", "moved.csv.gz")
    for part, expected in zip(vars(load("digits")).values(), vars(digits).values(), strict=True):
        if part is not None and hasattr(part, "images"):
            assert np.array_equal(part.images, expected.images)
            assert np.array_equal(part.labels, expected.labels)


def test_mnist_is_mnist(mnist):
    assert [part.images.shape for part in (mnist.train, mnist.validation, mnist.test)] == [(55000, 28, 28), (5000, 28, 28), (10000, 28, 28)]
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_an_unknown_name():
    with pytest.raises(InputError, match="choose one of digits, mnist"):
        load("cifar")


def serve_from(monkeypatch, mirrors):
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, mirrors=mirrors))


@pytest.fixture
def small(monkeypatch):
    """A small set in MNIST's format takes MNIST's place: names and layout are the real ones, sizes and sums its own."""
    generator = np.random.default_rng(0)
    contents, files = {}, {}
    for key, file in mnist.MNIST.files.items():
        shape = (40 if key.startswith("train") else 10, *(() if key.endswith("labels") else (2, 2)))
        array = generator.integers(0, 10, shape, dtype=np.uint8)
        content = struct.pack(">HBB", 0, 8, len(shape)) + struct.pack(f">{len(shape)}i", *shape) + array.tobytes()
        contents[file.name] = content
        files[key] = IdxFile(file.name, hashlib.md5(content).hexdigest(), shape)
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, files=files, num_validation=8))
    return contents


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty cache folder, no data folder in the environment, no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(download.DATA_DIR_VARIABLE, raising=False)
    serve_from(monkeypatch, ("http://127.0.0.1:9/",))
    return tmp_path


def put(folder: Path, contents, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("place", ["MNIST/raw", "mnist", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_files_are_found_in_every_layout(small, home, place, packed):
    put(home / "d" / place, small, packed)
    found = load("mnist", home / "d")
    assert [len(part) for part in (found.train, found.validation, found.test)] == [32, 8, 10]
    assert found.train.images.tobytes() == small["train-images-idx3-ubyte"][16 : 16 + 32 * 4]


def test_the_order_of_the_search(small, home, monkeypatch):
    put(home / "cache" / "polystep-snn" / "mnist", small)
    assert len(load("mnist").test) == 10
    monkeypatch.setenv(download.DATA_DIR_VARIABLE, str(home / "variable"))
    put(home / "variable", {name: content[:-1] for name, content in small.items()})  # damaged: it is seen that it is read
    with pytest.raises(InputError, match="variable"):
        load("mnist")
    put(home / "given", small)
    assert len(load("mnist", str(home / "given")).test) == 10
    (home / "empty").mkdir()
    with pytest.raises(InputError, match="variable"):  # an empty folder is passed over
        load("mnist", home / "empty")
    monkeypatch.setenv(download.DATA_DIR_VARIABLE, str(home / "nowhere"))
    with pytest.raises(InputError, match="nowhere does not exist"):
        load("mnist")


def test_what_to_put_where(small, home):
    with pytest.raises(InputError) as error:
        load("mnist")
    message = str(error.value)
    assert "t10k-labels-idx1-ubyte.gz into" in message
    assert str(home / "cache" / "polystep-snn" / "mnist") in message
    assert "\n" not in message
    with pytest.raises(InputError, match="does not exist"):
        load("mnist", home / "nowhere")
    (home / "empty").mkdir()
    with pytest.raises(InputError, match="was not found"):
        load("mnist", home / "empty")
    put(home / "half", {"train-images-idx3-ubyte": small["train-images-idx3-ubyte"]})
    with pytest.raises(InputError, match=r"but not train-labels-idx1-ubyte\.gz"):
        load("mnist", home / "half")


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: b"", "is truncated after 0 bytes"),
        (lambda raw: gzip.compress(raw)[:-20], "is truncated"),
        (lambda raw: flip(gzip.compress(raw), 60), "is damaged|is no idx|is truncated"),
        (lambda raw: gzip.compress(flip(raw, 30)), "is damaged .MD5"),
        (lambda raw: gzip.compress(flip(raw, 2)), "is no idx file of 40 x 2 x 2"),
        (lambda raw: gzip.compress(raw[:-3]), "has 173 bytes instead of 176"),
        (lambda raw: gzip.compress(raw + b"x" * 10**6), "unpacks to more than 176"),
        (lambda raw: gzip.compress(b""), "is empty"),
        (lambda raw: b"<html>not found</html>", "is damaged"),
    ],
    ids=["empty", "truncated", "bit in gzip", "bit in data", "bit in header", "short", "bomb", "nothing inside", "web page"],
)
def test_damaged_files(small, home, spoil, message):
    put(home / "d", small)
    (home / "d" / "train-images-idx3-ubyte.gz").write_bytes(spoil(small["train-images-idx3-ubyte"]))
    with pytest.raises(InputError, match=message) as error:
        load("mnist", home / "d")
    assert "train-images-idx3-ubyte.gz" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def server(tmp_path):
    """A web server for a folder on this machine."""
    root = tmp_path / "www"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

        def log_message(self, *args): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield root, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_the_first_intact_mirror_serves(small, home, server, monkeypatch):
    root, url = server
    put(root / "good", small)
    put(root / "damaged", {name: flip(content, 20 if len(content) > 20 else 5) for name, content in small.items()})
    put(root / "cut", small)
    for file in (root / "cut").iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    serve_from(monkeypatch, ("http://127.0.0.1:9/", f"{url}/missing/", f"{url}/damaged/", f"{url}/cut/", f"{url}/good/"))
    expected = load("mnist", root / "good")
    found = load("mnist")
    cache = home / "cache" / "polystep-snn" / "mnist"
    assert np.array_equal(found.train.images, expected.train.images)
    assert sorted(p.name for p in cache.iterdir()) == sorted(f"{name}.gz" for name in small), "no temporary files are left"
    serve_from(monkeypatch, ())
    assert np.array_equal(load("mnist").test.images, expected.test.images), "the second time nothing is fetched"


def test_a_mirror_that_speaks_nonsense_is_passed_over(small, home, server, monkeypatch):
    root, url = server
    put(root / "good", small)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def nonsense():
            for _ in small:
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.sendall(b"what?\r\n\r\n")
                connection.close()

        threading.Thread(target=nonsense, daemon=True).start()
        serve_from(monkeypatch, (f"http://127.0.0.1:{listener.getsockname()[1]}/", f"{url}/good/"))
        assert len(load("mnist").test) == 10


def test_a_cache_that_cannot_be_written(small, home, server, monkeypatch):
    root, url = server
    put(root / "good", small)
    (home / "cache").write_text("a file where the folder should be")
    serve_from(monkeypatch, (f"{url}/good/",))
    with pytest.raises(InputError, match=r"through \$XDG_CACHE_HOME"):
        load("mnist")


def test_an_interrupted_download_goes_on(small, home, server, monkeypatch):
    root, url = server
    put(root / "good", small)
    first = dict(list(small.items())[:2])
    put(home / "cache" / "polystep-snn" / "mnist", first)
    serve_from(monkeypatch, (f"{url}/good/",))
    assert len(load("mnist").test) == 10


def test_no_mirror_is_intact(small, home, server, monkeypatch):
    root, url = server
    put(root / "damaged", {name: content[:-1] for name, content in small.items()})
    serve_from(monkeypatch, (f"{url}/damaged/", f"{url}/missing/"))
    with pytest.raises(InputError, match=r"could not be downloaded: put .* into .*MD5.*File not found"):
        load("mnist")
    cache = home / "cache"
    assert not cache.exists() or not [p for p in cache.rglob("*") if p.is_file()]


def samples(images=(3, 2, 2), labels=(0, 1, 2), dtype=np.uint8):
    return Samples(np.zeros(images, dtype), np.array(labels))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: samples(dtype=np.float64), "images are float64"),
        (lambda: samples(images=(3, 4)), r"images are uint8 \[3, 4\]"),
        (lambda: samples(labels=(0, 1)), r"labels are int64 \[2\] for 3 images"),
        (lambda: samples(labels=(0.0, 1.0, 2.0)), "one integer an image"),
        (lambda: Dataset("d", samples(), samples(labels=(0, 1, 3)), samples(), 3, tuple("abc")), r"validation part of d has labels 0\.\.3"),
        (lambda: Dataset("d", samples(labels=(0, -1, 1)), samples(), samples(), 3, tuple("abc")), "training part"),
        (lambda: Dataset("d", samples(), samples(), Samples(np.zeros((0, 2, 2), np.uint8), np.zeros(0, int)), 3, tuple("abc")), "empty"),
        (lambda: Dataset("d", samples(), samples(), samples((3, 2, 3)), 3, tuple("abc")), "the test images"),
        (lambda: Dataset("d", samples(), samples(), samples(), 3, ()), "0 names for 3 classes"),
        (lambda: Samples([1, 2], [3, 4]), "images and labels are list and list"),
        (lambda: Samples(np.full((1, 2, 2), 9, np.uint8), np.zeros(1, int), full_scale=8), "the brightest image value 9"),
    ],
)
def test_data_that_does_not_fit_together(make, message):
    with pytest.raises(InputError, match=message):
        make()
