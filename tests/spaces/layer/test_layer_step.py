"""Layer space against its definition, and what it does with the modules that people bring."""

import itertools

import pytest
import torch
from torch import nn

from polystep_snn import LayerSpace, LayerStep, Schedule, Softmax
from polystep_snn.polystep.budget import Budget
from polystep_snn.polystep.polytope import vertices
from tests.reference import naive_layers
from tests.spaces.layer.modules import LOSS, Counts, Staircase, TimeFirst, Tokens, Told, batch, made, mlp

# What a pass leaves here is not put back: global variables are no state of a module.
SEEN: list = []


@pytest.mark.parametrize("space", [{}, {"dim": 2}, {"polytope": "simplex", "dim": 3}, {"polytope": "cube", "dim": 2}], ids=str)
@pytest.mark.parametrize(("make", "layers"), [(mlp, ["0", "2", "4"]), (Tokens, ["embed", "head"])])
def test_gradients_are_those_of_the_definition(make, layers, space):
    module, (inputs, target) = made(make), batch()
    step = Told(module, LOSS, LayerSpace(radius=0.3, credit=False, **space), Softmax(0.7))
    result = step.step(inputs, target)
    at_output = torch.softmax(module(inputs), 1) - nn.functional.one_hot(target, 3)
    points = vertices(step.space.polytope, step.space.dim)
    directions = dict(zip(layers, step.drawn, strict=False))
    expected = naive_layers.gradients(module, LOSS, layers, inputs, target, directions, step._spread, 0.3, points, 0.7, at_output)
    for name in layers:
        for parameter, found in zip(module.get_submodule(name).parameters(), expected[name], strict=True):
            torch.testing.assert_close(parameter.grad, found, rtol=0, atol=1e-9)
            assert found.abs().max() > 1e-4
    torch.testing.assert_close(result.loss, LOSS(module(inputs), target).mean(), rtol=0, atol=1e-12)


def test_the_estimate_from_costs_has_the_same_mean_over_all_directions_with_and_without_credit():
    """Every direction of three outputs is drawn once: with and without a prediction the mean is the same, to rounding."""
    module, (inputs, target) = made(lambda: nn.Sequential(nn.Linear(12, 3), Staircase(), nn.Linear(3, 3))), batch()
    trained = Told(module, LOSS, LayerSpace(radius=0.3, correction=1.0), Softmax(1e6))
    for seed in range(20):
        trained.step(*batch(40, seed=seed))
    state = trained.state_dict()
    means, spreads = [], []
    for credit in (False, True):
        grads = []
        for signs in itertools.product((-1.0, 1.0), repeat=3):
            step = Told(module, LOSS, LayerSpace(radius=0.3, credit=credit, correction=1.0), Softmax(1e6))
            step.load_state_dict(state)
            step.given = [torch.tensor(signs, dtype=torch.float64).expand(1, len(inputs), 3)]
            step.step(inputs, target)
            grads.append(module[0].weight.grad.clone())
        means.append(torch.stack(grads).mean(0))
        spreads.append(torch.stack(grads).var(0).mean())
    assert step._share.both[0] > 0
    torch.testing.assert_close(means[1], means[0], rtol=0, atol=1e-9)
    assert spreads[1] < 0.8 * spreads[0]


def test_the_head_has_the_slopes_of_backpropagation():
    module, (inputs, target) = made(mlp), batch()
    LayerStep(module, LOSS).step(inputs, target)
    found = module[4].weight.grad.clone(), module[4].bias.grad.clone()
    module.zero_grad()
    module[4].requires_grad_(True)
    LOSS(module(inputs), target).mean().backward()
    torch.testing.assert_close(found, (module[4].weight.grad, module[4].bias.grad), rtol=0, atol=1e-12)


def test_a_loss_of_ones_own_is_asked_for_its_slopes():
    module, (inputs, target) = made(mlp), batch()
    LayerStep(module, LOSS).step(inputs, target)
    expected = module[4].weight.grad.clone()
    LayerStep(module, lambda output, target: LOSS(output, target)).step(inputs, target)
    torch.testing.assert_close(module[4].weight.grad, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("windows", [1, 2, None])
def test_a_layer_that_is_called_in_every_step_of_time(windows):
    """Shifted alike in a window's calls, and pulled back through every call's own input."""
    module, (inputs, target) = made(Counts), batch()
    step = Told(module, LOSS, LayerSpace(radius=0.3, windows=windows, credit=False), Softmax(1e6))
    step.step(inputs, target)
    count = 4 if windows is None else windows
    assert len(step.drawn) == 2 * count
    drawn = {name: [signs[0] for signs in step.drawn if signs.shape[2] == size] for name, size in (("first", 6), ("second", 3))}

    def cost(sign):
        called = dict.fromkeys(drawn, 0)

        def hook(name):
            def shift(layer, given, out):
                window = called[name] * count // 4
                called[name] += 1
                return out + sign * 0.3 * step._spread[name] * drawn[name][window]

            return shift

        handles = [module.get_submodule(name).register_forward_hook(hook(name)) for name in drawn]
        found = LOSS(module(inputs), target)
        for handle in handles:
            handle.remove()
        return found

    along = ((cost(1.0) - cost(-1.0)) / 2)[:, None]
    # The first layer's input is the same in all calls.
    slopes = sum(along * u / (0.3 * step._spread["first"]) for u in drawn["first"])
    torch.testing.assert_close(module.first.weight.grad, slopes.T @ inputs / len(inputs), rtol=0, atol=1e-6)
    assert module.first.weight.grad.abs().max() > 1e-4


def test_a_layer_that_is_called_again_as_the_head_is_probed_in_its_other_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x).relu())

    module, (inputs, target) = made(Twice), batch(60)
    step = Told(module, LOSS, LayerSpace(radius=0.3), Softmax(1e6))
    for _ in range(2):
        step.step(inputs[:, :3], target)
    # The head moves with the other call's outputs: what lies between is rectified.
    assert step._consumers == {"layer": [1]}
    assert step._credit["layer"].partners.tolist() == [0, 1, 2]


