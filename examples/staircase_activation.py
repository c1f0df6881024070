"""Train a network whose activation is a staircase, from forward passes alone: 8 x 8 digits, five seconds on one core.

The staircase is flat everywhere, its derivative zero: there is nothing to backpropagate. Writes ``staircase_activation.png``: the
staircase, and how often the trained hidden neurons stand on each of its steps.
"""

import torch
from torch import nn

from polystep_snn import LayerStep, plots
from polystep_snn.datasets import load
from polystep_snn.training.feed import to_tensors


class Staircase(nn.Module):
    """``floor(levels sigmoid(x)) / levels``: as many heights as levels."""

    elementwise = True  # treats every number alike: in weight space a candidate that moves one neuron is evaluated for that neuron alone

    def __init__(self, levels=5):
        super().__init__()
        self.levels = levels

    def forward(self, x):
        return (self.levels * torch.sigmoid(x)).floor() / self.levels


def staircase_mlp(num_inputs=784, num_hidden=64, num_classes=10):
    return nn.Sequential(nn.Linear(num_inputs, num_hidden), Staircase(), nn.Linear(num_hidden, num_classes))


def main():
    torch.manual_seed(0)
    digits = load("digits")
    images, labels = to_tensors(digits.train, torch.device("cpu"))
    network = staircase_mlp(num_inputs=64)
    polystep = LayerStep(network, nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    for epoch in range(15):
        for batch in torch.randperm(len(labels)).split(128):
            result = polystep.step(images[batch], labels[batch])  # forward passes only; fills .grad
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {result.loss:.3f}")

    images, labels = to_tensors(digits.test, torch.device("cpu"))
    with torch.no_grad():
        print(f"test accuracy {(network(images).argmax(1) == labels).double().mean():.2%}")
        heights = network[:2](images).flatten()
    figure = plots.new_figure(7, 2.5)
    left, right = figure.subplots(1, 2)
    x = torch.linspace(-5, 5, 1001)
    left.plot(x, network[1](x), color=plots.BLUE)
    left.set_title("the activation")
    right.hist(heights.tolist(), bins=torch.arange(-0.1, 1.0, 0.2).tolist(), color=plots.BLUE, rwidth=0.8)
    right.set_title("where hidden neurons stand")
    figure.savefig("staircase_activation.png")


if __name__ == "__main__":
    main()
