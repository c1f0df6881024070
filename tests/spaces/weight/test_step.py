"""Steps in weight space: what is written into .grad, and what a module may look like."""

import pytest
import torch
from torch import nn

from polystep_snn import Sinkhorn, Softmax
from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.step import WeightStep
from polystep_snn.spaces.weight.subspaces import AdaptiveLowRank, HybridLowRank
from tests.spaces.weight.modules import classes, classifier, full, grads, same


def test_nothing_is_differentiated_or_kept():
    module = classifier()
    x, y = classes()

    def kept(tensor):
        raise AssertionError("autograd kept a tensor")

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept, kept):
        result = WeightStep(module, nn.CrossEntropyLoss()).step(x, y)
    assert not result.loss.requires_grad
    assert all(p.grad.grad_fn is None and not p.grad.requires_grad for p in module.parameters())
    expected = nn.functional.cross_entropy(module(x), y)
    torch.testing.assert_close(result.loss, expected.detach())
    assert result.accuracy == (module(x).argmax(1) == y).float().mean()


def test_the_subspace_is_drawn_anew():
    module = classifier()
    step = WeightStep(module, nn.CrossEntropyLoss(), WeightSpace(subspace=HybridLowRank(2), redraw_every=2))
    drawn = []
    for _ in range(6):
        step.step(*classes())
        drawn.append(step._parts["0.weight"][1].right)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[2], drawn[3])
    spans = [drawn[k] for k in (0, 2, 4)]
    assert torch.linalg.matrix_rank(torch.cat(spans)) == 6
    # Layers of the same shape get different directions.
    twins = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    step = WeightStep(twins, nn.CrossEntropyLoss(), WeightSpace(subspace=HybridLowRank(2)))
    step.step(*classes())
    assert not torch.equal(step._parts["0.weight"][1].right, step._parts["1.weight"][1].right)


def test_seeds_decide_the_step():
    def run(seed):
        module = classifier()
        WeightStep(module, nn.CrossEntropyLoss(), seed=seed).step(*classes())
        return grads(module)

    assert same(run(1), run(1))
    assert not same(run(1), run(2))


@pytest.mark.parametrize("subspace", [HybridLowRank(2), AdaptiveLowRank(2)], ids=str)
def test_a_resumed_run_is_the_same_to_the_bit(subspace):
    def make():
        module = classifier()
        space = WeightSpace(subspace=subspace, redraw_every=3, blocks="layers")
        return module, WeightStep(module, nn.CrossEntropyLoss(), space), torch.optim.Adam(module.parameters(), lr=0.01)

    def run(module, step, optimizer, count):
        for _ in range(count):
            step.step(*classes())
            optimizer.step()

    straight = make()
    run(*straight, 9)
    first = make()
    run(*first, 4)
    second = make()
    second[0].load_state_dict(first[0].state_dict())
    second[2].load_state_dict(first[2].state_dict())
    second[1].load_state_dict(first[1].state_dict())
    run(*second, 5)
    assert same(list(straight[0].parameters()), list(second[0].parameters()))


def test_blocks_take_turns():
    module = classifier()
    step = WeightStep(module, nn.CrossEntropyLoss(), WeightSpace(subspace=HybridLowRank(2), blocks="layers"))
    touched = []
    for _ in range(3):
        step.step(*classes())
        touched.append([p.grad is not None for p in module.parameters()])
    assert touched == [[True, True, False, False], [False, False, True, True], [True, True, False, False]]
    groups = [["*.weight"], ["0.bias", "2.bias"]]
    step = WeightStep(module, nn.CrossEntropyLoss(), WeightSpace(blocks=groups))
    step.step(*classes())
    assert [p.grad is not None for p in module.parameters()] == [True, False, True, False]


def test_evaluations_are_counted():
    module = classifier()
    space = WeightSpace((0.1, 0.2), HybridLowRank(4), particle_dim=2)
    budget = Budget(10_000)
    step = WeightStep(module, nn.CrossEntropyLoss(), space, budget=budget)
    # 8 x 4 and 3 x 4 coordinates in pairs, 8 + 3 biases alone; two shells.
    expected = 2 * (4 * (16 + 6) + 2 * 11)
    assert step.evaluations == expected
    step.step(*classes())
    assert budget.spent == expected


