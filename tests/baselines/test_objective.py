"""A module as a function of a vector: what it costs does not depend on what was evaluated before, and the module stays what it is."""

import pytest
import torch
from torch import nn

from polystep_snn.baselines.objective import ModuleObjective
from polystep_snn.errors import InputError
from tests.spaces.weight.modules import batch
from tests.spaces.weight.stateful import MODULES

CE = nn.CrossEntropyLoss()


def new_costs(name, vectors, x, y):
    """Every vector in a module of its own."""
    found = []
    for vector in vectors:
        module = MODULES[name]().double()
        ModuleObjective(module, CE).load(vector)
        with torch.no_grad():
            found.append(CE(module(x), y))
    return torch.stack(found)


@pytest.mark.parametrize("name", MODULES)
def test_costs_are_those_of_new_modules(name):
    """At once, a few at a time, and in any order."""
    module, (x, y) = MODULES[name]().double(), batch()
    before = MODULES[name]().double()
    with torch.no_grad():
        expected_output = before(x)
    objective = ModuleObjective(module, CE, at_once=4)
    generator = torch.Generator().manual_seed(1)
    vectors = objective.vector() + 0.3 * torch.randn(9, len(objective.vector()), dtype=torch.float64, generator=generator)
    expected = new_costs(name, vectors, x, y)
    f = objective.on(x, y)
    torch.testing.assert_close(f(vectors), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(f(vectors.flip(0)), expected.flip(0), rtol=0, atol=1e-10)
    assert expected.std() > 0.01
    with torch.no_grad():
        assert torch.equal(module(x), expected_output)


def test_costs_that_depend_on_more_are_refused():
    calls = []

    class Counts(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return len(calls) * super().forward(x)

    x, y = batch()
    objective = ModuleObjective(Counts(6, 3).double(), CE)
    with pytest.raises(InputError, match=r"the same weights of Counts cost [\d.]+ in one pass and [\d.]+ in the next: Counts depends"):
        objective.on(x, y)(objective.vector()[None])


def test_a_generator_of_its_own_is_refused():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.rand(3, generator=self.noise, dtype=x.dtype)

    module, (x, y) = Noisy(6, 3).double(), batch()
    module.noise = torch.Generator().manual_seed(0)
    objective = ModuleObjective(module, CE)
    with pytest.raises(InputError, match="Noisy draws random numbers from noise, a generator of its own"):
        objective.on(x, y)(objective.vector()[None])


def test_dropout_draws_on():
    """Torch's own random numbers are nobody's state: two calls differ, and a seed decides both."""
    module, (x, y) = nn.Sequential(nn.Linear(6, 20), nn.Dropout(0.5), nn.Linear(20, 3)).double(), batch()
    objective = ModuleObjective(module, CE)
    f, vectors = objective.on(x, y), objective.vector().expand(3, -1)
    f(vectors)
    torch.manual_seed(0)
    first, second = f(vectors), f(vectors)
    torch.manual_seed(0)
    assert torch.equal(f(vectors), first)
    assert not torch.equal(first, second)
