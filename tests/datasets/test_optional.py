"""What comes with an extra: one line says which, where it is not installed."""

import sys

import pytest

from polystep_snn.datasets import Framing
from polystep_snn.datasets.nmnist import read_recording
from polystep_snn.datasets.optional import tonic
from polystep_snn.errors import InputError
from polystep_snn.hardware.lava.worker_process import PYTHON_VARIABLE, find_python

MESSAGE = r"tonic, which reads recordings, is not installed: pip install 'polystep-snn\[events\]'"


@pytest.fixture
def without_tonic(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tonic.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tonic", None)


def test_event_files_need_tonic(without_tonic, tmp_path):
    with pytest.raises(InputError, match=MESSAGE):
        read_recording(tmp_path / "0.bin")


def test_other_sets_do_not(without_tonic, digits):
    assert len(digits.test) == 360
    assert Framing(num_steps=3).num_steps == 3


def test_a_module_of_tonic():
    assert tonic("io").events_struct.names == ("x", "y", "t", "p")
    with pytest.raises(ModuleNotFoundError, match=r"tonic\.nothing_that_there_is"):
        tonic("nothing_that_there_is")


def test_lava_in_the_same_python(monkeypatch, tmp_path):
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr("polystep_snn.hardware.lava.worker_process._ENVIRONMENT", tmp_path / "none")
    (tmp_path / "lava").mkdir()
    (tmp_path / "lava" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert str(find_python()) == sys.executable
