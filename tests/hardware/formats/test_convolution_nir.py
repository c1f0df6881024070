"""Convolutions in NIR files: others compute the same spikes."""

from dataclasses import replace
from itertools import pairwise

import nir
import numpy as np
import pytest

from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.formats.nir import DT
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written_convolutions import KINDS, assert_whole, portable
from tests.hardware.test_convolution import random_geometry


def test_nir_carries_thresholds_and_with_a_current_biases_of_every_neuron(tmp_path):
    for network, _ in (portable(spread=50), portable(bias="neuron", du=1000, dv=100, spread=50)):
        nir_format.write(tmp_path / "n.nir", network)
        assert_whole(nir_format.read(tmp_path / "n.nir"), network)


def test_the_graph_is_one_that_others_expect(tmp_path):
    network, _ = portable()
    nir_format.write(tmp_path / "n.nir", network)
    graph = nir.read(tmp_path / "n.nir")
    names = ["input", "convolution_0", "neurons_0", "convolution_1", "neurons_1", "flatten_2", "dense_2", "neurons_2", "output"]
    assert graph.edges == list(pairwise(names))
    shapes = {name: node.output_type["output"].tolist() for name, node in graph.nodes.items() if name != "dense_2"}
    assert (shapes["input"], shapes["neurons_0"], shapes["convolution_1"]) == ([2, 9, 8], [4, 9, 3], [3, 4, 4])
    assert (shapes["flatten_2"], shapes["output"]) == ([48], [3])
    node = graph.nodes["convolution_0"]
    assert (list(node.stride), list(node.padding), list(node.dilation), node.groups) == ([1, 2], [1, 0], [1, 1], 1)
    assert np.array_equal(node.metadata["weight"], network.layers[0].weight)
    # A scale of 0.01 is next to 2^-7; biases in the same unit, a channel's first neuron for all.
    assert np.array_equal(node.weight * 2**7, network.layers[0].weight)
    assert np.array_equal(node.bias * 2**7, network.layers[0].bias_mant[::27])


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("no leak", ["IF", "IF", "IF"]),
        ("leak", ["LIF", "LIF", "LIF"]),
        ("current", ["CubaLIF", "CubaLIF", "CubaLIF"]),
        ("membranes", ["IF", "IF", "I"]),
        ("leaky membranes", ["LIF", "LIF", "LI"]),
        ("membranes with a current", ["CubaLIF", "CubaLIF", "CubaLI"]),
    ],
)
def test_neurons_behind_convolutions(tmp_path, kind, types):
    nir_format.write(tmp_path / "n.nir", portable(**KINDS[kind])[0])
    nodes = nir.read(tmp_path / "n.nir").nodes
    assert [type(nodes[f"neurons_{k}"]).__name__ for k in range(3)] == types


def run_in_norse(path, spikes, shape):
    """What its own import of the file puts out, ``[T, B, N]``; sample by sample, as NIR counts dimensions without a batch."""
    import norse.torch as norse
    import torch

    model, samples = norse.from_nir(nir.read(path), dt=1e-4, ignore_warnings=True), []
    with torch.no_grad():
        for sample in torch.from_numpy(spikes).float().unbind(1):
            state, steps = None, []
            for frame in sample:
                out, state = model(frame.reshape(shape), state)
                steps.append(out.reshape(-1).numpy())
            samples.append(np.stack(steps))
    return np.stack(samples, 1)


def square_geometries(rng, shape):
    """Two that NIR carries."""
    geometries = []
    while len(geometries) < 2:
        geometry = random_geometry(rng, shape)
        if geometry.kernel[0] == geometry.kernel[1]:
            geometries.append(geometry)
            shape = geometry.output_shape
    return geometries


