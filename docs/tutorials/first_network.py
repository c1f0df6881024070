# %% [markdown]
# # A first network
#
# This tutorial trains a spiking network to read digits. It takes ten lines and about ten seconds. The network has hard thresholds, and
# nothing is differentiated: a training step needs forward passes alone.
#
# The digits come with scikit-learn: 1,797 images of 8 x 8 pixels. Nothing is downloaded.

# %%
import torch

from polystep_snn import LIF, DirectCurrent, LIFParameters, PolyStep, SpikingNetwork, plots
from polystep_snn.datasets import load
from polystep_snn.snn.record import record
from polystep_snn.training.feed import to_tensors

digits = load("digits")
images, labels = to_tensors(digits.train, torch.device("cpu"))
print(f"{len(digits.train)} training, {len(digits.validation)} validation and {len(digits.test)} test images")
print(f"images {list(images.shape)} from {images.min():.0f} to {images.max():.0f}, classes {labels.unique().tolist()}")

# %% [markdown]
# ## One neuron
#
# A leaky integrate-and-fire (LIF) neuron adds its input current to its membrane, forgets a fraction of the membrane in every step, and
# fires when the membrane is above its threshold. Then the membrane goes back to zero.
#
# Every neuron here is a function of a current and a state. It returns spikes and the next state. No module hides a state.

# %%
neuron = LIF(LIFParameters.from_beta(0.9, v_th=1.0))  # keeps 0.9 of its membrane from step to step
state, membranes, spikes = None, [], []
for step in range(30):
    current = torch.tensor([0.25 if step < 20 else 0.05])
    z, state = neuron(current, state)
    membranes.append(state.v.item())
    spikes.append(z.item())

figure = plots.new_figure(6, 2.6)
plots.membrane(figure.subplots(), torch.tensor(membranes).numpy(), torch.tensor(spikes).numpy(), 1.0, "A current of 0.25, then of 0.05")
figure.savefig("neuron.png")
print(f"{sum(spikes):.0f} spikes at steps {[k + 1 for k, z in enumerate(spikes) if z]}")

# %% [markdown]
# ![The membrane of a LIF neuron and its spikes](neuron.png)
#
# ## Images become currents
#
# An encoder turns images into T timesteps. `DirectCurrent` gives every pixel as the same current in each step. There are also rate,
# Poisson, latency and population codes; the chip needs one of these, since it takes spikes.
#
# ## The network
#
# `SpikingNetwork([64, 128, 10])` has 64 inputs, 128 LIF neurons and ten readout neurons. The readout neurons integrate and do not fire.
# The largest membrane after the last step is the decision.

# %%
encoder = DirectCurrent(num_steps=15)
network = SpikingNetwork([64, 128, 10], generator=torch.Generator().manual_seed(0))
output, state = network(encoder(images[:4]))
print(f"output {list(output.shape)}, {sum(p.numel() for p in network.parameters()):,} parameters")

# %% [markdown]
# ## Training
#
# A PyTorch user writes `loss.backward()` and `optimizer.step()`. Here `polystep.step(inputs, labels)` takes the place of the backward
# pass. It runs the network forward, probes every neuron, and writes what it found into `.grad`. Any optimizer of `torch.optim` takes it
# from there.

# %%
polystep = PolyStep(network)
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)

for epoch in range(10):
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch))
    for batch in order.split(32)[:-1]:
        result = polystep.step(encoder(images[batch]), labels[batch])
        optimizer.step()
    print(f"epoch {epoch + 1:2d}: loss {result.loss:.3f}, firing rate {result.rates[0].mean():.3f} spikes a step")

# %% [markdown]
# ## The test
#
# Validation images are there to choose settings; test images are looked at once, at the end.

# %%
test_images, test_labels = to_tensors(digits.test, torch.device("cpu"))
output, _ = network(encoder(test_images))
print(f"test accuracy {(output.argmax(1) == test_labels).double().mean():.1%} on {len(test_labels)} images")

# %% [markdown]
# ## A look inside
#
# `record` keeps every spike and every membrane of one sample.

# %%
recording = record(network, encoder(test_images[:1]))
figure = plots.new_figure(9, 3)
left, middle, right = figure.subplots(1, 3)
left.imshow(digits.test.images[0], cmap="Greys")
left.set_axis_off()
plots.raster(middle, recording.spikes[0].numpy(), "Hidden spikes")
plots.decision(right, recording.readout.numpy(), digits.classes, int(test_labels[0]))
figure.savefig("inside.png")

# %% [markdown]
# ![A digit, the spikes of the hidden neurons, and the readout's membranes over time](inside.png)
#
# ## The same from the command line
#
# `polystep-snn train digits --out runs/digits` does all of this with calibrated thresholds, a falling learning rate, averaged weights,
# validation, metrics and checkpoints. Next: [how node space works](node_space.md), or [on to Loihi 2](loihi.md).
