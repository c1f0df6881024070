"""Modules that keep state in plain attributes: candidates cost what new modules cost, and the module stays what it is."""

import copy
import itertools

import pytest
import torch
from torch import nn

from polystep_snn.spaces.weight.choose import evaluator_of
from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.step import WeightStep
from polystep_snn.spaces.weight.subspaces import FullSpace, HybridLowRank
from tests.reference import naive_weights
from tests.spaces.weight.modules import batch, grads, same
from tests.spaces.weight.probed import drawn
from tests.spaces.weight.stateful import MODULES, Membrane, OverTime, Stateful

CE = nn.CrossEntropyLoss()


def make(name):
    return MODULES[name]().double()


def output_of_next_pass(module, x):
    """Of a copy, so that the module is not touched."""
    with torch.no_grad():
        return copy.deepcopy(module)(x)


def costs_of_new_modules(name, x, y, parameter):
    """Every candidate is made anew: copies would share what closures hold."""
    part, offsets = drawn(make(name), FullSpace(), parameter)
    table = torch.empty(offsets.shape[:2], dtype=torch.float64)
    for v, i in itertools.product(*map(range, table.shape)):
        candidate, coordinates = make(name), torch.zeros(part.size, dtype=offsets.dtype)
        coordinates.view(-1, offsets.shape[2])[i] = offsets[v, i]
        candidate.get_parameter(parameter).add_(part.expand(coordinates))
        table[v, i] = CE(candidate(x), y)
    return table


@pytest.mark.parametrize("name", MODULES)
def test_candidates_cost_what_new_modules_cost(name):
    module, (x, y) = make(name), batch()
    with torch.no_grad():
        expected_output = make(name)(x)
    weights = [n for n, _ in module.named_parameters()][1:3]
    with torch.no_grad():
        naive = [costs_of_new_modules(name, x, y, n) for n in weights]
        found = evaluator_of(module, CE, 20_000).batch(x, y)
        for n, expected in zip(weights, naive, strict=True):
            torch.testing.assert_close(found.costs(*drawn(module, FullSpace(), n)).double(), expected, rtol=0, atol=1e-10)
    assert found.loss == CE(expected_output, y)
    assert max(float(costs.max() - costs.min()) for costs in naive) > 1e-3
    with torch.no_grad():
        assert torch.equal(module(x), expected_output)


@pytest.mark.parametrize("name", MODULES)
def test_the_state_matters(name):
    """Else the test above could not fail: two passes one after the other differ, but where nothing is left behind."""
    module, (x, _) = make(name), batch()
    with torch.no_grad():
        if name == "only moved":
            module[0].layer.weight.mul_(1.1)
        first, second = module(x), module(x)
    assert torch.equal(first, second) == (name == "stages that share")


@pytest.mark.parametrize("name", MODULES)
def test_a_step_on_the_same_batch_is_the_same_step(name):
    module, (x, y) = make(name), batch()
    found = []
    for _ in range(2):
        WeightStep(module, CE, WeightSpace(subspace=HybridLowRank(2))).step(x, y)
        found.append(grads(module))
    assert same(*found)
    assert all(g is not None and g.isfinite().all() for g in found[0])
    assert max(g.abs().max() for g in found[0]) > 0.01


def test_attributes_are_the_same_objects_afterwards():
    module, (x, y) = make("list of tensors"), batch()
    kept, tensor = module.kept, module.kept[0]
    WeightStep(module, CE).step(x, y)
    assert module.kept is kept
    assert kept[0] is tensor
    assert torch.equal(tensor, torch.ones(5).double().to(tensor.dtype))


def test_an_error_leaves_the_module_as_it_was():
    """Also when a pass fails, and in the candidates alone."""

    def scale(m, hidden):
        m.kept.append(1)
        if not torch.equal(m.b.bias, m.start):
            raise ZeroDivisionError("mine")
        return len(m.kept)

    module, (x, y) = Stateful(lambda m: setattr(m, "kept", [1]), scale).double(), batch()
    module.start = module.b.bias.detach().clone()
    with pytest.raises(ZeroDivisionError, match="mine"):
        WeightStep(module, CE).step(x, y)
    assert module.kept == [1]
    module.start += 1
    with pytest.raises(ZeroDivisionError, match="mine"):
        WeightStep(module, CE).step(x, y)
    assert module.kept == [1]


def test_an_output_that_is_part_of_the_state():
    """What the module returns is put back too; accuracy and loss are those of the pass."""

    class Accumulates(nn.Linear):
        def forward(self, x):
            self.total += super().forward(x)
            return self.total

    module, (x, y) = Accumulates(6, 3).double(), batch()
    module.total = -torch.nn.functional.one_hot(y, 3).double()
    expected = module.total + nn.functional.linear(x, module.weight.detach(), module.bias.detach())
    result = WeightStep(module, CE).step(x, y)
    assert result.loss == CE(expected, y)
    assert result.accuracy == (expected.argmax(1) == y).float().mean()
    assert torch.equal(module.total, -torch.nn.functional.one_hot(y, 3).double())


def test_a_loss_may_keep_state():
    class Moving(nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 1

        def forward(self, output, target):
            self.count += 1
            return self.count * CE(output, target)

    module, (x, y) = nn.Linear(6, 3).double(), batch()
    found = evaluator_of(module, Moving(), 2**20).batch(x, y)
    with torch.no_grad():
        costs = found.costs(*drawn(module, FullSpace(), "weight"))
        expected = naive_weights.costs(module, lambda o, t: 2 * CE(o, t), (x,), y, *drawn(module, FullSpace(), "weight"))
    torch.testing.assert_close(costs, expected, rtol=0, atol=1e-12)


def test_buffers_advance_by_one_pass():
    """Written in place, or put in place of the old one: what one pass makes of them stands, as after ``loss.backward()``."""

    class Averages(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            out = self.layer(x)
            self.mean = 0.9 * self.mean + 0.1 * out.mean(0)
            self.count += 1
            return out - self.mean

    module, (x, y) = Averages().double(), batch()
    expected = copy.deepcopy(module)
    step = WeightStep(module, CE)
    with torch.no_grad():
        for k in (1, 2):
            step.step(x, y)
            expected(x)
            assert torch.equal(module.mean, expected.mean)
            assert module.count == k


def test_slices_of_a_batch_start_alike(caplog):
    """Membranes do not reach from a slice into the next, which may be shorter."""
    (x, y), results = batch(301), []
    module = OverTime(Membrane()).double()
    for memory in (2**30, 30_000):
        step = WeightStep(module, CE, WeightSpace(subspace=HybridLowRank(2)), memory=memory)
        results.append((step.step(x, y).loss, *grads(module)))
        assert module.cell.v == 0.0
    assert len(list(step._evaluator.slices(x, y))) > 2
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_state_of_a_whole_batch_goes_on():
    """A membrane that a batch has left is where the next step starts, and has to be of its size."""
    module, (x, y) = OverTime(Membrane()).double(), batch(40)
    with torch.no_grad():
        module(x)
    left = module.cell.v
    expected = output_of_next_pass(module, x)
    step = WeightStep(module, CE)
    assert step.step(x, y).loss == CE(expected, y)
    assert module.cell.v is left
    module.cell.v = 0.0
    assert step.step(x, y).loss != CE(expected, y)
