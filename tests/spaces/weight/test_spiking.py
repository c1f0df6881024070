"""Candidates of spiking networks against a deep copy of the network for each."""

import shutil

import pytest
import torch

from polystep_snn import CrossEntropy, DirectCurrent, LIFParameters, MembraneReadout, Rate, SpikeCountReadout, SpikingNetwork
from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.choose import evaluator_of
from polystep_snn.spaces.weight.spiking import AnySpiking, Spiking
from polystep_snn.spaces.weight.subspaces import FactoredSpace, HybridLowRank
from tests.reference import naive_weights
from tests.spaces.weight.modules import batch
from tests.spaces.weight.probed import SPACES, assert_all_costs_are_naive, drawn

SNN = {
    "membrane": ([6, 5, 3], MembraneReadout()),
    "leaky membrane": ([6, 5, 4, 3], MembraneReadout(0.8)),
    "largest membrane": ([6, 5, 4, 3], MembraneReadout(0.8, maximum=True)),
    "count": ([6, 5, 3], SpikeCountReadout(LIFParameters(v_th=0.3))),
    "residual count": ([6, 5, 4, 3], SpikeCountReadout(LIFParameters(v_th=0.3), residual=0.5)),
    "no hidden layer": ([6, 3], SpikeCountReadout(LIFParameters(v_th=0.3))),
}


def spiking(name, bits=32, sizes=None):
    known, readout = SNN[name]
    neuron = LIFParameters(v_th=0.4, tau_syn_inv=200.0 if name == "membrane" else None, reset="subtract" if "count" in name else "zero")
    network = SpikingNetwork(sizes or known, neuron, readout, torch.Generator().manual_seed(3), weight_bits=bits)
    return network.double()


@pytest.mark.parametrize("subspace", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "spikes"])
@pytest.mark.parametrize("name", SNN)
def test_spiking_networks(name, constant, subspace, monkeypatch):
    monkeypatch.setattr("polystep_snn.spaces.weight.spiking._CACHE", 5000)
    network = spiking(name)
    x, y = batch()
    frames = DirectCurrent(9)(x) if constant else torch.stack(list(Rate(9)(x.abs().clamp(max=1))))
    evaluator = evaluator_of(network, CrossEntropy(), 2**20)
    assert isinstance(evaluator, Spiking)
    arguments = (torch.stack(list(frames)) if constant else frames,)

    def loss(output, target):
        return CrossEntropy()(output[0].T, target)

    assert_all_costs_are_naive(network, evaluator, loss, frames, arguments, y, subspace)


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("name", ["leaky membrane", "residual count"])
def test_compiled_candidates_cost_the_same(name):
    network = spiking(name, sizes=[6, 4, 4, 3])  # layers of one shape are compiled once
    x, y = batch()
    eager, compiled = (evaluator_of(network, CrossEntropy(), 2**20, compile) for compile in (False, True))
    for subspace in (HybridLowRank(4), FactoredSpace(4)):
        part, offsets = drawn(network, subspace, "linears.0.weight")
        with torch.no_grad():
            expected, costs = (e.batch(DirectCurrent(2)(3 * x), y).costs(part, offsets) for e in (eager, compiled))
        torch.testing.assert_close(costs, expected, rtol=0, atol=1e-10)
        assert expected.std() > 1e-3
    assert compiled.run.compile


@pytest.mark.parametrize("kind", ["constant", "tensor", "frames"])
def test_spiking_slices(kind):
    network = spiking("residual count")
    x, y = batch(20)
    part, offsets = drawn(network, HybridLowRank(4), "linears.0.weight")

    def inputs():
        frames = Rate(9)(x.abs().clamp(max=1))
        return {"constant": DirectCurrent(9)(x), "tensor": torch.stack(list(frames)) if kind == "tensor" else None, "frames": frames}[kind]

    evaluator = Spiking(network, None, 8000)
    with torch.no_grad():
        slices = list(evaluator.slices(inputs(), y))
        total = sum(share * evaluator.batch(a, b).costs(part, offsets) for share, a, b in slices)
        expected = Spiking(network, None, 2**30).batch(inputs(), y).costs(part, offsets)
    assert len(slices) > 2
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-12)


def test_networks_on_the_int8_grid():
    network = spiking("membrane", bits=8)
    x, y = batch()
    evaluator = evaluator_of(network, CrossEntropy(), 2**20)
    assert isinstance(evaluator, AnySpiking)

    def loss(output, target):
        return CrossEntropy()(output[0].T, target)

    frames = torch.stack(list(DirectCurrent(5)(x)))
    part, offsets = drawn(network, HybridLowRank(2), "linears.0.weight")
    with torch.no_grad():
        (share, inputs, target), *none = evaluator.slices(DirectCurrent(5)(x), y)
        costs = evaluator.batch(inputs, target).costs(part, offsets)
    assert share == 1
    assert not none
    torch.testing.assert_close(costs, naive_weights.costs(network, loss, (frames,), y, part, offsets), rtol=0, atol=1e-12)
    assert costs.max() > costs.min()


X, Y = batch()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: list(Spiking(spiking("count"), None, 2**20).slices(X, None)), "Tensor and NoneType"),
        (lambda: list(Spiking(spiking("count"), None, 2**20).slices(torch.zeros(0, 7, 6), Y)), "0 timesteps"),
        (
            lambda: Spiking(spiking("count"), None, 2**20).batch(torch.zeros(4, 6, 6), Y),
            r"\[4, 6, 6\]: give torch.float64 \[T, 7, 6\]",
        ),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message), torch.no_grad():
        run()
