# %% [markdown]
# # Any module
#
# Node space needs a `SpikingNetwork`. Everything else has *layer space*: a module with linear layers, convolutions or embeddings is trained
# as it is. Rounding, argmax, hard routing and loops over time may stand inside. Nothing is differentiated; the module is only called.
#
# `PolyStep(module, loss)` chooses the space. The loss gives one number a sample.

# %%
import importlib.util

import torch
from torch import nn

from polystep_snn import PolyStep, PolyStepES, WeightSpace, WeightStep, plots
from polystep_snn.datasets import load
from polystep_snn.training.feed import to_tensors

digits = load("digits")
images, labels = to_tensors(digits.train, torch.device("cpu"))
test_images, test_labels = to_tensors(digits.test, torch.device("cpu"))


def loss(output, target):
    """Cross-entropy of each sample, ``[B]``."""
    return nn.functional.cross_entropy(output, target, reduction="none")


def train(module, loss, epochs, lr):
    """Test accuracy after each epoch."""
    step = PolyStep(module, loss)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, betas=(0.9, 0.99))
    curve = []
    for epoch in range(epochs):
        for batch in torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch)).split(32)[:-1]:
            step.step(images[batch], labels[batch])
            optimizer.step()
        with torch.no_grad():
            curve.append(float((module(test_images).argmax(1) == test_labels).double().mean()))
    print(f"{type(step).__name__}: {step.evaluations} forward passes a step, test accuracy {curve[-1]:.1%} after {epochs} epochs")
    return curve


# %% [markdown]
# ## A module without a derivative
#
# A hidden layer that rounds to seven levels: its derivative is zero wherever there is one.


# %%
class Staircase(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.second((3 * torch.tanh(self.first(x))).round() / 3)


torch.manual_seed(0)
curves = {"staircase": train(Staircase().requires_grad_(False), loss, 10, 3e-3)}

# %% [markdown]
# ## An snnTorch network as it is
#
# Where snnTorch is installed, this cell builds one of its networks: `Leaky` neurons in a loop over time. Where it is not, the same network
# is written in plain torch.

# %%
NUM_STEPS = 15
if importlib.util.find_spec("snntorch"):
    import snntorch

    print(f"snnTorch {snntorch.__version__}")

    def leaky(reset):
        return snntorch.Leaky(beta=0.95, reset_mechanism=reset)
else:
    print("snntorch is not installed: a plain torch module takes its place (pip install snntorch)")

    class Leaky(nn.Module):
        """What snnTorch's ``Leaky`` computes: a spike takes the threshold from the membrane one step later."""

        def __init__(self, reset):
            super().__init__()
            self.reset = reset

        def forward(self, current, membrane):
            spiked = (membrane > 1.0).to(current) if self.reset == "subtract" else 0.0
            membrane = 0.95 * membrane + current - spiked
            return (membrane > 1.0).to(current), membrane

    leaky = Leaky


class Network(nn.Module):
    """Two linear layers and two populations of leaky neurons; the output's membranes, summed over time."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 10)
        self.hidden, self.output = leaky("subtract"), leaky("none")

    def forward(self, x):
        current, total = self.first(x), 0
        hidden, output = torch.zeros_like(current), torch.zeros(len(x), 10)
        for _ in range(NUM_STEPS):
            spikes, hidden = self.hidden(current, hidden)
            _, output = self.output(self.second(spikes), output)
            total = total + output
        return total


torch.manual_seed(0)
curves["leaky neurons over time"] = train(Network().requires_grad_(False), lambda output, target: loss(0.1 * output, target), 8, 3e-3)

# %%
figure = plots.new_figure(5.4, 3)
ax = figure.subplots()
for (name, curve), color in zip(curves.items(), (plots.BLUE, plots.ORANGE), strict=True):
    ax.plot(range(1, len(curve) + 1), [100 * value for value in curve], color=color, marker=".", label=name)
ax.set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(0, 100))
ax.legend(frameon=False, fontsize=8)
ax.spines[["top", "right"]].set_visible(False)
figure.savefig("modules.png")

# %% [markdown]
# ![Test accuracy over epochs of a staircase network and of leaky neurons over time](modules.png)
#
# ## Weight space and ask/tell
#
# A module without such layers has *weight space*: the weights themselves are probed, many candidates a step. And a function of a vector
# needs no module at all.


# %%
class Polynomial(nn.Module):
    def __init__(self):
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return sum(c * x**k for k, c in enumerate(self.coefficients))


x = torch.linspace(-1, 1, 64)
polynomial = Polynomial().requires_grad_(False)
step = WeightStep(polynomial, lambda output, target: (output - target).square().mean(), WeightSpace(radius=0.1))
optimizer = torch.optim.Adam(polynomial.parameters(), lr=3e-2)
for _ in range(300):
    result = step.step(x, 1 - 2 * x + 0.5 * x**3)
    optimizer.step()
print(f"weight space: coefficients {polynomial.coefficients.numpy().round(2).tolist()}, loss {float(result.loss):.5f}")

search = PolyStepES(torch.zeros(8), seed=0)
for _ in range(200):
    candidates = search.ask()  # [V, 8]
    search.tell((candidates - 3).abs().round().sum(1))  # a cost with plateaus
print(f"ask/tell: {search.mean.numpy().round(1).tolist()}")

# %% [markdown]
# Several spaces work in one model: `HybridStep` probes its spiking networks by their neurons, its layers by their outputs, and what is left
# by its weights. [The benchmarks](../benchmarks/any-module.md) compare all of this with evolution strategies and with the published
# PolyStep.
