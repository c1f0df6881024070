"""Train a hard mixture of experts from forward passes alone: digits and inverted digits, 20 classes; seven seconds on one core.

A gate sends every image to one of four experts, by argmax: there is no slope that could tell the gate what another expert would have
said. Writes ``mixture_of_experts.png``: which expert the classes go to.
"""

import torch
from torch import nn

from polystep_snn import LayerStep, plots
from polystep_snn.datasets import load
from polystep_snn.training.feed import to_tensors


class TopExpert(nn.Module):
    """Keeps the hidden neurons of the expert with the largest gate and silences all others.

    Of ``[..., E + E H]``, the gates first, then the hidden neurons of one expert after the other, makes ``[..., E H]``.
    """

    def __init__(self, num_experts):
        super().__init__()
        self.num_experts = num_experts

    def forward(self, x):
        gates, hidden = x[..., : self.num_experts], x[..., self.num_experts :].unflatten(-1, (self.num_experts, -1))
        chosen = torch.arange(self.num_experts, device=x.device) == gates.argmax(-1, keepdim=True)
        return (hidden.relu() * chosen[..., None]).flatten(-2)


def mixture_of_experts(num_inputs=784, num_experts=4, num_hidden=24, num_classes=20):
    """One linear layer holds the gate and all experts' first layers, another one all their second layers."""
    first = nn.Linear(num_inputs, num_experts + num_experts * num_hidden)
    return nn.Sequential(first, TopExpert(num_experts), nn.Linear(num_experts * num_hidden, num_classes))


def with_inverted(images, labels, num_classes=10):
    """The images ``[n, N]`` and, as classes of their own, the same with dark and bright exchanged: ``[2 n, N]`` and ``[2 n]``."""
    return torch.cat([images, 1 - images]), torch.cat([labels, labels + num_classes])


def main():
    torch.manual_seed(0)
    digits = load("digits")
    images, labels = with_inverted(*to_tensors(digits.train, torch.device("cpu")))
    network = mixture_of_experts(num_inputs=64)
    polystep = LayerStep(network, nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for epoch in range(3):
        for batch in torch.randperm(len(labels)).split(32):
            result = polystep.step(images[batch], labels[batch])  # forward passes only; fills .grad
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {result.loss:.3f}")

    images, labels = with_inverted(*to_tensors(digits.test, torch.device("cpu")))
    with torch.no_grad():
        print(f"test accuracy {(network(images).argmax(1) == labels).double().mean():.2%}")
        expert = network[0](images)[:, :4].argmax(1)
    shares = torch.stack([torch.bincount(expert[labels == c], minlength=4) / (labels == c).sum() for c in range(20)])
    figure = plots.new_figure(6, 2.2)
    ax = figure.subplots()
    ax.imshow(shares.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set(
        title="share of each class that an expert gets",
        xlabel="class (from 10: inverted)",
        ylabel="expert",
        xticks=range(0, 20, 2),
        yticks=range(4),
    )
    figure.savefig("mixture_of_experts.png")


if __name__ == "__main__":
    main()
