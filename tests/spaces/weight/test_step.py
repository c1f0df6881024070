"""Steps in weight space: what is written into .grad, and what a module may look like."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from polystep_snn import CrossEntropy, DirectCurrent, NodeSpace, PolyStep, Sinkhorn, Softmax, SpikeCountReadout, SpikingNetwork
from polystep_snn.errors import InputError
from polystep_snn.polystep.budget import Budget
from polystep_snn.spaces.weight.step import WeightSpace, WeightStep
from polystep_snn.spaces.weight.subspaces import AdaptiveLowRank, FactoredSpace, FullSpace, HybridLowRank, SparseProjection
from tests.spaces.weight.test_closed_forms import Point, full


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def classes(samples=32):
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(3, (samples,), generator=generator)
    return torch.randn(samples, 6, generator=generator) + 2 * torch.nn.functional.one_hot(y, 6), y


def grads(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def same(a, b):
    return all((x is None and y is None) or torch.equal(x, y) for x, y in zip(a, b, strict=True))


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


def together(*shares):
    """A step of processes that average, in threads: what each returns and leaves in ``.grad``, or the error it ends with."""
    modules, said = [classifier().double() for _ in shares], {}
    everyone = threading.Barrier(len(shares), timeout=60)

    def run(rank):
        def average(tensors):
            said[rank] = [t.clone() for t in tensors]
            everyone.wait()
            for k, tensor in enumerate(tensors):
                tensor.copy_(torch.stack([said[other][k] for other in range(len(shares))]).mean(0))

        try:
            step = WeightStep(modules[rank], nn.CrossEntropyLoss(), WeightSpace(subspace=HybridLowRank(2)), average=average)
            return step.step(*shares[rank]), grads(modules[rank])
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(len(shares)) as threads:
        return list(threads.map(run, range(len(shares))))


def test_processes_average_costs_before_the_transport():
    x, y = classes(40)
    x = x.double()
    ((whole, expected),) = together((x, y))
    (first, found), (second, others) = together((x[:20], y[:20]), (x[20:], y[20:]))
    assert first == second
    assert same(found, others)
    torch.testing.assert_close((first.loss, first.accuracy), (whole.loss, whole.accuracy))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    # The mean of what each displacement would be alone is another one.
    alone = [together((x[part], y[part]))[0][1][0] for part in (slice(20), slice(20, 40))]
    assert not torch.allclose(sum(alone) / 2, expected[0], atol=1e-3)


def test_processes_stop_together():
    x, y = classes(40)
    words = together((x[:20].double() * torch.nan, y[:20]), (x[20:].double(), y[20:]))
    assert words == ["the loss is nan: choose a smaller learning rate, or a loss that is finite"] * 2


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


def test_sinkhorn_couples_the_particles():
    module = classifier()
    transport = Sinkhorn(eps=0.05, max_iterations=5000, tolerance=1e-6)
    WeightStep(module, nn.CrossEntropyLoss(), full(particle_dim=1), transport).step(*classes())
    # Both vertices receive the same mass from all particles, so the displacements of a parameter cancel.
    for p in module.parameters():
        assert abs(p.grad.sum()) < 1e-3 * p.numel()
        assert p.grad.abs().max() > 0.01


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


class Nothing(nn.Module):
    def forward(self, x):
        return x


def with_integer():
    module = classifier()
    module.register_parameter("number", nn.Parameter(torch.ones(3, dtype=torch.int32), requires_grad=False))
    return module


CE = nn.CrossEntropyLoss()
X, Y = classes(8)


def nan_at_candidates():
    """The unprobed loss is finite, that of candidates is not."""
    module = Point(1.0, 1.0)
    return WeightStep(module, lambda x, _: torch.where((x == 1.0).all(), x.sum(), torch.nan), full())


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: WeightStep(Nothing(), CE), "Nothing has no floating-point parameters"),
        (lambda: WeightStep(classifier(), CE, parameters=["body.*"]), r"no parameter is called 'body\.\*': there are 0.weight, 0.bias"),
        (lambda: WeightStep(classifier(), CE, parameters="0.weight"), "give a list"),
        (lambda: WeightStep(classifier(), CE, parameters=[]), "no parameters are chosen"),
        (lambda: WeightStep(with_integer(), CE, parameters=["number"]), "number is torch.int32"),
        (lambda: WeightStep(classifier()), "loss is None"),
        (lambda: WeightStep(classifier(), CE, memory=-1), "memory is -1"),
        (lambda: WeightSpace(redraw_every=0), "redraw_every is 0"),
        (lambda: WeightSpace(blocks="rows"), "blocks is 'rows'"),
        (lambda: WeightSpace(polytope="ball"), "choose one of orthoplex"),
        (lambda: WeightSpace(particle_dim=0), "dimension 0"),
        (lambda: WeightStep(classifier(), CE, WeightSpace(-1.0)).step(X, Y), "positive"),
        (lambda: WeightStep(classifier(), CE, WeightSpace(blocks=[["0.*"]])), "no block holds 2.weight, 2.bias"),
        (lambda: WeightStep(classifier(), CE, WeightSpace(blocks=[["*"], ["5.*"]])), r"the block \['5\.\*'\]"),
        (lambda: WeightStep(classifier(), lambda o, t: o.sum() * torch.nan).step(X, Y), "the loss is nan"),
        (lambda: WeightStep(classifier(), lambda o, t: o).step(X, Y), r"the loss has shape \[8, 3\]"),
        (lambda: nan_at_candidates().step(None), "the loss of 4 of 4 candidates of x is NaN or infinite"),
        (lambda: WeightStep(classifier(), CE).load_state_dict({}), "'steps' is missing"),
        (lambda: WeightStep(classifier(), CE).load_state_dict({"steps": torch.tensor(1), "history.x": X}), "which is not trained here"),
        (lambda: Budget(0), "the budget is 0"),
        (lambda: Budget(1.5), "the budget is 1.5"),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message):
        run()
