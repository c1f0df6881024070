"""NIR and lava-dl files: what is written is read back, others compute the same spikes from it, and no file does harm."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written import FORMATS, KINDS, assert_same, change, make, spikes_for


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(tmp_path, suffix, kind):
    network, path = make(**KINDS[kind]), tmp_path / f"network.{suffix}"
    FORMATS[suffix].write(path, network)
    found = FORMATS[suffix].read(path)
    assert_same(found, network)
    x = spikes_for(network)
    assert np.array_equal(Simulator(found).run(x), Simulator(network).run(x))
    # The same network again is the same file, and only that one stands in the folder.
    assert os.listdir(tmp_path) == [path.name]


def test_nir_carries_what_lava_dl_cannot(tmp_path):
    network = make(spread=100, bias=7, dv=99)
    odd = replace(network.layers[0], bias_exp=1, weight=np.zeros_like(network.layers[0].weight))
    network = replace(network, layers=(odd, *network.layers[1:]))
    nir_format.write(tmp_path / "n.nir", network)
    assert_same(nir_format.read(tmp_path / "n.nir"), network)


def test_a_large_layer_of_zeros_is_read(tmp_path):
    """gzip at its best: what declares a thousand times its size is still honest."""
    layer = IntegerLayer(np.zeros((2000, 1000), np.int8), np.zeros(2000, np.int32), np.zeros(2000, np.int16))
    network = IntegerNetwork((layer,), "count", 1, "events", (1000,), tuple(f"class {c}" for c in range(2000)))
    nir_format.write(tmp_path / "n.nir", network)
    assert (tmp_path / "n.nir").stat().st_size < 2**18
    assert_same(nir_format.read(tmp_path / "n.nir"), network)


@pytest.mark.parametrize(
    ("suffix", "place", "value"),
    [
        ("nir", "node/nodes/dense_0/weight", np.zeros((15, 20), np.float32)),
        ("nir", "node/nodes/dense_0/metadata/weight", np.zeros((15, 20), np.int8)),
        ("nir", "node/nodes/neurons_2/v_threshold", np.full(5, np.nan, np.float32)),
        ("nir", "node/nodes/neurons_2", None),
        ("nir", "node/edges", np.array([[b"input", b"output"]])),
        ("nir", "node/metadata/dt", 1e-3),
        ("nir", "node/metadata/dt", np.nan),
        ("nir", "node/metadata/dt", np.ones(3)),
        ("nir", "node/metadata/dt", np.ones((3, 2))),
        ("nir", "node/metadata/dt", np.ones((9000, 2))),
        ("nir", "node/metadata/polystep_snn", np.zeros(50, np.uint8)),
        ("nir", "node/metadata/polystep_snn", np.zeros(50)),
        ("nir", "node/metadata/polystep_snn", "{}"),
        ("nir", "node/metadata", None),
        ("nir", "node", None),
        ("nir", "node/type", "LIF"),
        ("nir", "node/type", "LIF" * 10_000),
        ("nir", "node/type", np.ones(3)),
        ("net", "layer/1/weight", np.zeros((12, 15), np.float32)),
        ("net", "layer/1/neuron/vThMant", 3),
        ("net", "layer/2", None),
        ("net", "layer", None),
        ("net", "polystep_snn", np.zeros(0, np.uint8)),
        ("net", "polystep_snn", None),
    ],
)
def test_a_changed_file_is_not_read_as_the_old_network(tmp_path, suffix, place, value):
    path = tmp_path / f"n.{suffix}"
    FORMATS[suffix].write(path, make())
    change(path, place, value)
    with pytest.raises(InputError, match=str(path)) as caught:
        FORMATS[suffix].read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200


def test_names_of_any_length_are_told_in_a_line():
    name = "x" * 30_000
    ends = {"input": {"type": "Input"}, "output": {"type": "Output"}}
    for nodes, edges in (
        ({name: {}}, []),
        (ends, [["input", name]]),
        (ends | {name: {"type": "LIF"}}, [["input", name], [name, "output"], [name, "input"]]),
        (ends | {name: {"type": "LIF"}}, [["input", "output"]]),
    ):
        with pytest.raises(InputError, match=r"'xxxx.*\.\.\..*xxxx'") as caught:
            nir_format.chain({"nodes": nodes, "edges": edges})
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_is_an_input_error(tmp_path, suffix):
    """What stood there stays; HDF5 itself would end the process."""
    network_file.save(tmp_path / "n.safetensors", make(sizes=(8, 3)))
    (tmp_path / "n").write_text("as it was")
    code = """
import resource, sys
from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.formats import netx, nir
network = network_file.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    {"nir": nir, "net": netx}[sys.argv[2]].write(sys.argv[3], network)
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, tmp_path / "n.safetensors", suffix, tmp_path / "n"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr
    assert child.stdout == f"{tmp_path / 'n'} could not be written (File too large): free some space or choose another folder\n"
    assert (tmp_path / "n").read_text() == "as it was"
    assert sorted(os.listdir(tmp_path)) == ["n", "n.safetensors"]
