# %% [markdown]
# # Time: recurrence and delays
#
# Some tasks need memory. In this one a network receives two short pulses, and the class is the gap between them. A neuron that only leaks
# has forgotten the first pulse when the second one comes. Two kinds of layers remember:
#
# * `Recurrent(64)`: its neurons receive each other's spikes one step later.
# * `Delayed(64, 16)`: the spikes that it sends arrive up to 16 steps later, those of each neuron by a delay of its own.
#
# Both are trained in one forward pass, and memory does not grow with the number of steps.

# %%
import os
from pathlib import Path

import numpy as np
import torch

from polystep_snn import Delayed, LIFParameters, NodeSpace, PolyStep, Recurrent, SpikingNetwork, plots
from polystep_snn.datasets import Sequences, load
from polystep_snn.snn.record import record
from polystep_snn.training.feed import SequenceFeed

T, NUM_INPUTS, GAPS = 24, 8, (3, 8, 13)


def pulses(count, seed):
    """Sequences ``[n, T, 8]`` of two pulses each, and which of three gaps lies between them."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(GAPS)
    values = 0.15 * random.random((count, T, NUM_INPUTS)).astype(np.float32)
    for k, label in enumerate(labels):
        first = random.integers(0, T - max(GAPS) - 1)
        for at in (first, first + GAPS[label]):
            values[k, at] += random.uniform(0.7, 1.0, NUM_INPUTS)
    return Sequences(values, labels)


cpu = torch.device("cpu")
training, testing = SequenceFeed(pulses(900, 0), cpu), SequenceFeed(pulses(300, 1), cpu)


def train(layers, epochs=15):
    """A network with the given hidden layers; its test accuracy."""
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([NUM_INPUTS, *layers, len(GAPS)], LIFParameters.from_beta(0.7), generator=generator)
    polystep = PolyStep(network, NodeSpace(radius=0.6, num_windows=8))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        for batch in torch.randperm(len(training), generator=torch.Generator().manual_seed(epoch)).split(30):
            polystep.step(*training.batch(batch, epoch))
            optimizer.step()
        schedule.step()
    frames, labels = testing.batch(torch.arange(len(testing)))
    return network, float((network(frames)[0].argmax(1) == labels).double().mean())


networks = {}
for name, layers in {"leaky": [64], "recurrent": [Recurrent(64)], "delayed": [Delayed(64, 16), 64]}.items():
    networks[name], accuracy = train(layers)
    print(f"{name:9s} {networks[name].sizes}: test accuracy {accuracy:.1%}")

# %%
frames, labels = testing.batch(torch.tensor([1]))
inside = record(networks["recurrent"], frames)
figure = plots.new_figure(9, 3)
left, middle, right = figure.subplots(1, 3)
plots.currents(left, inside.inputs.numpy(), f"Two pulses, {GAPS[int(labels[0])]} steps apart")
plots.raster(middle, inside.spikes[0].numpy(), "Recurrent neurons")
plots.decision(right, inside.readout.numpy(), [f"{gap} steps" for gap in GAPS], int(labels[0]))
figure.savefig("pulses.png")

# %% [markdown]
# ![Two pulses, the spikes of the recurrent neurons, and the decision over time](pulses.png)
#
# ## How a spike that comes back is priced
#
# A changed spike reaches the whole layer one step later, so it cannot be followed exactly. A probe shifts a neuron's current in one window
# of time. What a changed spike does in a later window is priced by the slopes that the layer's own probes have found there, the last
# window first. That is an approximation. [The method](../method/index.md) says how good it is, and
# [the benchmarks](../benchmarks/time.md) compare it with backpropagation through time.
#
# ## Delays that learn
#
# `Delayed(64, 16, learned=True)` moves delays too, by the price of spikes that arrive a step later or earlier.
#
# ## Speech
#
# With the recordings of the Free Spoken Digit Dataset in `$POLYSTEP_SNN_DATA` this page trains on them. Without them it says so.

# %%
if (Path(os.environ.get("POLYSTEP_SNN_DATA", "")) / "FSDD").is_dir():
    digits = load("spoken-digits")
    spoken, unheard = SequenceFeed(digits.train, cpu), SequenceFeed(digits.test, cpu)
    network = SpikingNetwork([32, Recurrent(64), 10], LIFParameters.from_beta(0.95, v_th=4.0), generator=torch.Generator().manual_seed(0))
    polystep = PolyStep(network, NodeSpace(num_windows=8))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.05)
    for epoch in range(3):
        for batch in torch.randperm(len(spoken), generator=torch.Generator().manual_seed(epoch)).split(32)[:-1]:
            result = polystep.step(*spoken.batch(batch, epoch))
            optimizer.step()
    frames, labels = unheard.batch(torch.arange(len(unheard)))
    print(f"{digits.title}: test accuracy {(network(frames)[0].argmax(1) == labels).double().mean():.1%} after 3 epochs")
else:
    print("$POLYSTEP_SNN_DATA is not set, or has no folder FSDD: no recordings here")

# %% [markdown]
# From the command line:
#
# ```
# polystep-snn train spoken-digits --hidden 128r --out runs/spoken            # recurrent
# polystep-snn train spoken-digits --hidden 128d16 128 --out runs/delayed     # delays of 0 to 16 steps, drawn at random
# polystep-snn train mnist --encoder rows --hidden 128r --out runs/rows       # a row of pixels a step
# ```
