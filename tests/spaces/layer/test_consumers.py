"""Slopes that follow shifts to the inputs of the next layer: against their definition, and who the next layer is."""

import pytest
import torch
from torch import nn

from polystep_snn import LayerSpace, LayerStep
from polystep_snn.polystep.polytope import vertices
from polystep_snn.spaces.layer.arithmetic import Eager
from tests.reference import naive_layers
from tests.spaces.layer.modules import LOSS, Skips, Told, batch, made, mlp


@pytest.mark.parametrize("space", [{}, {"dim": 2}, {"polytope": "simplex", "dim": 3}], ids=str)
@pytest.mark.parametrize("steps", [1, 30])
@pytest.mark.parametrize("compile", [False, True])
def test_slopes_along_consumers_are_those_of_the_definition(space, steps, compile):
    """In the first step, when nothing is known, and when credit is learnt."""
    module, layers = made(mlp), ["0", "2", "4"]
    step = Told(module, LOSS, LayerSpace(radius=0.3, **space), compile=compile)
    for seed in range(1, steps):
        step.step(*batch(40, seed=seed))
    known = {name: credit.partners.clone() for name, credit in step._credit.items() if credit.partners is not None}
    tables = {name: Eager().table(step._credit[name]._known) for name in known}
    inputs, target = batch()
    step.drawn.clear()
    step.step(inputs, target)
    partners, movements, given = {}, {}, inputs
    for name, layer in (("0", module[0]), ("2", module[2])):
        outputs = layer(given)
        given = module[int(name) + 1](outputs)
        partners[name] = [0] * outputs.shape[1] if steps == 1 else known[name].tolist()
        movements[name] = torch.zeros_like(outputs) if steps == 1 else tables[name].gather(1, Eager().measured(outputs)[1].T.long()).T
    at_output = torch.softmax(module(inputs), 1) - nn.functional.one_hot(target, 3)
    reaches = {name: {(int(j), int(k)) for k, j in step._reach[name].pairs.matrix.nonzero()} for name in partners}
    directions = dict(zip(layers, step.drawn, strict=False))
    points = vertices(step.space.polytope, step.space.dim)
    expected = naive_layers.along_consumers(
        module, layers, inputs, directions, step._spread, 0.3, points, at_output, reaches, partners, movements
    )
    for name, x in (("0", inputs), ("2", module[1](module[0](inputs)))):
        torch.testing.assert_close(module[int(name)].weight.grad, expected[name].T @ x / len(x), rtol=0, atol=1e-9)
        assert module[int(name)].weight.grad.abs().max() > 1e-4
    if steps > 1:
        # Each neuron is on the way to one input alone.
        assert reaches["0"] == {(j, j) for j in range(6)}


def test_where_nothing_jumps_slopes_are_those_of_backpropagation():
    module, (inputs, target) = made(lambda: nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3))), batch()
    LayerStep(module, LOSS, LayerSpace(radius=1e-3)).step(inputs, target)
    found = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    LOSS(module.requires_grad_(True)(inputs), target).mean().backward()
    for parameter, grad in zip(module.parameters(), found, strict=True):
        torch.testing.assert_close(grad, parameter.grad, rtol=0, atol=1e-6)
        assert grad.abs().max() > 1e-3


def test_consumers_are_found_by_holding_their_inputs():
    module, (inputs, target) = made(Skips), batch(600)
    step = LayerStep(module, LOSS)
    step.step(inputs, target)
    names = ["first", "inner", "second", "head"]
    # The first one's outputs go around the inner layer.
    assert {name: [names[k] for k in places] for name, places in step._consumers.items()} == {
        "first": ["second"],
        "inner": ["second"],
        "second": ["head"],
    }
    # The pass itself, which sample is which, four ways to a consumer, reach, two vertices.
    assert step.passes == 1 + 1 + 4 + 1 + 2
    for _ in range(40):
        step.step(inputs, target)
    # Of each half of the second layer's outputs the largest one counts: all outputs of a half may move its inputs, and no others.
    seen = step._reach["second"].hits > 0
    within = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).bool()
    assert not seen[~within].any()
    assert seen[within].double().mean() > 0.85


def test_a_sum_of_two_ways_reaches_the_cost_through_the_output():
    class Ways(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(12, 3), nn.Linear(3, 3)

        def forward(self, x):
            hidden = self.first(x)
            return hidden + self.second(hidden.relu())

    module, (inputs, target) = made(Ways), batch(600)
    step = LayerStep(module, LOSS, LayerSpace(radius=1e-4))
    found = torch.zeros_like(module.first.weight)
    for _ in range(100):
        step.step(inputs, target)
        found += module.first.weight.grad / 100
    assert step._consumers == {"second": [], "first": []}
    module.zero_grad()
    LOSS(module.requires_grad_(True)(inputs), target).mean().backward()
    assert torch.cosine_similarity(found.flatten(), module.first.weight.grad.flatten(), 0) > 0.99
    torch.testing.assert_close(found.norm(), module.first.weight.grad.norm(), rtol=0.1, atol=0)
