"""What NIR files leave open: the step, the reset, potentials that are not 0. Against the equations in plain numpy."""

import nir
import numpy as np
import pytest
import torch

from polystep_snn import InputError, from_nir

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(0, 0.4, (6, 20))
SPIKES = (RNG.random((40, 5, 20)) < 0.3).astype(float)
ONES = np.ones(6)


def graph_of(*neurons, weight=WEIGHT, metadata=None):
    graph = nir.NIRGraph.from_list(nir.Linear(weight), *neurons)
    graph.metadata = metadata or {}
    return graph


def counts(graph, **options):
    return from_nir(graph, **options)(torch.from_numpy(SPIKES))[0].numpy()


def simulated(tau, r, v_th=ONES, dt=1e-4, leak=0.0, reset=0.0, subtract=False):
    v, total = np.zeros((5, 6)) + reset, np.zeros((5, 6))
    for frame in SPIKES:
        v = v + dt / tau * (leak - v + r * (frame @ WEIGHT.T))
        z = v > v_th
        v = v - z * (v_th - reset) if subtract else np.where(z, reset, v)
        total += z
    return total


def snntorch(beta):
    tau = 1e-4 / (1 - beta)
    return nir.LIF(tau=ONES * tau, r=ONES * tau / 1e-4, v_leak=ONES * 0, v_threshold=ONES, v_reset=ONES * 0)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_kind_of_reset(reset, caplog):
    expected = simulated(2e-3, 20.0, subtract=reset == "subtract")
    assert np.array_equal(counts(graph_of(snntorch(0.95)), dt=1e-4, reset=reset), expected)
    assert not caplog.records, "both were named"
    assert np.array_equal(counts(graph_of(snntorch(0.95), metadata={"dt": 1e-4, "reset": reset})), expected)
    assert not caplog.records, "the graph says both"


def test_what_is_not_said_is_said_aloud(caplog):
    assert np.array_equal(counts(graph_of(snntorch(0.95))), simulated(2e-3, 20.0))
    assert "its constants fit 0.0001 s; name another one with dt=" in caplog.text
    assert 'taking a reset to v_reset; many programs mean reset="subtract"' in caplog.text


@pytest.mark.parametrize("where", ["graph", "node"])
@pytest.mark.parametrize("name", ["dt", "time_step", "timestep"])
def test_the_step_that_metadata_says(name, where, caplog):
    neuron = nir.LIF(tau=ONES * 2e-3, r=ONES * 3, v_leak=ONES * 0, v_threshold=ONES, v_reset=ONES * 0)
    graph = graph_of(neuron, metadata={name: np.float64(5e-4)} if where == "graph" else None)
    if where == "node":
        neuron.metadata = {name: 5e-4}
    assert np.array_equal(counts(graph), simulated(2e-3, 3.0, dt=5e-4))
    assert not caplog.records


@pytest.mark.parametrize(
    ("leak", "reset", "th", "r"), [(0.2, 0.2, 1.0, 3.0), (-0.07, -0.07, -0.055, 0.03), (0.5, 0.0, 1.0, 3.0), (0.1, -0.3, 0.8, 3.0)]
)
@pytest.mark.parametrize("subtract", [False, True])
def test_potentials_that_are_not_0(leak, reset, th, r, subtract):
    neuron = nir.LIF(tau=ONES * 5e-3, r=ONES * r, v_leak=ONES * leak, v_threshold=ONES * th, v_reset=ONES * reset)
    found = counts(graph_of(neuron), dt=1e-3, reset="subtract" if subtract else "zero")
    assert np.array_equal(found, simulated(5e-3, r, th, 1e-3, leak, reset, subtract))
    assert found.sum() > 20


def test_thresholds_and_potentials_of_each_neuron():
    th, leak = np.linspace(0.5, 1.5, 6), np.linspace(-0.2, 0.2, 6)
    neuron = nir.LIF(tau=ONES * 5e-3, r=ONES * 3, v_leak=leak, v_threshold=th, v_reset=ONES * -0.1)
    assert np.array_equal(counts(graph_of(neuron), dt=1e-3, reset="zero"), simulated(5e-3, 3.0, th, 1e-3, leak, -0.1))


