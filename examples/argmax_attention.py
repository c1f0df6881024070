"""Train attention that looks at one place only, from forward passes alone: 8 x 8 digits.

Every patch of an image asks with its query, and takes the value of the patch whose key answers best: an argmax, where a transformer
has a softmax. Writes ``argmax_attention.png``: a digit, and where its patches look.
"""

import torch
from torch import nn

from polystep_snn import LayerStep, plots
from polystep_snn.datasets import load
from polystep_snn.training.feed import to_tensors


class Patches(nn.Module):
    """Square patches of images: of ``[..., side * side]`` makes ``[..., P, size * size + 2]``, the last two numbers the patch's place."""

    def __init__(self, side, size):
        super().__init__()
        self.side, self.size = side, size
        line = torch.linspace(-1, 1, side // size)
        self.places = torch.cartesian_prod(line, line)

    def forward(self, x):
        rows = x.unflatten(-1, (self.side // self.size, self.size, self.side // self.size, self.size))
        patches = rows.transpose(-3, -2).flatten(-2).flatten(-3, -2)
        return torch.cat([patches, self.places.to(x).expand(*patches.shape[:-1], 2)], -1)


class ArgmaxAttention(nn.Module):
    """Adds to each patch's value that of the patch which it attends to: of ``[..., P, 3 d]`` makes ``[..., P d]``."""

    def attended(self, x):
        """The patch that each patch attends to, ``[..., P]``."""
        query, key, _ = x.chunk(3, -1)
        return (query @ key.transpose(-1, -2)).argmax(-1)

    def forward(self, x):
        value = x.chunk(3, -1)[2]
        chosen = self.attended(x)[..., None].expand_as(value)
        return (value + value.gather(-2, chosen)).relu().flatten(-2)


def argmax_attention(side=28, size=7, dim=16, num_classes=10):
    num_patches = (side // size) ** 2
    embed = nn.Linear(size * size + 2, 3 * dim)
    return nn.Sequential(Patches(side, size), embed, ArgmaxAttention(), nn.Linear(num_patches * dim, num_classes))


def main():
    torch.manual_seed(0)
    digits = load("digits")
    images, labels = to_tensors(digits.train, torch.device("cpu"))
    network = argmax_attention(side=8, size=2)
    polystep = LayerStep(network, nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for epoch in range(20):
        for batch in torch.randperm(len(labels)).split(32)[:-1]:
            result = polystep.step(images[batch], labels[batch])  # forward passes only; fills .grad
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {result.loss:.3f}")

    images, labels = to_tensors(digits.test, torch.device("cpu"))
    with torch.no_grad():
        print(f"test accuracy {(network(images).argmax(1) == labels).double().mean():.2%}")
        attended = network[2].attended(network[:2](images[:1]))[0]
    figure = plots.new_figure(3, 3)
    ax = figure.subplots()
    ax.imshow(images[0].view(8, 8), cmap="Greys")
    for patch, other in enumerate(attended.tolist()):
        start, end = ((2 * (p % 4) + 0.5, 2 * (p // 4) + 0.5) for p in (patch, other))
        ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": plots.ORANGE})
    ax.set_axis_off()
    figure.savefig("argmax_attention.png")


if __name__ == "__main__":
    main()
