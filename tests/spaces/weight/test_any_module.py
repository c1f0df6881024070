"""Candidates of any module against a deep copy of the module for each; what happens where memory is short, and random numbers."""

import logging

import pytest
import torch
from torch import nn

from polystep_snn.engine.memory import peak_bytes
from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.any_module import WholeModule
from polystep_snn.spaces.weight.choose import evaluator_of
from polystep_snn.spaces.weight.sequential import Chain
from polystep_snn.spaces.weight.subspaces import SUBSPACES, FullSpace, HybridLowRank
from tests.reference import naive_weights
from tests.spaces.weight.modules import MODULES, WHOLE, MyDropout, batch, make
from tests.spaces.weight.probed import SPACES, assert_all_costs_are_naive, drawn


def test_every_subspace_is_tested():
    assert SPACES.keys() == SUBSPACES.keys()


@pytest.mark.parametrize("subspace", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("name", [n for n in MODULES if n != "branching"])
def test_modules(name, subspace):
    module, loss = make(name), nn.CrossEntropyLoss()
    x, y = batch()
    evaluator = evaluator_of(module, loss, 2**20)
    assert isinstance(evaluator, WholeModule if name in WHOLE else Chain)
    assert_all_costs_are_naive(module, evaluator, loss, x, (x,), y, subspace)


@pytest.mark.parametrize("memory", [1, 3000, 2**30])
@pytest.mark.parametrize("name", ["mlp", "batch norm", "tied"])
def test_memory_changes_no_cost(name, memory):
    """One candidate at a time, some, or all: the same costs."""
    module, loss = make(name), nn.CrossEntropyLoss(reduction="none")
    x, y = batch()
    evaluator = evaluator_of(module, loss, memory)
    assert_all_costs_are_naive(module, evaluator, loss, x, (x,), y, HybridLowRank(4))


def test_one_at_a_time_where_vmap_does_not_work(caplog):
    module, loss = make("branching"), nn.CrossEntropyLoss()
    with torch.no_grad():
        module.first.weight.mul_(0.01)  # so that candidates take both branches
    x, y = batch()
    with caplog.at_level(logging.INFO, "polystep_snn"):
        evaluator = evaluator_of(module, loss, 2**20)
        part, offsets = drawn(module, FullSpace(), "first.weight")
        with torch.no_grad():
            found = evaluator.batch(x, y)
            costs = found.costs(part, offsets)
            found.costs(part, offsets)
    torch.testing.assert_close(costs, naive_weights.costs(module, loss, (x,), y, part, offsets), rtol=0, atol=1e-12)
    told = [record.message for record in caplog.records if "one at a time" in record.message]
    assert len(told) == 1
    assert "vmap does not work" in told[0]


def test_vmap_is_told_once(caplog):
    module = make("hard attention")
    with caplog.at_level(logging.INFO, "polystep_snn"), torch.no_grad():
        found = evaluator_of(module, nn.CrossEntropyLoss(), 2**20).batch(*batch())
        for _ in range(2):
            found.costs(*drawn(module, FullSpace(), "score.weight"))
    assert sum("many at a time" in record.message for record in caplog.records) == 1


def test_a_modules_own_error_is_its_own():
    class Broken(nn.Linear):
        def forward(self, x):
            if torch.equal(self.weight, start):
                return super().forward(x)
            raise ZeroDivisionError("mine")

    module = Broken(6, 3).double()
    start = module.weight.detach().clone()
    with torch.no_grad():
        found = WholeModule(module, nn.CrossEntropyLoss(), 2**20).batch(*batch())
        with pytest.raises(ZeroDivisionError, match="mine"):
            found.costs(*drawn(module, FullSpace(), "weight"))


def test_candidates_share_their_random_numbers():
    """With dropout, equal candidates cost the same, at once as one after the other, and as the unprobed module does."""
    for module in (nn.Sequential(nn.Linear(6, 20), nn.Dropout(0.5), nn.Linear(20, 3)), MyDropout()):
        module = module.double()
        x, y = batch()
        for vectorised in (None, False):
            evaluator = WholeModule(module, nn.CrossEntropyLoss(), 2**20)
            evaluator.many.vectorised = vectorised
            part, offsets = drawn(module, FullSpace(), "2.weight")
            torch.manual_seed(3)
            with torch.no_grad():
                found = evaluator.batch(x, y)
                after = torch.get_rng_state()
                costs = found.costs(part, torch.zeros_like(offsets))
            torch.testing.assert_close(costs, found.loss.expand_as(costs), rtol=0, atol=1e-12)
            assert torch.equal(torch.get_rng_state(), after)
            torch.manual_seed(4)
            with torch.no_grad():
                assert evaluator.batch(x, y).loss != found.loss


def test_buffers_advance_once_by_the_unprobed_pass():
    for module in (make("batch norm"), nn.ModuleDict({"net": make("batch norm")})["net"]):
        x, y = batch()
        expected = nn.BatchNorm1d(5).double()
        with torch.no_grad():
            expected(module[0](x))
            found = evaluator_of(module, nn.CrossEntropyLoss(), 2**20).batch(x, y)
            for name, _ in module.named_parameters():
                found.costs(*drawn(module, HybridLowRank(4), name))
        assert torch.equal(module[1].running_mean, expected.running_mean)
        assert module[1].num_batches_tracked == 1


def test_batches_larger_than_memory(caplog):
    """Costs add up over slices, to those of the whole batch."""
    module, loss = make("hard attention"), nn.CrossEntropyLoss()
    x, y = batch(301)
    needed = WholeModule(module, loss, 2**30).bytes_of_pass(x, y)
    part, offsets = drawn(module, FullSpace(), "out.weight")
    evaluator = WholeModule(module, loss, needed // 4)
    with caplog.at_level(logging.INFO, "polystep_snn"), torch.no_grad():
        slices = list(evaluator.slices(x, y))
        total = sum(share * evaluator.batch(a, b).costs(part, offsets) for share, a, b in slices)
        whole = WholeModule(module, loss, 2**30).batch(x, y).costs(part, offsets)
        list(evaluator.slices(x, y))
    assert 4 <= len(slices) <= 8
    assert torch.equal(torch.cat([a for _, a, _ in slices]), x)
    assert sum(share for share, _, _ in slices) == pytest.approx(1)
    torch.testing.assert_close(total, whole, rtol=0, atol=1e-12)
    assert sum("slices of" in record.message for record in caplog.records) == 1


def test_memory_is_measured():
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x + 1) == 4000
    assert peak_bytes(lambda: (x + 1) + 1) == 8000
    assert peak_bytes(lambda: sum((x + 1).sum() for _ in range(9))) < 4100
    # Views and work in place take nothing.
    assert peak_bytes(lambda: (x + 1).view(10, 100).mul_(2)) == 4000
    assert peak_bytes(lambda: x.view(10, 100)[:, :2] + x[:2].mul_(1)) == 80


X, Y = batch()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: evaluator_of(make("mlp"), None, 2**20), "loss is None"),
        (lambda: evaluator_of(make("mlp"), nn.CrossEntropyLoss(), 0), "memory is 0"),
        (lambda: WholeModule(make("mlp"), lambda o, t: o, 2**20).batch(X, Y), r"shape \[7, 3\]: return a scalar, or \[7\]"),
        (lambda: WholeModule(make("mlp"), lambda o, t: o.sum(0), 2**20).batch(X, Y), r"shape \[3\]"),
        (lambda: evaluator_of(make("mlp"), lambda o, t: o.sum(0), 2**20).batch(X, Y), r"shape \[3\]"),
        (lambda: WholeModule(make("mlp"), lambda o, t: "0.3", 2**20).batch(X, Y), "the loss is a str"),
        (lambda: WholeModule(make("mlp"), lambda o, t: torch.tensor(1j), 2**20).batch(X, Y), "complex64"),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message), torch.no_grad():
        run()
