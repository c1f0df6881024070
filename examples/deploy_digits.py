"""From training to Loihi 2: 8 x 8 digits on the chip's integer neurons, every spike compared where they run, in ten lines.

A minute on one core. Runs in Lava where ``make lava-env`` has installed it or ``$POLYSTEP_SNN_LAVA_PYTHON`` names its
Python, else in the bit-exact simulator, and says which. Writes ``deployed.png`` and ``digits.safetensors``, the network as integers.
"""

import tempfile
from pathlib import Path

from polystep_snn import TrainConfig, Trainer, plots
from polystep_snn.convert import record_registers
from polystep_snn.datasets import load
from polystep_snn.hardware import network_file
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.chip import preflight
from polystep_snn.training.deploy import deploy, encoded_test_set, verify
from polystep_snn.training.run_folder import open_run

digits = load("digits")
config = TrainConfig("digits", neuron="loihi", weight_bits=8, encoder="rate", num_steps=16, batch_size=32, epochs=10)
with tempfile.TemporaryDirectory() as folder:
    summary = Trainer(config, folder, digits).fit()  # int8 weights and the chip's rounding in every forward pass
    run = open_run(Path(folder))

network, integers, _ = deploy(run)  # nothing is rounded here: they are the same numbers
network_file.save(Path("digits.safetensors"), integers)
print(preflight(integers).table())
with open_backend("auto", integers) as backend:  # Lava, or the simulator
    print(f"running on {backend.reason}")
    found = verify(run, network, backend, limit=100)
    print(f"torch {summary['test_accuracy']:.2%}; {found.spikes_compared:,} spikes compared, {found.differences} differences")
    spikes, labels = next(encoded_test_set(run, limit=1))
    on_backend = backend.record(spikes.numpy())

in_torch, last = record_registers(network.layers(), spikes)[0], on_backend.layers[-1]
figure = plots.new_figure(9, 6)
(left, right), (picture, readout) = figure.subplots(2, 2)
plots.raster(left, in_torch.z[:, 0], "Hidden spikes in torch")
plots.raster(right, on_backend.layers[0].z[:, 0], f"Hidden spikes on {backend.name}", plots.ORANGE)
picture.imshow(digits.test.images[0], cmap="Greys")
picture.set_axis_off()
plots.decision(readout, last.v[:, 0], digits.classes, int(labels[0]), f"Readout's membranes on {backend.name}")
figure.savefig("deployed.png")