def test_a_budget_ends_the_run():
    module = classifier()
    needed = WeightStep(module, nn.CrossEntropyLoss()).evaluations
    with pytest.raises(InputError, match=f"a step takes {needed} evaluations, but the budget is {needed - 1}"):
        WeightStep(module, nn.CrossEntropyLoss(), budget=Budget(needed - 1))
    step = WeightStep(module, nn.CrossEntropyLoss(), budget=Budget(2 * needed + 1))
    steps = 0
    while step.budget.affords(step.evaluations):
        step.step(*classes())
        steps += 1
    assert steps == 2
    with pytest.raises(InputError, match=r"1 of \d+ are left"):
        step.step(*classes())


def test_frozen_parameters_stay():
    module = classifier()
    module[0].requires_grad_(False)
    WeightStep(module, nn.CrossEntropyLoss()).step(*classes())
    assert [p.grad is not None for p in module.parameters()] == [False, False, True, True]
    # Where nothing requires a gradient, everything is trained.
    module.requires_grad_(False)
    WeightStep(module, nn.CrossEntropyLoss()).step(*classes())
    assert all(p.grad is not None for p in module.parameters())


def test_tied_parameters_move_together():
    """A step on ``f(w, w)`` is the step on the one parameter that there is."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
            self.b = self.a

        def forward(self):
            return self.a * self.b

    module = Tied()
    step = WeightStep(module, lambda out, _: out.sum(), full(particle_dim=1, radius=0.1), Softmax(eps=1.0))
    assert step.evaluations == 4
    step.step(None)
    torch.testing.assert_close(module.a.grad, torch.tanh(0.1 * 2 * module.a.detach()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_mixed_dtypes(dtype):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Parameter(torch.zeros(3))
            self.narrow = nn.Parameter(torch.zeros(3, dtype=dtype))
            self.count = nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)

        def forward(self):
            return self.wide + self.narrow.float() + self.count

    module = Mixed()
    WeightStep(module, lambda x, _: (x - 1).square().sum(), full(particle_dim=1), Softmax()).step(None)
    assert module.narrow.grad.dtype == dtype
    assert module.count.grad is None
    torch.testing.assert_close(module.narrow.grad.float(), module.wide.grad, rtol=0, atol=0.01)
    assert (module.wide.grad < -0.5).all()


def test_losses_may_be_numbers_one_a_sample_or_not_differentiable():
    x, y = classes()
    results = []
    for loss in (
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        lambda o, t: float(nn.functional.cross_entropy(o, t)),
    ):
        module = classifier()
        WeightStep(module, loss).step(x, y)
        results.append(grads(module))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-3)
    module = classifier()
    WeightStep(module, lambda o, t: o.argmax(1) != t, WeightSpace(0.5)).step(x, y)
    assert module[0].weight.grad.abs().max() > 0


def test_several_arguments_and_none():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 2)

        def forward(self, x, y):
            return self.a(x) - self.a(y)

    module = Pair()
    x = torch.randn(5, 4)
    result = WeightStep(module, lambda o, t: o.square().sum(1)).step((x, x + 1), None)
    assert result.accuracy.isnan()
    assert module.a.weight.grad.abs().max() > 0
    # Biases cancel: all candidates cost the same up to rounding, and nothing moves.
    torch.testing.assert_close(module.a.bias.grad, torch.zeros(2))


def test_slices_of_a_batch_give_the_same_step():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.up, self.down = nn.Linear(6, 200).double(), nn.Linear(200, 3).double()

        def forward(self, x):
            return self.down(torch.tanh(self.up(x)))

    x, y = classes(40)
    results = []
    for memory in (2**30, 80_000):
        module = Wide()
        step = WeightStep(module, nn.CrossEntropyLoss(), WeightSpace(subspace=HybridLowRank(2)), memory=memory)
        result = step.step(x.double(), y)
        results.append((result.loss, result.accuracy, module.up.weight.grad))
    assert len(list(step._evaluator.slices(x.double(), y))) > 1
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_sinkhorn_couples_the_particles():
    module = classifier()
    transport = Sinkhorn(eps=0.05, max_iterations=5000, tolerance=1e-6)
    WeightStep(module, nn.CrossEntropyLoss(), full(particle_dim=1), transport).step(*classes())
    # Both vertices receive the same mass from all particles, so the displacements of a parameter cancel.
    for p in module.parameters():
        assert abs(p.grad.sum()) < 1e-3 * p.numel()
        assert p.grad.abs().max() > 0.01
