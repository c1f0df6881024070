"""State that cannot be put back, or is not seen: refused in one line that names it."""

import itertools
import random
import re

import numpy as np
import pytest
import torch
from torch import nn

from polystep_snn.engine.state.repeats import RepeatCheck
from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.step import WeightStep
from tests.spaces.weight.modules import batch
from tests.spaces.weight.stateful import Membrane, OverTime, Stateful

CE = nn.CrossEntropyLoss()
CALLS = []


class Shared(nn.Module):
    """Counts in an attribute of its class."""

    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return x * type(self).calls


def counts_globally(x):
    CALLS.append(1)
    return x * len(CALLS)


def counts_late(x):
    CALLS.append(1)
    return x * max(1, len(CALLS) - 20)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def inside(layer):
    """A sequence, and the same layer somewhere in a module of its own."""
    yield nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Tanh(), layer), nn.Linear(5, 3))
    yield OverTime(layer)


OUTSIDE = {
    "a global list": lambda: Calls(counts_globally),
    "an attribute of the class": Shared,
    # A large cost is nearly proportional to the number: two draws cost the same in one of 50,000 cases.
    "numpy's numbers": lambda: Calls(lambda x: x * 1000 * np.random.rand()),  # noqa: NPY002
    "Python's numbers": lambda: Calls(lambda x: x * 1000 * random.random()),
    "the operating system's": lambda: Calls(lambda x: x * 1000 * random.SystemRandom().random()),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_what_is_outside_of_attributes_is_found_and_named(kind):
    x, y = batch()
    for module, name in zip(inside(OUTSIDE[kind]()), ("1.1", "cell"), strict=True):
        kept = type(OUTSIDE[kind]()).__name__
        message = rf"^the same weights of {type(module).__name__} cost [\d.]+ in one pass and [\d.]+ in the next: {name} \({kept}\) depends"
        with pytest.raises(InputError, match=message) as error:
            WeightStep(module.double(), CE).step(x, y)
        assert "\n" not in str(error.value)


def test_a_loss_that_depends_on_more_is_named():
    seen = []

    def loss(output, target):
        seen.append(1)
        return CE(output, target) * len(seen)

    x, y = batch()
    with pytest.raises(InputError, match="its forward pass, or the loss, depends on something outside"):
        WeightStep(nn.Linear(6, 3).double(), loss).step(x, y)


def test_what_begins_late_is_found():
    """After enough candidates the unprobed pass is repeated again."""
    CALLS.clear()
    x, y = batch()
    step = WeightStep(OverTime(Calls(counts_late)).double(), CE)

    def run():
        for _ in range(1 + 20_000 // step.evaluations):
            step.step(x, y)

    with pytest.raises(InputError, match=r"cell \(Calls\) depends"):
        run()


def test_a_check_is_due_first_and_then_rarely():
    check = RepeatCheck(nn.Linear(1, 1))
    assert [check.due(500, alone=True) for _ in range(5)] == [True, False, True, False, True]
    assert [check.due(5000, alone=False) for _ in range(5)] == [False, False, False, True, False]


OWN = {
    "torch": (lambda: torch.Generator().manual_seed(0), lambda g: torch.rand(1, generator=g).item()),
    "numpy": (lambda: np.random.default_rng(0), lambda g: g.random()),
    "numpy, old": (lambda: np.random.RandomState(0), lambda g: g.rand()),
    "Python": (lambda: random.Random(0), lambda g: g.random()),
}


@pytest.mark.parametrize("kind", OWN)
def test_a_generator_of_its_own_is_named_and_stays(kind):
    make, draw = OWN[kind]
    module, (x, y) = Stateful(lambda m: setattr(m, "noise", {"own": make()}), lambda m, h: draw(m.noise["own"])).double(), batch()
    with pytest.raises(InputError, match=re.escape("Stateful draws random numbers from noise['own'], a generator of its own")):
        WeightStep(module, CE).step(x, y)
    assert draw(module.noise["own"]) == draw(make())


def numbers():
    yield from range(1000)


ITERATORS = {
    "generator": numbers,
    "count": itertools.count,
    "list_iterator": lambda: iter([1, 2]),
    "cycle": lambda: itertools.cycle([1, 2]),
}


@pytest.mark.parametrize("kind", ITERATORS)
def test_iterators_are_named(kind):
    module, (x, y) = OverTime(Membrane()).double(), batch()
    module.cell.schedule = ITERATORS[kind]()
    with pytest.raises(InputError, match=f"^cell.schedule of OverTime is a {kind}, which cannot be wound back"):
        WeightStep(module, CE).step(x, y)
    assert next(module.cell.schedule) == next(ITERATORS[kind]())


def test_a_batch_that_cannot_be_cut_is_named():
    """A membrane of the whole batch, and no memory for it: what would help is said."""
    module, (x, y) = OverTime(Membrane()).double(), batch(301)
    with torch.no_grad():
        module(x)
    step = WeightStep(module, CE, memory=60_000)
    with pytest.raises(
        InputError, match=r"OverTime refuses a part of the batch \(RuntimeError: .*\): choose memory=\d+, smaller batches"
    ) as error:
        step.step(x, y)
    enough = int(re.search(r"memory=(\d+)", str(error.value))[1])
    assert WeightStep(module, CE, memory=enough).step(x, y).loss.isfinite()
