"""Small modules of every kind, and batches for them: shared by the tests of weight space."""

import torch
from torch import nn

from polystep_snn.spaces.weight.space import WeightSpace
from polystep_snn.spaces.weight.subspaces import FullSpace


class Staircase(nn.Module):
    elementwise = True

    def forward(self, x):
        return (2 * x).floor() / 2


class OnGrid(nn.Linear):
    """Weights and biases are rounded before they are used."""

    def quantise(self, values):
        return (4 * values).round() / 4

    def forward(self, x):
        return nn.functional.linear(x, self.quantise(self.weight), None if self.bias is None else self.quantise(self.bias))


class Tied(nn.Module):
    """An input and an output layer that share their weights."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 6), nn.Linear(6, 6)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(torch.tanh(self.encode(x)))[:, :3]


class HardAttention(nn.Module):
    """Every sample picks one of its three tokens, by argmax."""

    def __init__(self):
        super().__init__()
        self.score, self.out = nn.Linear(2, 1), nn.Linear(2, 3)

    def forward(self, x):
        tokens = x.view(-1, 3, 2)
        chosen = self.score(tokens).argmax(1, keepdim=True).expand(-1, 1, 2)
        return self.out(tokens.gather(1, chosen).squeeze(1))


class Branching(nn.Module):
    """Python decides on values: nothing that vmap could follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.first(x) if self.first.weight.sum().item() > 0 else self.second(x)


class MyDropout(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 20), nn.Dropout(0.5), nn.Linear(20, 3))

    def forward(self, x):
        return super().forward(x)


def mlp(*middle):
    return nn.Sequential(nn.Linear(6, 5), *middle, nn.Linear(5, 3))


MODULES = {
    "mlp": lambda: mlp(nn.Tanh()),
    "staircase": lambda: mlp(Staircase(), nn.Hardtanh()),
    "in place": lambda: mlp(nn.ReLU(inplace=True)),
    "layer norm": lambda: mlp(nn.LayerNorm(5), nn.GELU()),
    "batch norm": lambda: mlp(nn.BatchNorm1d(5), nn.Tanh()),
    "three layers": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.Sigmoid(), nn.Linear(4, 3)),
    "activation last": lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3), nn.Softplus()),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), nn.Linear(4, 3)),
    "positions": lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2), nn.Flatten(), nn.Linear(6, 3)),
    "convolution": lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
    "quantised": lambda: nn.Sequential(OnGrid(6, 5), nn.Tanh(), OnGrid(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)),
    "quantised positions": lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), OnGrid(2, 4), nn.Flatten(), OnGrid(12, 3)),
    "tied": Tied,
    "hard attention": HardAttention,
    "branching": Branching,
}


WHOLE = {"tied", "hard attention", "branching"}


def make(name):
    torch.manual_seed(0)
    return MODULES[name]().double().requires_grad_(True)


def batch(samples=7):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(samples, 6, dtype=torch.float64, generator=generator), torch.randint(3, (samples,), generator=generator)


class Point(nn.Module):
    """A module that is one vector."""

    def __init__(self, *values):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self):
        return self.x


def full(**options):
    return WeightSpace(subspace=FullSpace(), **{"rotate": False, **options})


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
