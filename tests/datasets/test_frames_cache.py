"""The cache of frames: made once, read whole or made anew, safe with several processes and with an interrupted one."""

import subprocess
import sys

import numpy as np
import pytest

from polystep_snn.datasets import frames_cache
from polystep_snn.datasets.frames_cache import cached
from polystep_snn.errors import InputError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "polystep-snn" / "frames"


class Maker:
    """Counts how often it had to work."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(5, dtype=np.uint16), "empty": np.zeros(0, np.int64)}


def same(arrays):
    return arrays["a"].tolist() == [0, 1, 2, 3, 4] and arrays["a"].dtype == np.uint16 and arrays["empty"].shape == (0,)


def test_what_was_made_once_is_read(cache):
    make = Maker()
    assert same(cached("x", {"steps": 3}, make))
    assert same(cached("x", {"steps": 3}, make))
    assert make.calls == 1
    assert len(list(cache.iterdir())) == 1


def test_other_settings_and_another_version_are_made_anew(cache, monkeypatch):
    make = Maker()
    cached("x", {"steps": 3}, make)
    cached("x", {"steps": 4}, make)
    assert make.calls == 2
    monkeypatch.setattr("polystep_snn.__version__", "99.0")
    cached("x", {"steps": 3}, make)
    assert make.calls == 3
    monkeypatch.setattr(frames_cache, "SCHEMA", 99)
    cached("x", {"steps": 3}, make)
    assert make.calls == 4


def _halve(content):
    return content[: len(content) // 2]


def _flip_last_bit(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [lambda content: b"", _halve, _flip_last_bit, lambda content: b"no such format" * 10])
def test_a_damaged_file_is_made_anew_and_said(cache, caplog, damage):
    make = Maker()
    cached("x", {}, make)
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert same(cached("x", {}, make))
    assert make.calls == 2
    assert f"{path} is damaged" in caplog.text
    caplog.clear()
    assert same(cached("x", {}, make))
    assert make.calls == 2
    assert not caplog.records


def test_a_file_under_the_name_of_another_is_not_taken(cache, caplog):
    make = Maker()
    cached("x", {"steps": 3}, make)
    (first,) = cache.iterdir()
    cached("x", {"steps": 4}, make)
    (second,) = set(cache.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    cached("x", {"steps": 4}, make)
    assert make.calls == 3
    assert "another key" in caplog.text


def test_an_interrupted_run_leaves_nothing_that_is_read(cache):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("x", {}, interrupted)
    assert list(cache.iterdir()) == []
    make = Maker()
    assert same(cached("x", {}, make))
    # What a process that was killed while writing leaves is no file of the cache.
    (path,) = cache.iterdir()
    path.rename(path.with_name(f".{path.name}.killed"))
    assert same(cached("x", {}, make))
    assert make.calls == 2


def test_several_processes_at_once(cache):
    code = (
        "import numpy as np; from polystep_snn.datasets.frames_cache import cached\n"
        "for k in range(20):\n"
        "    a = cached('x', {'k': k}, lambda: {'a': np.full(50_000, k)})['a']\n"
        "    assert a.shape == (50_000,) and (a == k).all()\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert (worker.returncode, errors) == (0, "")
    assert len(list(cache.iterdir())) == 20
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    make = Maker()
    with pytest.raises(InputError, match=r"cannot be created .*through \$XDG_CACHE_HOME"):
        cached("x", {}, make)
    assert make.calls == 0


def test_what_goes_wrong_while_making_is_not_blamed_on_the_cache(cache):
    def broken():
        raise InputError("a recording is broken")

    with pytest.raises(InputError, match=r"^a recording is broken$"):
        cached("x", {}, broken)
