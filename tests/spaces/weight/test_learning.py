"""Weight space trains: classifiers, spiking networks, part of a model beside node space, a million variables."""

import pytest
import torch
from torch import nn

from polystep_snn import CrossEntropy, DirectCurrent, NodeSpace, PolyStep, SpikeCountReadout, SpikingNetwork
from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.step import WeightStep
from polystep_snn.spaces.weight.subspaces import AdaptiveLowRank, FactoredSpace, FullSpace, HybridLowRank, SparseProjection
from tests.spaces.weight.modules import Point, classes, classifier


@pytest.mark.parametrize("subspace", [HybridLowRank(4), AdaptiveLowRank(4), FactoredSpace(16), SparseProjection(4), FullSpace()], ids=str)
def test_a_classifier_learns(subspace):
    module = classifier()
    x, y = classes(64)
    step = WeightStep(module, nn.CrossEntropyLoss(), WeightSpace(0.3, subspace))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(60):
        result = step.step(x, y)
        optimizer.step()
    assert result.accuracy > 0.9
    assert result.loss < 0.35


def test_a_spiking_network_learns_and_tells_its_rates():
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([6, 12, 3], readout=SpikeCountReadout(residual=0.3), generator=generator)
    x, y = classes(64)
    step = WeightStep(network, space=WeightSpace(0.5, HybridLowRank(4)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(60):
        result = step.step(DirectCurrent(10)(x), y)
        optimizer.step()
    assert result.accuracy > 0.9
    assert [len(r) for r in result.rates] == [12]
    assert 0 < result.rates[0].mean() < 1


def test_node_space_for_the_spikes_and_weight_space_for_the_rest():
    """One model: a spiking network, and a head that votes by argmax over its readout, trained together from two kinds of probes."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.spikes = SpikingNetwork([6, 16, 5], generator=torch.Generator().manual_seed(0))
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            return self.read(self.spikes(DirectCurrent(8)(x))[0])

        def read(self, value):
            return self.head(value + (value == value.amax(-1, keepdim=True)))

    model = Model()
    x, y = classes(64)

    def cost(value, target):
        return CrossEntropy(1.0)(model.read(value.movedim(-2, -1)).movedim(-1, -2), target)

    nodes = PolyStep(model.spikes, NodeSpace(), cost=cost, compile=False)
    weights = WeightStep(model, nn.CrossEntropyLoss(), WeightSpace(0.3), parameters=["head.*"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        inner = nodes.step(DirectCurrent(8)(x), y)
        grad = model.spikes.linears[0].weight.grad
        outer = weights.step(x, y)
        assert model.spikes.linears[0].weight.grad is grad
        optimizer.step()
    assert outer.accuracy > 0.9
    torch.testing.assert_close(inner.loss, outer.loss, rtol=1e-4, atol=1e-5)


def test_a_million_variables_one_group_at_a_time():
    """A very large parameter: candidates are few, and are written out a few at a time."""
    vote = Point(0.0)
    vote.x = nn.Parameter(torch.zeros(1_000_000))
    wanted = torch.where(torch.rand(1_000_000, generator=torch.Generator().manual_seed(0)) < 0.5, 1.0, -1.0)
    space = WeightSpace(1.0, SparseProjection(100_000), particle_dim=1)
    step = WeightStep(vote, lambda x, _: -(x * wanted).mean(), space)
    assert step.evaluations == 20
    before = (vote.x * wanted).mean()
    for _ in range(3):
        step.step(None)
        with torch.no_grad():
            vote.x -= vote.x.grad
    assert (vote.x * wanted).mean() > before
    assert 0 < vote.x.grad.abs().max() <= 100_000**-0.5
