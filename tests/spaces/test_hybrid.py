"""One model in several spaces."""

import pytest
import torch
from torch import nn

from polystep_snn import HybridStep, LIFParameters, MembraneReadout, NodeStep, PolyStep, SpikingNetwork
from polystep_snn.errors import InputError
from polystep_snn.polystep.cost import CrossEntropy
from tests.spaces.layer.modules import LOSS


class Inside(nn.Module):
    """A layer, spiking neurons, an offset that is no layer, a layer."""

    def __init__(self, head=True):
        super().__init__()
        self.first = nn.Linear(12, 8)
        self.spiking = SpikingNetwork([8, 16, 4], LIFParameters.from_beta(0.9), MembraneReadout(), torch.Generator().manual_seed(0))
        self.offset = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 3) if head else nn.Identity()

    def forward(self, x):
        value, _ = self.spiking(self.first(x).relu().expand(6, *x.shape[:-1], 8))
        return self.head(value + self.offset)


def made(**options):
    torch.manual_seed(0)
    return Inside(**options).requires_grad_(False)


def data(size=300):
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(size) % 3
    return (torch.randn(3, 12, generator=generator) * 1.5)[target] + 0.5 * torch.randn(size, 12, generator=generator), target


def test_all_parts_have_gradients_and_a_model_is_learnt():
    module, (inputs, target) = made(), data()
    before = {name: p.clone() for name, p in module.named_parameters()}
    step, optimizer = PolyStep(module, LOSS), torch.optim.Adam(module.parameters(), lr=1e-2)
    assert isinstance(step, HybridStep)
    losses = []
    for _ in range(60):
        losses.append(float(step.step(inputs, target).loss))
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]
    assert all(not torch.equal(p, before[name]) for name, p in module.named_parameters())


def test_layers_in_front_and_behind_have_the_slopes_of_the_model():
    """Behind: in closed form. In front: on average over directions what the spiking network's output makes of the cost."""
    module, (inputs, target) = made(), data()
    step = PolyStep(module, LOSS)
    step.step(inputs, target)
    found = module.head.weight.grad.clone()
    module.zero_grad()
    module.head.requires_grad_(True)
    LOSS(module(inputs), target).mean().backward()
    torch.testing.assert_close(found, module.head.weight.grad, rtol=1e-4, atol=1e-6)


def test_neurons_have_the_gradients_of_node_space_where_their_output_is_the_models():
    """The head is the identity and the offset is zero: the cost of a readout is, to first order, its product with the cost's slopes."""

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.spiking = SpikingNetwork([12, 16, 3], LIFParameters.from_beta(0.9), MembraneReadout(), torch.Generator().manual_seed(0))

        def forward(self, x):
            return self.spiking(x.expand(6, *x.shape))[0]

    module, (inputs, target) = Alone(), data()
    HybridStep(module, LOSS).step(inputs, target)
    found = [p.grad.clone() for p in module.parameters()]
    NodeStep(module.spiking, cost=CrossEntropy(1.0)).step(inputs.expand(6, *inputs.shape).contiguous(), target)
    for parameter, grad in zip(module.spiking.parameters(), found, strict=True):
        assert torch.cosine_similarity(grad.flatten(), parameter.grad.flatten(), 0) > 0.95


def test_a_run_goes_on_to_the_bit():
    first, second, (inputs, target) = made(), made(), data()
    steps = [HybridStep(module, LOSS, seed=3) for module in (first, second)]
    for _ in range(2):
        steps[0].step(inputs, target)
    steps[1].load_state_dict({name: x.clone() for name, x in steps[0].state_dict().items()})
    for step in steps:
        step.step(inputs, target)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_what_cannot_be_one_model_is_refused():
    network = made().spiking
    with pytest.raises(InputError, match="train it with NodeStep"):
        HybridStep(network, LOSS)

    class Twice(Inside):
        def forward(self, x):
            return super().forward(x) + super().forward(2 * x)

    module, (inputs, target) = Twice(), data()
    with pytest.raises(InputError, match="spiking is not called once"):
        HybridStep(module, LOSS).step(inputs, target)
