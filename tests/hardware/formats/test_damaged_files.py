"""NIR and lava-dl files that are damaged, or none."""

import stat
import subprocess
import sys

import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats import hdf5, netx
from polystep_snn.hardware.formats import nir as nir_format
from tests.hardware.formats.file_mutations import quick_children, try_some
from tests.hardware.formats.written import FORMATS, assert_same, make, mutated


@pytest.mark.parametrize("suffix", FORMATS)
def test_not_a_file_of_this_kind(tmp_path, suffix):
    read = FORMATS[suffix].read
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path / "absent")
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path)
    with pytest.raises(InputError, match="is not a file"):
        read("/dev/zero")
    for content in (b"", b"PK\x03\x04", b"\x80\x04cos\nsystem\n", hdf5.SIGNATURE, hdf5.SIGNATURE + bytes(500)):
        (tmp_path / "n").write_bytes(content)
        with pytest.raises(InputError, match=r"not an HDF5 file|is damaged"):
            read(tmp_path / "n")
    with (tmp_path / "n").open("wb") as file:
        file.write(hdf5.SIGNATURE)
        file.truncate(hdf5.MAX_BYTES + 1)
    with pytest.raises(InputError, match="at most 1073741824 are read"):
        read(tmp_path / "n")


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_files_are_refused_or_harmless(tmp_path, suffix):
    network, path = make(sizes=(20, 8, 3)), tmp_path / f"n.{suffix}"
    FORMATS[suffix].write(path, network)
    data = path.read_bytes()
    refused = 0
    with quick_children(tmp_path):
        for seed in range(170):
            path.write_bytes(mutated(data, seed))
            try:
                found = FORMATS[suffix].read(path)
            except InputError:
                refused += 1
            else:
                assert_same(found, network)
    assert refused >= 20


def test_mutations(tmp_path):
    found = try_some(tmp_path, 200, seed=1)
    assert sum(found.values()) == 200
    assert found["refused"] > 60
    assert found["read and made a network"] > 8


def test_a_read_that_does_not_end_is_ended(tmp_path):
    nir_format.write(tmp_path / "n.nir", make())
    with pytest.raises(InputError, match=r"n.nir is damaged \(HDF5 was not through with it after 0.001 s\)"):
        hdf5.read_tree(tmp_path / "n.nir", deadline_s=0.001)


def test_a_crash_of_hdf5_is_an_input_error(tmp_path, monkeypatch):
    nir_format.write(tmp_path / "n.nir", make())
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=r"is damaged \(HDF5 ended with code -11"):
        nir_format.read(tmp_path / "n.nir")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    nir_format.write(tmp_path / "n.nir", make())
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(InputError, match=r"pip install (nir|h5py)"):
        nir_format.write(tmp_path / "n.nir", make())
    monkeypatch.setitem(sys.modules, "h5py", None)
    for attempt in (lambda: nir_format.read(tmp_path / "n.nir"), lambda: netx.write(tmp_path / "n.net", make())):
        with pytest.raises(InputError, match=r"pip install (nir|h5py)"):
            attempt()


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_has_a_length(tmp_path, dt):
    with pytest.raises(InputError, match="dt is"):
        nir_format.write(tmp_path / "n.nir", make(), dt=dt)


def test_an_import_loads_neither_torch_nor_the_libraries():
    code = "import sys, polystep_snn.hardware.formats.nir, polystep_snn.hardware.formats.netx; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout.split()
    assert not {"torch", "h5py", "nir"} & set(loaded)


def test_reading_works_in_any_folder(tmp_path, monkeypatch):
    """The child imports nothing from the working folder."""
    nir_format.write(tmp_path / "n.nir", make())
    for name in ("h5py", "json", "numpy", "safetensors"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.chdir(tmp_path)
    assert_same(nir_format.read("n.nir"), make())
