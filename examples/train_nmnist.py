"""Train a spiking network on recordings of an event camera, without a backward pass.

    python examples/train_nmnist.py [EPOCHS]

A minute on one core. Needs tonic, and downloads N-MNIST unless $POLYSTEP_SNN_DATA names a folder with it, in
whole or in part. Writes ``nmnist.png``: a recording as pictures and as spikes, the hidden spikes, and the decision over time.
"""

import argparse

import torch

from polystep_snn import NodeSpace, PolyStep, Softmax, SpikingNetwork, plots
from polystep_snn.datasets import Framing, load
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.record import record
from polystep_snn.training.feed import EventFeed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("epochs", type=int, nargs="?", default=15)
arguments = parser.parse_args()

cpu = torch.device("cpu")
nmnist = load("nmnist", framing=Framing(num_steps=30))  # the three saccades in 30 frames of 0 and 1
training = EventFeed(nmnist.train, cpu, Augmentation(shift=2))  # each recording moved by up to 2 pixels, anew in every epoch
testing = EventFeed(nmnist.test, cpu)

network = SpikingNetwork([training.num_inputs, 128, 10], LIFParameters.from_beta(0.9), generator=torch.Generator().manual_seed(0))
# Events change in time: a probe shifts a neuron's current in ten windows of three steps, one by one.
polystep = PolyStep(network, NodeSpace(radius=2.0, num_windows=10), Softmax(eps=3.0))
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.5)

for epoch in range(arguments.epochs):
    for batch in torch.randperm(len(training), generator=torch.Generator().manual_seed(epoch)).split(32)[:-1]:
        frames, labels = training.batch(batch, epoch)  # sparse: where events are, and no dense array
        result = polystep.step(frames, labels)  # forward passes only; fills .grad
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {result.loss:.3f}, firing rate {result.rates[0].mean():.3f} spikes a step")

frames, labels = testing.batch(torch.arange(min(1000, len(testing))))
output, _ = network(frames)
print(f"{nmnist.title}: test accuracy {(output.argmax(1) == labels).double().mean():.2%} on {len(labels)} recordings")

frames, _ = testing.batch(torch.tensor([0]))
recording = record(network, frames)
figure = plots.new_figure(9, 6)
axes = figure.subplot_mosaic("sss;ihr")
plots.event_strip(axes["s"], recording.inputs.numpy().reshape(-1, *nmnist.test.shape), title="Events: ON blue, OFF orange")
plots.raster(axes["i"], recording.inputs.numpy(), "Input spikes", plots.GREY)
plots.raster(axes["h"], recording.spikes[0].numpy(), "Hidden spikes")
plots.decision(axes["r"], recording.readout.numpy(), nmnist.classes, int(labels[0]))
figure.savefig("nmnist.png")
