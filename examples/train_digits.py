"""Train a spiking network on 8 x 8 digits without a backward pass, in ten lines.

Half a minute on one core. Writes ``digits.png``: a digit, the hidden spikes, and the decision over time.
"""

import torch

from polystep_snn import DirectCurrent, PolyStep, SpikingNetwork, plots
from polystep_snn.datasets import load
from polystep_snn.snn.record import record
from polystep_snn.training.feed import to_tensors

digits = load("digits")
images, labels = to_tensors(digits.train, torch.device("cpu"))

encoder = DirectCurrent(num_steps=15)  # the pixels as constant currents
network = SpikingNetwork([64, 128, 10], generator=torch.Generator().manual_seed(0))
polystep = PolyStep(network)
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)

for epoch in range(10):
    for batch in torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch)).split(32)[:-1]:
        result = polystep.step(encoder(images[batch]), labels[batch])  # forward passes only; fills .grad
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {result.loss:.3f}, firing rate {result.rates[0].mean():.3f} spikes a step")

images, labels = to_tensors(digits.test, torch.device("cpu"))
output, _ = network(encoder(images))
print(f"test accuracy {(output.argmax(1) == labels).double().mean():.2%}")

recording = record(network, encoder(images[:1]))
figure = plots.new_figure(9, 3)
left, middle, right = figure.subplots(1, 3)
left.imshow(digits.test.images[0], cmap="Greys")
left.set_axis_off()
plots.raster(middle, recording.spikes[0].numpy(), "Hidden spikes")
plots.decision(right, recording.readout.numpy(), digits.classes, int(labels[0]))
figure.savefig("digits.png")
