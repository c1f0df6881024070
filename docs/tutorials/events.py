# %% [markdown]
# # Events
#
# An event camera reports changes: at this time, in this pixel, brighter or darker. This tutorial trains a network to tell in which of four
# directions an edge moves. A single frame does not show that: the network must use time.
#
# The recordings are made here, so the page needs no data. `polystep-snn train nmnist` does the same with recordings of a real sensor;
# tonic reads them.

# %%
import numpy as np
import torch

from polystep_snn import LIFParameters, NodeSpace, PolyStep, Softmax, SpikingNetwork, plots
from polystep_snn.datasets import Dataset, Framing
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.framing import check_events
from polystep_snn.snn.record import record
from polystep_snn.training.feed import EventFeed

SIZE, LENGTH_US = 12, 60_000
SENSOR = (SIZE, SIZE, 2)  # width, height, polarities: as tonic's sensor_size
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])  # tonic's fields; t in µs
CLASSES = ("right", "left", "down", "up")


def recording(label, random):
    """An edge that crosses the sensor, with jitter and with events of noise."""
    place = np.arange(SIZE)
    start = random.integers(0, 10_000)
    crossing = start + (place + 0.5) * random.uniform(2_500, 4_000)
    if label in (1, 3):
        crossing = crossing[::-1]
    along, across = np.repeat(place, SIZE), np.tile(place, SIZE)
    t = crossing[along] + random.normal(0, 800, len(along))
    x, y = (along, across) if label in (0, 1) else (across, along)
    kept = random.random(len(t)) < 0.6
    noise = 40
    events = np.zeros(kept.sum() + noise, EVENT)
    events["x"] = np.concatenate([x[kept], random.integers(0, SIZE, noise)])
    events["y"] = np.concatenate([y[kept], random.integers(0, SIZE, noise)])
    events["t"] = np.concatenate([t[kept], random.uniform(0, LENGTH_US, noise)]).clip(0, LENGTH_US - 1)
    events["p"] = np.concatenate([np.ones(kept.sum()), random.integers(0, 2, noise)])
    return events[np.argsort(events["t"], kind="stable")]


random = np.random.default_rng(0)
labels = np.arange(800) % 4
recordings = [recording(label, random) for label in labels]
print(f"{len(recordings)} recordings, {np.mean([len(r) for r in recordings]):.0f} events each on average")

# %% [markdown]
# ## From events to timesteps
#
# `Framing` says how time becomes steps: here 20 steps of 3 ms. Frames stay sparse. A recording is a list of steps and places, and dense
# arrays `[T, B, N]` are never made while it trains.

# %%
framing = Framing(num_steps=20, window_us=LENGTH_US)
for number, events in enumerate(recordings):
    check_events(events, SENSOR, f"recording {number}")
framed = [framing.frame(events, SENSOR, f"recording {number}") for number, events in enumerate(recordings)]
ends = np.cumsum([len(f.steps) for f in framed])
samples = EventSamples(
    labels,
    np.concatenate([f.steps for f in framed]),
    np.concatenate([f.channels for f in framed]),
    np.concatenate([[0], ends[:-1]]),
    ends,
    np.arange(len(labels)),
    framing.num_steps,
    framing.shape(SENSOR),
)
order = np.random.default_rng(1).permutation(len(labels))
edges = Dataset("edges", samples.take(order[:500]), samples.take(order[500:600]), samples.take(order[600:]), 4, CLASSES)
share = samples.frames(np.arange(100)).mean()
print(f"a frame has {samples.num_channels} values, of which {share:.1%} are on")

# %% [markdown]
# ## Training
#
# Events change in time, so a probe shifts a neuron's current in one of five windows of four steps. Each window has its own credit.

# %%
cpu = torch.device("cpu")
training, testing = EventFeed(edges.train, cpu), EventFeed(edges.test, cpu)
network = SpikingNetwork([training.num_inputs, 64, 4], LIFParameters.from_beta(0.9), generator=torch.Generator().manual_seed(0))
polystep = PolyStep(network, NodeSpace(radius=2.0, num_windows=5), Softmax(eps=3.0))
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.5)
for epoch in range(12):
    for batch in torch.randperm(len(training), generator=torch.Generator().manual_seed(epoch)).split(25):
        frames, y = training.batch(batch, epoch)
        result = polystep.step(frames, y)
        optimizer.step()
    if epoch % 3 == 2:
        print(f"epoch {epoch + 1}: loss {result.loss:.3f}, firing rate {result.rates[0].mean():.3f} spikes a step")

frames, y = testing.batch(torch.arange(len(testing)))
output, _ = network(frames)
print(f"test accuracy {(output.argmax(1) == y).double().mean():.1%} on {len(y)} recordings")

# %%
frames, y = testing.batch(torch.tensor([0]))
seen = record(network, frames)
figure = plots.new_figure(9, 5)
axes = figure.subplot_mosaic("sss;ihr")
plots.event_strip(axes["s"], seen.inputs.numpy().reshape(-1, *edges.test.shape), title=f"An edge that moves {CLASSES[int(y[0])]}")
plots.raster(axes["i"], seen.inputs.numpy(), "Input spikes", plots.GREY)
plots.raster(axes["h"], seen.spikes[0].numpy(), "Hidden spikes")
plots.decision(axes["r"], seen.readout.numpy(), CLASSES, int(y[0]))
figure.savefig("events.png")

# %% [markdown]
# ![A recording as pictures and as spikes, the hidden spikes, and the decision over time](events.png)
#
# ## Real recordings
#
# ```
# polystep-snn train nmnist --out runs/events            # downloaded, or read from $POLYSTEP_SNN_DATA
# polystep-snn train nmnist --out runs/chip --neuron loihi
# ```
#
# [The benchmarks on events](../benchmarks/events.md) say what this reaches, beside backpropagation through time.
# [tonic](../interoperation/tonic.md) shows how recordings of other sensors come in.
