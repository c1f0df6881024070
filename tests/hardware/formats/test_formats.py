"""NIR and lava-dl files: what is written is read back, others compute the same spikes from it, and no file does harm."""

import os
import stat
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise

import h5py
import nir
import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.formats import hdf5, netx
from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.simulator import Simulator

FORMATS = {"nir": nir_format, "net": netx}
NEVER = 2**17 - 1


def make(readout="count", sizes=(20, 15, 12, 5), du=4095, dv=0, bias=0, vth=200, scale=0.011, seed=0, spread=0):
    """Random signed weights; biases are multiples of 64, so that both formats carry them."""
    rng = np.random.default_rng(seed)
    layers = []
    for k, (m, n) in enumerate(pairwise(sizes)):
        never = readout == "membrane" and k == len(sizes) - 2
        layers.append(
            IntegerLayer(
                weight=rng.integers(-128, 128, (n, m)).astype(np.int8),
                vth=np.full(n, NEVER, np.int32) if never else (vth + rng.integers(0, spread + 1, n)).astype(np.int32),
                bias_mant=rng.integers(-bias, bias + 1, n).astype(np.int16),
                bias_exp=6,
                du=du,
                dv=dv,
                scale=scale,
            )
        )
    names = tuple(f"class {c}" for c in range(sizes[-1]))
    return IntegerNetwork(tuple(layers), readout, 12, "rate", (sizes[0] // 2, 2), names, {"seed": seed, "accuracy": 97.25, "by": "me"})


def spikes_for(network, samples=32, seed=1):
    rng = np.random.default_rng(seed)
    return (rng.random((network.num_steps, samples, network.sizes[0])) < 0.4).astype(np.uint8)


def assert_same(a, b):
    for one, other in zip(a.layers, b.layers, strict=True):
        for name in ("weight", "vth", "bias_mant"):
            x, y = getattr(one, name), getattr(other, name)
            assert x.dtype == y.dtype
            assert np.array_equal(x, y)
        assert (one.bias_exp, one.du, one.dv, one.scale) == (other.bias_exp, other.du, other.dv, other.scale)
    for field in fields(IntegerNetwork):
        if field.name != "layers":
            assert getattr(a, field.name) == getattr(b, field.name)


KINDS = {
    "no leak": {},
    "leak": {"dv": 205, "bias": 20},
    "current": {"du": 1000, "dv": 205, "bias": 20, "vth": 900},
    "current, no leak": {"du": 2047, "vth": 900},
    "membranes": {"readout": "membrane", "bias": 3},
    "leaky membranes": {"readout": "membrane", "dv": 100, "scale": 1.0},
    "membranes with a current": {"readout": "membrane", "du": 3000, "dv": 100, "scale": 1e-9},
    "one layer": {"sizes": (8, 3), "readout": "membrane"},
}


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


# NIR: others compute from the float graph ------------------------------------------------------------------------------------------


def norse_layers(graph, dt):
    """Norse modules for the nodes of a graph, from input to output, each as ``(linear, cell)``."""
    import norse.torch as norse
    import torch
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.leaky_integrator_box import LIBoxParameters
    from norse.torch.functional.lif_box import LIFBoxParameters

    def tensor(x):
        return torch.from_numpy(np.asarray(x))

    after, name, modules = dict(graph.edges), "input", []
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Affine | nir.Linear):
            linear = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(tensor(node.weight))
                linear.bias.copy_(tensor(getattr(node, "bias", np.zeros(len(node.weight), np.float32))))
        elif isinstance(node, nir.IF | nir.I):
            # Norse adds the input as it is; NIR scales it by dt * r.
            assert np.all(np.float32(dt) * node.r == 1)
            threshold = tensor(getattr(node, "v_threshold", np.full(node.r.shape, np.inf, np.float32)))
            modules.append((linear, norse.IAFCell(IAFParameters(v_th=threshold, method="heaviside"), dt=dt)))
        elif isinstance(node, nir.LIF):
            assert np.all(node.r == 1)
            p = LIFBoxParameters(1 / tensor(node.tau), tensor(node.v_leak), tensor(node.v_threshold), tensor(node.v_reset), "heaviside")
            modules.append((linear, norse.LIFBoxCell(p, dt=dt)))
        else:
            assert isinstance(node, nir.LI)
            modules.append((linear, norse.LIBoxCell(LIBoxParameters(1 / tensor(node.tau), tensor(node.v_leak)), dt=dt)))
    return modules


def run_in_norse(path, x, dt=1e-4):
    """Every layer's outputs ``[T, B, N]``, and the last membranes."""
    import torch

    modules = norse_layers(nir.read(path), dt)
    states = [None] * len(modules)
    trains = [[] for _ in modules]
    with torch.inference_mode():
        for frame in torch.from_numpy(x).float():
            for k, (linear, cell) in enumerate(modules):
                frame, states[k] = cell(linear(frame), states[k])
                trains[k].append(frame.numpy())
    return [np.stack(t) for t in trains], states[-1].v.numpy()


@pytest.mark.parametrize("scale", [1.0, 0.011])
@pytest.mark.parametrize("readout", ["count", "membrane"])
def test_norse_fires_the_same_spikes(tmp_path, readout, scale):
    """Without leak all is exact in float32: thresholds that are just reached, and biases, included."""
    network = make(readout, sizes=(60, 50, 40, 10), bias=30, scale=scale, spread=50)
    nir_format.write(tmp_path / "n.nir", network)
    x = spikes_for(network, samples=200)
    expected = Simulator(network).record(x)
    trains, membranes = run_in_norse(tmp_path / "n.nir", x)
    for k, layer in enumerate(expected.layers):
        if readout == "count" or k < 2:
            assert 0.05 < layer.z.mean() < 0.6
            assert np.array_equal(trains[k] > 0, layer.z), k
    if readout == "membrane":
        unit = 2.0 ** round(np.log2(scale))
        assert np.array_equal(membranes * 64 / unit, expected.values)


@pytest.mark.parametrize("dv", [2048, 205])
def test_with_a_leak_norse_differs_by_rounding_alone(tmp_path, dv):
    """What floats cannot say, in figures: the chip rounds every decay toward zero. A changed spike changes those behind it."""
    network = replace(make(sizes=(60, 50, 40, 10), dv=dv, vth=200), num_steps=20)
    nir_format.write(tmp_path / "n.nir", network)
    x = spikes_for(network, samples=500)
    trains, _ = run_in_norse(tmp_path / "n.nir", x)
    rates = [np.mean((t > 0) != layer.z) for t, layer in zip(trains, Simulator(network).record(x).layers, strict=True)]
    assert rates[0] < 5e-4, rates
    assert max(rates) < 1e-2, rates


@pytest.mark.parametrize(
    ("changes", "tolerance"), [({"bias": 20, "vth": 120}, 0.0), ({"dv": 205, "bias": 20}, 0.01), ({"du": 2047, "vth": 300}, 0.01)]
)
def test_norse_imports_a_file_by_itself(tmp_path, changes, tolerance):
    import norse.torch as norse
    import torch

    network = make(**changes)
    nir_format.write(tmp_path / "n.nir", network)
    model, state = norse.from_nir(nir.read(tmp_path / "n.nir"), dt=1e-4, ignore_warnings=True), None
    x, counts = spikes_for(network, samples=200), 0
    with torch.no_grad():
        for frame in torch.from_numpy(x).float():
            z, state = model(frame, state)
            counts = counts + z
    expected = Simulator(network).run(x)
    assert expected.max() > 1
    assert np.mean(counts.numpy() != expected) <= tolerance


def euler(graph, x, dt):
    """The last layer's spikes by NIR's own equations, in float64, node by node."""
    after, name, signal = dict(graph.edges), "input", x.astype(np.float64)
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        if isinstance(node, nir.Linear | nir.Affine):
            signal = signal @ node.weight.T.astype(np.float64) + getattr(node, "bias", 0)
            continue
        p = {k: np.asarray(v, np.float64) for k, v in vars(node).items() if isinstance(v, np.ndarray)}
        i, v, out = np.zeros(signal.shape[1:]), np.zeros(signal.shape[1:]), []
        for current in signal:
            i += dt / p["tau_syn"] * (p["w_in"] * current - i)
            v += dt / p["tau_mem"] * (p["v_leak"] - v + p["r"] * i)
            z = v > p["v_threshold"]
            v[z] = np.broadcast_to(p["v_reset"], v.shape)[z]
            out.append(z)
        signal = np.array(out, np.float64)
    return signal


def test_currents_and_their_biases_follow_nirs_equations(tmp_path):
    network = make(du=2047, dv=205, bias=400, vth=900)
    nir_format.write(tmp_path / "n.nir", network, dt=2e-3)
    x = spikes_for(network, samples=200)
    found, expected = euler(nir.read(tmp_path / "n.nir"), x, 2e-3), Simulator(network).record(x).layers[-1].z
    assert expected.mean() > 0.02
    assert np.mean(found != expected) < 1e-3


def test_the_graph_is_one_that_others_expect(tmp_path):
    network = make("membrane", dv=205, bias=5)
    nir_format.write(tmp_path / "n.nir", network)
    graph = nir.read(tmp_path / "n.nir")
    assert graph.edges == list(pairwise(["input", *(f"{n}_{k}" for k in range(3) for n in ("dense", "neurons")), "output"]))
    assert [type(graph.nodes[f"neurons_{k}"]).__name__ for k in range(3)] == ["LIF", "LIF", "LI"]
    node, layer = graph.nodes["dense_1"], network.layers[1]
    assert np.array_equal(node.metadata["weight"], layer.weight)
    assert node.metadata["scale"] == layer.scale
    # Weights in the unit of training, but for the factor that makes r = 1: scale 0.011 is next to 2^-7 = 0.0078.
    assert np.allclose(node.weight * 205 / 4096, layer.weight / 2.0**7)
    assert np.array_equal(graph.nodes["neurons_1"].metadata["bias_mant"], layer.bias_mant)


def change(path, place, value):
    """Put another value, or a first one, at a place of a file; None to delete what is there."""
    with h5py.File(path, "r+") as file:
        if value is None or place in file:
            del file[place]
        if value is not None:
            file[place] = value


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


# Files that are damaged, or none --------------------------------------------------------------------------------------------------


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


def mutated(data, seed):
    """One bit, many bytes, or a run of equal bytes changed; or the end cut off."""
    rng = np.random.default_rng(seed)
    data = bytearray(data)
    at = int(rng.integers(len(data)))
    if seed % 4 < 2:
        data[at] ^= 1 << int(rng.integers(8))
    elif seed % 4 == 2:
        for k in rng.integers(len(data), size=int(rng.integers(2, 30))):
            data[k] = int(rng.integers(256))
    elif seed % 8 == 3:
        data[at : at + 8] = bytes([int(rng.choice([0, 127, 128, 255]))]) * 8
    else:
        del data[at:]
    return bytes(data)


def fuzz(folder, suffix, seeds):
    """How many damaged files were refused; the others must be read as what was written."""
    network, path = make(sizes=(20, 8, 3)), folder / f"n.{suffix}"
    FORMATS[suffix].write(path, network)
    data = path.read_bytes()
    refused = 0
    for seed in seeds:
        path.write_bytes(mutated(data, seed))
        try:
            found = FORMATS[suffix].read(path)
        except InputError:
            refused += 1
        else:
            assert_same(found, network)
    return refused


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_files_are_refused_or_harmless(tmp_path, suffix):
    assert fuzz(tmp_path, suffix, range(20)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_many_damaged_files_are_refused_or_harmless(tmp_path, suffix):
    assert fuzz(tmp_path, suffix, range(20, 170)) >= 20


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
