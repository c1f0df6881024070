"""Frames of N-MNIST from the cache, and its download."""

import hashlib
import io
import os
import zipfile

import numpy as np
import pytest
import tonic.datasets

from polystep_snn.datasets import Framing, nmnist
from polystep_snn.datasets.nmnist import download_nmnist, load_nmnist
from polystep_snn.errors import InputError
from tests.datasets.nmnist_files import base, complete, encode, tiny_full, write_folder  # noqa: F401 (fixtures)
from tests.publisher import serving


def frames_of(data):
    return data.samples.frames(np.arange(len(data.samples)))


def test_frames_are_made_once_and_are_the_same_from_the_cache(base, cache, monkeypatch):
    first = frames_of(load_nmnist(base))

    def refuse(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(nmnist, "read_recording", refuse)
    np.testing.assert_array_equal(frames_of(load_nmnist(base)), first)
    with pytest.raises(AssertionError, match="is read again"):
        load_nmnist(base, Framing(num_steps=29))


@pytest.mark.parametrize(
    "framing",
    [Framing(num_steps=10), Framing(bin_by="count"), Framing(denoise_us=5000), Framing(stabilize=True), Framing(window_us=105_000)],
)
def test_no_framing_takes_the_cache_of_another(base, cache, framing, monkeypatch, tmp_path):
    load_nmnist(base)
    after_another = frames_of(load_nmnist(base, framing))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))
    np.testing.assert_array_equal(after_another, frames_of(load_nmnist(base, framing)))
    assert len(list((cache / "frames").iterdir())) == 2


def test_recordings_that_changed_are_read_again(base, cache):
    before = frames_of(load_nmnist(base))
    path = base / "NMNIST" / "Train" / "0" / "00000.bin"
    content = encode([(33, 33, 0, 1)]) * (path.stat().st_size // 5)
    path.write_bytes(content)
    os.utime(path, ns=(0, 12345))
    after = frames_of(load_nmnist(base))
    assert after[:, 0].sum() == 1
    np.testing.assert_array_equal(before[:, 1:], after[:, 1:])


@pytest.fixture
def publisher(monkeypatch, tiny_full, tmp_path):
    """A server on this machine takes the publisher's place, with archives of the tiny full set; returns what it serves, changeable."""
    source = write_folder(tmp_path / "source")
    complete(source)
    contents: dict[str, bytes] = {}

    def serve(part):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted((source / part).rglob("*.bin")):
                archive.write(path, path.relative_to(source))
        name = part.lower()
        contents[f"/{name}"] = packed.getvalue()
        monkeypatch.setattr(tonic.datasets.NMNIST, f"{name}_url", f"{address}/{name}")
        monkeypatch.setattr(tonic.datasets.NMNIST, f"{name}_md5", hashlib.md5(packed.getvalue()).hexdigest())

    with serving(contents) as address:
        serve("Train")
        serve("Test")
        yield source, serve, contents


def test_the_full_set_is_downloaded_once(publisher, cache, capsys):
    _, _, contents = publisher
    data = load_nmnist()
    assert (len(data.samples), data.subset) == (65, False)
    assert sorted(path.name for path in (cache / "NMNIST").iterdir()) == ["Test", "Train"]
    assert capsys.readouterr().out == ""
    contents.clear()
    assert len(load_nmnist().samples) == 65


@pytest.mark.parametrize("what", ["missing", "damaged", "incomplete", "half"])
def test_a_download_that_fails_leaves_nothing(publisher, cache, what):
    source, serve, contents = publisher
    if what == "missing":
        del contents["/test"]
    elif what == "damaged":
        contents["/test"] = contents["/test"][:-1]
    elif what == "incomplete":
        for path in (source / "Test").rglob("00001.bin"):
            path.unlink()
        serve("Test")
    else:
        (source / "Test" / "9" / "00001.bin").unlink()
        serve("Test")
    with pytest.raises(InputError, match=r"^N-MNIST was not found and could not be downloaded \(.+\): fetch .*garrickorchard") as caught:
        load_nmnist()
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_another_process_that_was_faster_is_no_error(publisher, cache):
    download_nmnist(cache / "NMNIST")
    download_nmnist(cache / "NMNIST")
    assert not [path for path in cache.iterdir() if path.name != "NMNIST"]