@pytest.mark.parametrize("seed", range(6))
def test_norse_fires_the_same_spikes(tmp_path, seed):
    """Every layer in turn is the last one."""
    rng = np.random.default_rng(seed)
    network, spikes = portable(square_geometries(rng, (2, 7, 6)), seed)
    expected, fired = Simulator(network).record(spikes), 0
    for last in (1, 2, 3):
        part = replace(network, layers=network.layers[:last], classes=tuple(map(str, range(network.sizes[last]))))
        nir_format.write(tmp_path / "n.nir", part)
        found = run_in_norse(tmp_path / "n.nir", spikes, (2, 7, 6))
        assert np.array_equal(found > 0, expected.layers[last - 1].z), last
        fired += int(found.sum())
    assert fired > 10


def test_with_a_leak_norse_differs_by_rounding_alone(tmp_path):
    """The chip rounds every decay toward zero; a changed spike changes those behind it."""
    network, _ = portable(square_geometries(np.random.default_rng(7), (2, 7, 6)), 7, dv=205)
    spikes = (np.random.default_rng(0).random((8, 40, network.sizes[0])) < 0.4).astype(np.uint8)
    expected = Simulator(network).record(spikes).layers
    for last in (1, 2, 3):
        part = replace(network, layers=network.layers[:last], classes=tuple(map(str, range(network.sizes[last]))))
        nir_format.write(tmp_path / "n.nir", part)
        z = expected[last - 1].z
        assert z.mean() > 0.04
        assert np.mean((run_in_norse(tmp_path / "n.nir", spikes, (2, 7, 6)) > 0) != z) < 0.01


def by_equations(path, spikes, shape):
    """The last node's membranes ``[T, B, N]`` by NIR's equations in float64, node by node. Norse leaves integrators out."""
    import torch

    graph = nir.read(path)
    after, name, signal = dict(graph.edges), "input", torch.from_numpy(spikes.astype(float)).flatten(0, 1).reshape(-1, *shape)
    while (name := after[name]) != "output":
        node = graph.nodes[name]
        p = {k: torch.from_numpy(np.asarray(v, float)) for k, v in vars(node).items() if isinstance(v, np.ndarray)}
        if isinstance(node, nir.Conv2d):
            stride, padding = (list(map(int, pair)) for pair in (node.stride, node.padding))
            signal = torch.nn.functional.conv2d(signal, p["weight"], p["bias"], stride, padding)
        elif isinstance(node, nir.Flatten):
            signal = signal.flatten(1)
        elif isinstance(node, nir.Linear | nir.Affine):
            signal = signal @ p["weight"].T + p.get("bias", 0)
        else:
            currents, out = signal.reshape(*spikes.shape[:2], *signal.shape[1:]), []
            i = v = torch.zeros_like(currents[0])
            for current in currents:
                i = i + DT / p["tau_syn"] * (p["w_in"] * current - i) if "tau_syn" in p else current
                leak = p.get("v_leak", 0) - v if "v_leak" in p else 0
                v = v + DT / p.get("tau_mem", p.get("tau", 1.0)) * (leak + p["r"] * i)
                z = v > p.get("v_threshold", torch.inf)
                v = torch.where(z, p.get("v_reset", 0.0), v)
                out.append(z.double() if "v_threshold" in p else v)
            signal = torch.stack(out).flatten(0, 1)
    return signal.reshape(*spikes.shape[:2], -1).numpy()


@pytest.mark.parametrize(("constants", "tolerance"), [({}, 0), ({"dv": 205}, 5), ({"du": 1000, "dv": 205}, 15)])
def test_membranes_behind_convolutions_follow_nirs_equations(tmp_path, constants, tolerance):
    """Without a leak exactly, in every step; with one to within its rounding, in most samples."""
    network, _ = portable(square_geometries(np.random.default_rng(7), (2, 7, 6)), 7, readout="membrane", **constants)
    spikes = (np.random.default_rng(0).random((8, 60, network.sizes[0])) < 0.4).astype(np.uint8)
    nir_format.write(tmp_path / "n.nir", network)
    expected = Simulator(network).record(spikes).layers[-1].v
    error = np.abs(by_equations(tmp_path / "n.nir", spikes, (2, 7, 6)) * 64 - expected)
    assert np.abs(expected[-1]).mean() > 1000
    assert np.mean(error <= tolerance) >= (0.9 if constants else 1)
