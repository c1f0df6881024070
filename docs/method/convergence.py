# %% [markdown]
# # Convergence and queries
#
# How many forward passes does each way of probing need? This page counts them on a problem that can be drawn: two classes in the plane that
# lie on the arms of two spirals. The network is spiking, 2-32-2, with hard thresholds.
#
# Four methods train it from the same weights:
#
# * node space: every neuron in every sample is a particle; one pass over time a step
# * layer space: every sample is a particle; three passes a step
# * weight space: groups of weights are particles; one pass a candidate
# * backpropagation through time with a surrogate gradient: one forward and one backward pass a step

# %%
import math

import numpy as np
import torch

from polystep_snn import CrossEntropy, DirectCurrent, LayerStep, LIFParameters, NodeSpace, NodeStep, SpikingNetwork, WeightStep, plots
from polystep_snn.baselines.bptt import SurrogateBPTT

T = 12
random = torch.Generator().manual_seed(0)


def spirals(count):
    """Points ``[n, 2]`` of two arms, and the arm of each."""
    label = torch.arange(count) % 2
    turn = 1.4 * math.pi * torch.rand(count, generator=random)
    angle = turn + math.pi * label
    points = (0.3 + 0.22 * turn)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return points + 0.04 * torch.randn(count, 2, generator=random), label


inputs, labels = spirals(256)
test_inputs, test_labels = spirals(500)
encoder = DirectCurrent(T)


class Logits(torch.nn.Module):
    """The network for methods that take any module: from points to logits ``[B, 2]``."""

    def __init__(self, network):
        super().__init__()
        self.first, self.second, self.neuron = network.linears[0], network.linears[1], network.neurons[0]

    def forward(self, x):
        current, state, total = self.first(x), self.neuron.initial_state(self.first(x)), 0
        for _ in range(T):
            z, state = self.neuron.step(current, state)
            total = total + self.second(z)
        return total


def cost(output, target):
    """Cross-entropy of each sample, as node space has it by default: 7.5 nats for a spike a step."""
    return torch.nn.functional.cross_entropy(7.5 / T * output, target, reduction="none")


def made():
    """The same initial network for every method."""
    return SpikingNetwork([2, 32, 2], LIFParameters.from_beta(0.9), generator=torch.Generator().manual_seed(0))


def train(name, steps, lr):
    """Test accuracy against forward passes, and the network."""
    network = made()
    if name == "node space":
        method, given = NodeStep(network, NodeSpace(radius=0.6)), encoder(inputs)
    elif name == "layer space":
        method, given = LayerStep(Logits(network), cost), inputs
    elif name == "weight space":
        method, given = WeightStep(network, CrossEntropy(7.5 / T)), encoder(inputs)
    else:
        method, given = SurrogateBPTT(network, compile=False), encoder(inputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    passes, curve = 0, []
    for k in range(steps):
        passes += method.evaluations
        method.step(given, labels, k / steps)
        optimizer.step()
        with torch.no_grad():
            right = network(encoder(test_inputs))[0].argmax(1) == test_labels
        curve.append((passes, float(right.double().mean())))
    return np.array(curve), network


results = {
    name: train(name, steps, lr)
    for name, steps, lr in (("node space", 80, 3e-2), ("layer space", 80, 3e-2), ("weight space", 16, 8e-2), ("BPTT", 80, 3e-2))
}
for name, (curve, _) in results.items():
    there = curve[curve[:, 1] >= 0.9]
    when = f"90 % after {int(there[0, 0]):,} forward passes" if len(there) else "90 % not reached"
    print(f"{name:13s} {int(curve[-1, 0]):6,} passes, test accuracy {curve[-1, 1]:.1%}; {when}")

# %%
figure = plots.new_figure(9, 3.6)
left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
axis = torch.linspace(-1.5, 1.5, 150)
grid = torch.cartesian_prod(axis, axis)[:, [1, 0]]
with torch.no_grad():
    output = results["node space"][1](encoder(grid))[0]
left.imshow((output[:, 1] - output[:, 0]).reshape(150, 150), origin="lower", extent=(-1.5, 1.5, -1.5, 1.5), cmap="PuOr", vmin=-6, vmax=6)
for label, color in ((0, plots.ORANGE), (1, plots.BLUE)):
    left.plot(*inputs[labels == label].T, ".", color=color, markersize=5, markeredgecolor="white", markeredgewidth=0.4)
left.set(title="What node space learned", xticks=[], yticks=[])
colors = (plots.BLUE, "#2f855a", plots.GREY, plots.ORANGE)
for (name, (curve, _)), color in zip(results.items(), colors, strict=True):
    right.semilogx(curve[:, 0], 100 * curve[:, 1], color=color, label=name)
right.set(xlabel="forward passes of the batch", ylabel="test accuracy (%)", title="Queries")
right.legend(frameon=False, fontsize=8)
right.spines[["top", "right"]].set_visible(False)
figure.savefig("queries.png")

# %% [markdown]
# ![Left: the classes and the readout of the trained network. Right: test accuracy against forward passes](queries.png)
#
# A forward pass of node space carries all probes, so it does more work than a plain one. BPTT's backward passes are not counted. These are
# single runs with one learning rate, chosen for none of them: they show what is counted, and prove no ranking.
#
# ## Steps that get smaller
#
# The displacement does not vanish at a minimum as a gradient does: where probes still differ, it points somewhere. So a run ends with a
# learning rate that falls to zero. `Schedule` lets radius and `eps` fall too. The averaged weights that `train` evaluates do the rest.
