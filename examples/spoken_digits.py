"""Train a recurrent spiking network to tell spoken digits, without a backward pass.

    python examples/spoken_digits.py [EPOCHS]

A minute on one core. Downloads the recordings unless $POLYSTEP_SNN_DATA names a folder with them, in whole or in part. Writes
``spoken_digits.png``: the energies of a recording, the spikes of the recurrent neurons, and the decision over time.
"""

import argparse

import torch

from polystep_snn import NodeSpace, PolyStep, Recurrent, SpikingNetwork, plots
from polystep_snn.datasets import load
from polystep_snn.datasets.sequence_augment import SequenceAugmentation
from polystep_snn.datasets.speech_features import SpeechFeatures
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.record import record
from polystep_snn.training.feed import SequenceFeed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("epochs", type=int, nargs="?", default=20)
arguments = parser.parse_args()

cpu = torch.device("cpu")
digits = load("spoken-digits", features=SpeechFeatures(num_steps=40))  # energies of 32 bands in 40 steps of 20 ms
training = SequenceFeed(digits.train, cpu, SequenceAugmentation(time_shift=3, stretch=0.15, pitch=1))
testing = SequenceFeed(digits.test, cpu)

# The neurons of the layer receive each other's spikes one step later.
generator = torch.Generator().manual_seed(0)
network = SpikingNetwork([training.num_inputs, Recurrent(128), 10], LIFParameters.from_beta(0.95, v_th=4.0), generator=generator)
polystep = PolyStep(network, NodeSpace(num_windows=8))  # a probe shifts a neuron's current in one of eight windows of five steps
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.epochs)

for epoch in range(arguments.epochs):
    for batch in torch.randperm(len(training), generator=torch.Generator().manual_seed(epoch)).split(32)[:-1]:
        frames, labels = training.batch(batch, epoch)
        result = polystep.step(frames, labels)  # forward passes only; fills .grad
        optimizer.step()
    schedule.step()
    print(f"epoch {epoch + 1}: loss {result.loss:.3f}, firing rate {result.rates[0].mean():.3f} spikes a step")

frames, labels = testing.batch(torch.arange(len(testing)))
output, _ = network(frames)
print(f"{digits.title}: test accuracy {(output.argmax(1) == labels).double().mean():.2%} on {len(labels)} recordings")

frames, _ = testing.batch(torch.tensor([0]))
recording = record(network, frames)
figure = plots.new_figure(11, 3.2)
axes = figure.subplot_mosaic("ihr")
plots.currents(axes["i"], recording.inputs.numpy(), "Energies of 32 frequency bands")
plots.raster(axes["h"], recording.spikes[0].numpy(), "Spikes of the recurrent neurons")
plots.decision(axes["r"], recording.readout.numpy(), digits.classes, int(labels[0]))
figure.savefig("spoken_digits.png")
