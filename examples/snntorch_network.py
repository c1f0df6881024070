"""Train an snnTorch network as it is, from forward passes alone.

    python examples/snntorch_network.py [mnist|digits] [EPOCHS]

MNIST where $POLYSTEP_SNN_DATA is set, a minute and a half on one core; else 8 x 8 digits, five seconds. Needs snntorch. Neurons fire at
hard thresholds, and no surrogate gradient is used: the module is only called. Writes ``snntorch_network.png``: hidden spikes, and the
output's membranes over time.
"""

import argparse
import importlib.util
import os

import torch
from torch import nn

from polystep_snn import PolyStep, plots
from polystep_snn.datasets import load
from polystep_snn.training.feed import to_tensors


def snntorch_network(num_inputs, num_hidden=128, num_classes=10, num_steps=15):
    """Two linear layers and two populations of leaky neurons; of images ``[B, N]`` makes the output's membranes, summed over time."""
    import snntorch

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(num_inputs, num_hidden), nn.Linear(num_hidden, num_classes)
            self.hidden = snntorch.Leaky(beta=0.95)
            self.output = snntorch.Leaky(beta=0.95, reset_mechanism="none")

        def forward(self, x):
            current, total = self.first(x), 0
            hidden, output = self.hidden.init_leaky(), self.output.init_leaky()
            for _ in range(num_steps):
                spikes, hidden = self.hidden(current, hidden)
                _, output = self.output(self.second(spikes), output)
                total = total + output
            return total

    return Network()


def cost(output, target):
    """Cross-entropy of each sample, ``[B]``. Sums over 15 steps are large: a tenth of them."""
    return nn.functional.cross_entropy(0.1 * output, target, reduction="none")


@torch.no_grad()
def accuracy(network, samples):
    """The share of right decisions."""
    images, labels = to_tensors(samples, torch.device("cpu"))
    return sum(int((network(x).argmax(1) == y).sum()) for x, y in zip(images.split(1000), labels.split(1000), strict=True)) / len(labels)


def train(network, dataset, epochs):
    """One line an epoch."""
    images, labels = to_tensors(dataset.train, torch.device("cpu"))
    polystep = PolyStep(network, cost)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0.3)
    size = 128 if len(labels) > 10_000 else 32
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(labels) // size))
    for epoch in range(epochs):
        for batch in torch.randperm(len(labels)).split(size)[: len(labels) // size]:
            result = polystep.step(images[batch], labels[batch])  # forward passes only; fills .grad
            optimizer.step()
            rates.step()
        print(f"epoch {epoch + 1}: loss {result.loss:.3f}, validation accuracy {accuracy(network, dataset.validation):.2%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = "mnist" if os.environ.get("POLYSTEP_SNN_DATA") else "digits"
    parser.add_argument("data", nargs="?", choices=("mnist", "digits"), default=there)
    parser.add_argument("epochs", nargs="?", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"epochs is {arguments.epochs}: choose at least 1")
    if not importlib.util.find_spec("snntorch"):
        parser.error("snntorch is not installed: pip install snntorch")

    torch.manual_seed(0)
    dataset = load(arguments.data)
    images, labels = to_tensors(dataset.train, torch.device("cpu"))
    network = snntorch_network(images.shape[1])
    train(network, dataset, arguments.epochs)
    print(f"{dataset.name}: test accuracy {accuracy(network, dataset.test):.2%}")

    seen = {"hidden": [], "output": []}
    for name, found in seen.items():
        place = 0 if name == "hidden" else 1  # spikes, or membranes
        getattr(network, name).register_forward_hook(lambda layer, given, out, found=found, place=place: found.append(out[place]))
    with torch.no_grad():
        network(images[:1])
    figure = plots.new_figure(7, 3)
    left, right = figure.subplots(1, 2)
    plots.raster(left, torch.stack(seen["hidden"])[:, 0].numpy(), "Hidden spikes")
    plots.decision(right, torch.stack(seen["output"])[:, 0].numpy(), dataset.classes, int(labels[0]))
    figure.savefig("snntorch_network.png")


if __name__ == "__main__":
    main()
