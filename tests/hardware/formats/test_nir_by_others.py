"""What others compute from the NIR files that are written here."""

from dataclasses import replace
from itertools import pairwise

import nir
import numpy as np
import pytest

from polystep_snn.hardware.formats import nir as nir_format
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.formats.written import make, spikes_for


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
