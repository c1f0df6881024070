"""NIR and lava-dl files that mean harm are refused at once, and say of what."""

import re
import struct
import time

import h5py
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats import hdf5
from polystep_snn.hardware.formats import nir as nir_format
from tests.hardware.formats.written import FORMATS, make


def hard_loop(file, root):
    file[f"{root}/back"] = file[root]


def soft_link(file, root):
    file[f"{root}/soft"] = h5py.SoftLink(f"/{root}")


def external_link(file, root):
    file[f"{root}/passwords"] = h5py.ExternalLink("/etc/passwd", "/")


def external_data(file, root):
    file.create_dataset(f"{root}/outside", (10,), "i1", external=[("/etc/passwd", 0, 10)])


def virtual_data(file, root):
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "data", (10,))
    file.create_virtual_dataset(f"{root}/virtual", layout)


def terabytes(file, root):
    file.create_dataset(f"{root}/huge", (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")


def overflowing(file, root):
    file.create_dataset(f"{root}/huge", (2**32, 2**29), "f8", chunks=(1024, 1024))


def many_small(file, root):
    for k in range(40):
        file.create_dataset(f"{root}/part_{k}", (2**25,), "i1", chunks=(2**20,), compression="gzip")


def huge_chunk(file, root):
    file.create_dataset(f"{root}/chunk", (4,), "f8", chunks=(2**28,), maxshape=(None,))


def many_strings(file, root):
    file.create_dataset(f"{root}/texts", (2**20,), h5py.string_dtype(), chunks=True)


def deep(file, root):
    file["/".join([root] + ["deeper"] * 20)] = 1


def crowded(file, root):
    for k in range(hdf5.MAX_OBJECTS + 1):
        file.create_group(f"{root}/more_{k}")


def python_objects(file, root):
    """A pickle as bytes of any kind, which nothing here may load."""
    file[f"{root}/pickle"] = np.void(b"cos\nsystem\n(S'touch /tmp/harm'\ntR.")


def references(file, root):
    file[f"{root}/reference"] = file[root].ref


def ragged(file, root):
    file.create_dataset(f"{root}/ragged", (3,), h5py.vlen_dtype(np.int32))


def compound(file, root):
    file[f"{root}/pairs"] = np.zeros(3, [("a", "i4"), ("b", "f8")])


def complex_numbers(file, root):
    file[f"{root}/complex"] = np.zeros(3, complex)


def named_type(file, root):
    file[f"{root}/type_alone"] = np.dtype("f8")


def nothing(file, root):
    file[f"{root}/null"] = h5py.Empty("f4")


def not_text(file, root):
    file[f"{root}/text"] = np.bytes_(b"\xff\xfe")


HOSTILE = [
    hard_loop, soft_link, external_link, external_data, virtual_data, terabytes, overflowing, many_small, huge_chunk, many_strings,
    deep, crowded, python_objects, references, ragged, compound, complex_numbers, named_type, nothing, not_text,
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "root"), [("nir", "node"), ("net", "layer")])
@pytest.mark.parametrize("harm", HOSTILE, ids=lambda f: f.__name__)
def test_a_hostile_file_is_refused_at_once(tmp_path, harm, suffix, root):
    path = tmp_path / f"n.{suffix}"
    FORMATS[suffix].write(path, make())
    with h5py.File(path, "r+") as file:
        harm(file, root)
    assert path.stat().st_size < 2**25
    start = time.monotonic()
    with pytest.raises(InputError, match=str(path)) as caught:
        FORMATS[suffix].read(path)
    assert time.monotonic() - start < 15
    # What is wrong is said: it is not taken for one of another program, or for one that was changed since.
    assert re.match(r"(has|says that) .* at |has groups more|has more than|is damaged", str(caught.value).removeprefix(f"{path} "))


def test_a_text_that_many_places_share_is_not_multiplied(tmp_path):
    """A megabyte in the file, nine gigabytes when read."""
    path, count, size = tmp_path / "n.nir", 9_000, 2**20
    with h5py.File(path, "w") as file:
        file.create_dataset("texts", (count,), h5py.string_dtype())[0] = "x" * size
    data = bytearray(path.read_bytes())
    # Each text is its length, the heap where it lies, and its number there: all get those of the first.
    pointer = struct.pack("<IQI", size, data.index(b"GCOL"), 1)
    at = data.index(pointer)
    data[at : at + 16 * count] = pointer * count
    path.write_bytes(data)
    with h5py.File(path) as file:
        assert len(file["texts"][count - 1]) == size
    start = time.monotonic()
    with pytest.raises(InputError, match="has text up to 'texts' that is longer than"):
        nir_format.read(path)
    assert time.monotonic() - start < 10
