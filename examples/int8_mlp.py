"""Train a multilayer perceptron whose weights are signed bytes, from forward passes alone: 8 x 8 digits, five seconds on one core.

Rounding has no slope, and nothing stands in for a derivative: every image shifts the outputs of the hidden layer in a direction of its own,
and what follows says what that costs. Writes ``int8_mlp.png``: which bytes the two layers use.
"""

import torch
from torch import nn

from polystep_snn import LayerStep, plots
from polystep_snn.datasets import load
from polystep_snn.training.feed import to_tensors

UNIT = 1 / 128  # what a byte counts in


class Int8Linear(nn.Linear):
    """A linear layer that computes with bytes. What is trained are floating-point numbers that are rounded in every forward pass."""

    def quantise(self, values):
        # Number by number: so in weight space a candidate that moves one neuron's weights is evaluated for that neuron alone.
        return (values / UNIT).round().clamp(-128, 127) * UNIT

    def forward(self, x):
        return nn.functional.linear(x, self.quantise(self.weight), self.quantise(self.bias))


def int8_mlp(num_inputs=784, num_hidden=64, num_classes=10):
    return nn.Sequential(Int8Linear(num_inputs, num_hidden), nn.ReLU(), Int8Linear(num_hidden, num_classes))


def main():
    torch.manual_seed(0)
    digits = load("digits")
    images, labels = to_tensors(digits.train, torch.device("cpu"))
    network = int8_mlp(num_inputs=64)
    polystep = LayerStep(network, nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for epoch in range(10):
        for batch in torch.randperm(len(labels)).split(128):
            result = polystep.step(images[batch], labels[batch])  # forward passes only; fills .grad
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {result.loss:.3f}")

    images, labels = to_tensors(digits.test, torch.device("cpu"))
    with torch.no_grad():
        print(f"test accuracy {(network(images).argmax(1) == labels).double().mean():.2%}")
    figure = plots.new_figure(7, 2.5)
    for ax, layer, name in zip(figure.subplots(1, 2), (network[0], network[2]), ("hidden layer", "output layer"), strict=True):
        ax.hist((layer.quantise(layer.weight.detach()) / UNIT).flatten().tolist(), bins=64, range=(-128, 128), color=plots.BLUE)
        ax.set_title(f"bytes of the {name}")
    figure.savefig("int8_mlp.png")


if __name__ == "__main__":
    main()