def test_graphs_within_graphs():
    flat = nir.NIRGraph.from_list(
        nir.Linear(WEIGHT), snntorch(0.9), nir.Linear(WEIGHT[:4, :6]), *[nir.LI(tau=np.full(4, 2e-3), r=np.ones(4) * 2, v_leak=np.zeros(4))]
    )
    inner = nir.NIRGraph.from_list(nir.NIRGraph.from_list(nir.Linear(WEIGHT), snntorch(0.9)))
    last = nir.NIRGraph.from_list(nir.Linear(WEIGHT[:4, :6]), nir.LI(tau=np.full(4, 2e-3), r=np.ones(4) * 2, v_leak=np.zeros(4)))
    nested = nir.NIRGraph.from_list(inner, last)
    a, b = (from_nir(graph, dt=1e-4, reset="zero")(torch.from_numpy(SPIKES))[0] for graph in (flat, nested))
    assert torch.equal(a, b)
    assert a.abs().sum() > 0


@pytest.mark.parametrize(
    ("neuron", "options", "message"),
    [
        (nir.IF(r=ONES, v_threshold=ONES), {}, "name the argument dt=1 if so"),
        (nir.LIF(tau=ONES * 20, r=ONES, v_leak=ONES * 0, v_threshold=ONES), {}, "a time constant is 20 s, or is counted in steps"),
        (nir.LIF(tau=ONES * 5e-4, r=ONES, v_leak=ONES * 0, v_threshold=ONES), {}, "how long a step is: name it with the argument dt="),
        (
            nir.LIF(tau=ONES * 5e-4, r=ONES, v_leak=ONES * 0, v_threshold=ONES),
            {"dt": 1e-3},
            "shorter than a step of 0.001 s",
        ),
        (nir.LIF(tau=ONES, r=ONES, v_leak=ONES * 0, v_threshold=ONES), {"reset": "soft"}, "reset is 'soft': choose one of zero, subtract"),
        (nir.LIF(tau=ONES, r=ONES, v_leak=ONES * 0, v_threshold=ONES), {"dt": 0}, "dt is 0: give the length of a step in s"),
        (nir.LIF(tau=ONES, r=ONES, v_leak=ONES * 0, v_threshold=ONES, v_reset=ONES), {"dt": 1}, "make it positive"),
    ],
)
def test_what_is_asked_for(neuron, options, message):
    with pytest.raises(InputError) as caught:
        from_nir(graph_of(neuron), **options)
    assert message in str(caught.value)


def test_metadata_that_cannot_be():
    with pytest.raises(InputError, match="the graph says that dt is 'x': name the length of a step with the argument dt="):
        from_nir(graph_of(snntorch(0.9), metadata={"dt": "x"}))
    neuron = snntorch(0.9)
    neuron.metadata = {"dt": 1e-3}
    with pytest.raises(InputError, match="the graph contradicts itself"):
        from_nir(graph_of(neuron, metadata={"dt": 1e-4}))
    with pytest.raises(InputError, match="says that its reset is 'none'"):
        from_nir(graph_of(snntorch(0.9), metadata={"dt": 1e-4, "reset": "none"}))


def test_an_integrator_with_a_synapse():
    weight, dt = WEIGHT[:3, :6], 1e-4
    constants = {"tau_syn": np.full(3, 4e-3), "tau_mem": np.full(3, 1e-2), "r": np.full(3, 2.0), "w_in": np.full(3, 1.5)}
    readout = nir.CubaLI(**constants, v_leak=np.zeros(3))
    network = from_nir(nir.NIRGraph.from_list(nir.Linear(WEIGHT), snntorch(0.9), nir.Linear(weight), readout), dt=dt, reset="zero")
    hidden, u = np.zeros((5, 6)), np.zeros((5, 6))
    i, v = np.zeros((5, 3)), np.zeros((5, 3))
    for frame in SPIKES:
        u = u + dt / 1e-3 * (10 * (frame @ WEIGHT.T) - u)
        hidden = u > 1
        u = u * ~hidden
        i = i + dt / 4e-3 * (1.5 * (hidden @ weight.T) - i)
        v = v + dt / 1e-2 * (2.0 * i - v)
    assert np.allclose(network(torch.from_numpy(SPIKES))[0].numpy(), v, rtol=1e-9)
    assert np.abs(v).max() > 0