def test_passes_that_look_at_another_number_of_calls_are_counted():
    class Longer(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head, self.count = nn.Linear(12, 6), nn.Linear(6, 3), 1

        def forward(self, x):
            return self.head(sum(self.layer(x) for _ in range(self.count)))

    module, (inputs, target) = made(Longer), batch()
    budget = Budget(100)
    step = LayerStep(module, LOSS, budget=budget)
    spent = []
    for count in (1, 1, 2, 2):
        module.count = count
        step.step(inputs, target)
        spent.append(budget.spent)
    # Beside three a step: which sample is which, who consumes, what is reached; it is reached twice before it is enough.
    assert spent == [6, 10, 15, 18]


def test_samples_are_found_behind_time():
    module, (inputs, target) = made(TimeFirst), batch()
    step = Told(module, LOSS, LayerSpace(radius=0.1, credit=False), Softmax(1e6))
    step.step(inputs, target)
    assert [layout.minor for layout in step._layouts] == [True, False]
    assert step.drawn[0].shape == (1, 7, 18)
    along = []
    for sign in (1, -1):
        shift = sign * 0.1 * step._spread["first"] * step.drawn[0][0].view(7, 3, 6).transpose(0, 1)
        handle = module.first.register_forward_hook(lambda layer, given, out, shift=shift: out + shift)
        along.append(LOSS(module(inputs), target))
        handle.remove()
    slopes = ((along[0] - along[1]) / 2)[None, :, None] * step.drawn[0][0].view(7, 3, 6).transpose(0, 1) / (0.1 * step._spread["first"])
    given = torch.stack([inputs, inputs * 0.5, -inputs])
    torch.testing.assert_close(module.first.weight.grad, torch.einsum("tbn,tbm->nm", slopes, given) / 7, rtol=0, atol=1e-6)


def test_convolutions_and_embeddings_are_probed():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.conv, self.head = nn.Embedding(9, 4), nn.Conv1d(4, 3, 2), nn.Linear(12, 3)

        def forward(self, x):
            return self.head(self.conv(self.embed(x).transpose(1, 2)).relu().flatten(1))

    module, target = made(Words), torch.arange(30) % 3
    words = (target[:, None] * 3 + torch.arange(5)) % 9
    step = LayerStep(module, LOSS, LayerSpace(radius=0.05))
    assert list(step.layers) == ["embed", "conv", "head"]
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-2)
    losses = []
    for _ in range(150):
        losses.append(float(step.step(words, target).loss))
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_dropout_is_the_same_for_all_vertices_and_buffers_advance_once():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.drop, self.head = nn.Linear(12, 6), nn.Dropout(0.5), nn.Linear(6, 3)
            self.register_buffer("passes", torch.zeros(()))
            self.masks = []

        def forward(self, x):
            self.passes += 1
            hidden = self.drop(self.first(x))
            return self.head(hidden)

    module, (inputs, target) = made(Noisy), batch()
    SEEN.clear()
    module.drop.register_forward_hook(lambda layer, given, out: SEEN.append(out == 0))
    LayerStep(module, LOSS, LayerSpace(radius=1e-3)).step(inputs, target)
    assert module.passes == 1
    # The unprobed pass, the one that looks which sample is which, who consumes, what is reached, and two vertices.
    assert len(SEEN) == 6
    assert all(torch.equal(SEEN[0], mask) for mask in SEEN[2:])
    assert 0 < SEEN[0].double().mean() < 1


def test_a_first_layer_that_is_called_once_runs_in_the_unprobed_pass_alone():
    runs = []

    class Counted(nn.Linear):
        def forward(self, x):
            runs.append(1)
            return super().forward(x)

    module, (inputs, target) = made(lambda: nn.Sequential(Counted(12, 6), nn.Tanh(), nn.Linear(6, 3))), batch()
    step = LayerStep(module, LOSS)
    step.step(inputs, target)
    # The first step has looked which sample is which, who consumes, and what is reached.
    assert len(runs) == 4
    step.step(inputs, target)
    assert len(runs) == 6
    step.step(inputs, target)
    assert len(runs) == 7
    assert "forward" not in vars(module[0])


def test_resuming_goes_on_to_the_bit():
    first, second = made(mlp), made(mlp)
    steps = [LayerStep(module, LOSS, LayerSpace(radius=Schedule(0.3, 0.1)), seed=4) for module in (first, second)]
    for k in range(6):
        steps[0].step(*batch(seed=k), k / 6)
        if k == 2:
            state = {name: x.clone() for name, x in steps[0].state_dict().items()}
    steps[1].load_state_dict(state)
    for k in range(3, 6):
        steps[1].step(*batch(seed=k), k / 6)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.slow
def test_a_staircase_is_learnt():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 12, generator=generator)
    target = torch.arange(600) % 3
    inputs = means[target] + 0.7 * torch.randn(600, 12, generator=generator)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(12, 32), Staircase(), nn.Linear(32, 3)).requires_grad_(False)
    step, optimizer = LayerStep(module, LOSS, LayerSpace(radius=0.2)), torch.optim.Adam(module.parameters(), lr=1e-2)
    for k in range(200):
        some = torch.arange(60) + 60 * (k % 10)
        step.step(inputs[some], target[some])
        optimizer.step()
    assert (module(inputs).argmax(1) == target).double().mean() > 0.97
