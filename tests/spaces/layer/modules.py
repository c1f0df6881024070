"""Modules that people bring, made small."""

import torch
from torch import nn

from polystep_snn import LayerStep

LOSS = nn.CrossEntropyLoss(reduction="none")


class Told(LayerStep):
    """Keeps, or is told, the directions."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.drawn, self.given = [], None

    def _signs(self, outputs):
        signs = super()._signs(outputs) if self.given is None else self.given.pop(0)
        self.drawn.append(signs)
        return signs


class Staircase(nn.Module):
    def forward(self, x):
        return (3 * x.sigmoid()).floor() / 3


class Tokens(nn.Module):
    """Several rows a sample."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(4, 5), nn.Linear(15, 3)

    def forward(self, x):
        return self.head(self.embed(x.view(len(x), 3, 4)).relu().flatten(1))


class Counts(nn.Module):
    """Leaky neurons over time, one linear layer called in every step, time first."""

    def __init__(self, steps=4):
        super().__init__()
        self.steps, self.first, self.second = steps, nn.Linear(12, 6), nn.Linear(6, 3)

    def forward(self, x):
        v, total = 0.0, 0.0
        for _ in range(self.steps):
            v = 0.9 * v + self.first(x)
            z = (v > 0.3).to(x.dtype)
            v = v * (1 - z)
            total = total + self.second(z)
        return total


class TimeFirst(nn.Module):
    """All steps at once, time before samples."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(12, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.first(torch.stack([x, x * 0.5, -x])).tanh().sum(0))


class Skips(nn.Module):
    """A layer around another one, and a hard choice: of each half of the second layer's outputs the largest counts, and no other."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.second, self.head = nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = self.first(x).tanh()
        halves = self.second(hidden + self.inner(hidden).tanh()).view(-1, 2, 3)
        return self.head((halves * (halves == halves.amax(-1, keepdim=True))).flatten(1))


def mlp():
    return nn.Sequential(nn.Linear(12, 6), Staircase(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def made(make, seed=0):
    torch.manual_seed(seed)
    return make().double().requires_grad_(False)


def batch(size=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 12, generator=generator, dtype=torch.float64), torch.arange(size) % 3


class Routed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        hidden = self.first(x)
        return self.head(self.second(hidden) if hidden.sum() > 0 else hidden)
