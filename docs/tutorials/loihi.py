# %% [markdown]
# # To Loihi 2, spike for spike
#
# Most toolkits train in floating point and quantize afterwards. Here the network is trained in the chip's own integers: int8 weights, the
# chip's decay, its rounding and its registers are in every forward pass. So what is trained is what the chip computes.
#
# This page runs in [Lava](https://github.com/lava-nc/lava), Intel's framework, where it is installed (`make lava-env`), and in the
# bit-exact simulator where it is not. It says which. Lava's models of Loihi 2 run on a CPU: **nothing here has run on a chip.**

# %%
import tempfile
from pathlib import Path

import numpy as np

from polystep_snn import TrainConfig, Trainer, plots
from polystep_snn.convert import record_registers
from polystep_snn.datasets import load
from polystep_snn.hardware import network_file
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.chip import preflight
from polystep_snn.hardware.fixed_point import decay
from polystep_snn.hardware.formats import nir
from polystep_snn.training.deploy import deploy, encoded_test_set, verify
from polystep_snn.training.run_folder import open_run

# %% [markdown]
# ## The chip's neuron
#
# A current-based neuron of Loihi keeps two integers of 24 bits, the current `u` and the membrane `v`. In every step both decay by a
# fraction of 4096 that rounds toward zero, and the membrane receives the current and a bias.

# %%
v = np.array([1000, 999, -999, 3])
print(f"v = {v.tolist()} after a decay of 205/4096: {decay(v, 205).tolist()}")

# %% [markdown]
# ## Training on it
#
# `neuron="loihi"` takes the chip's neuron, `weight_bits=8` its weights. The chip takes spikes, so images go through a rate code.

# %%
digits = load("digits")
config = TrainConfig("digits", neuron="loihi", weight_bits=8, encoder="rate", num_steps=16, batch_size=32, epochs=10)
folder = Path(tempfile.mkdtemp()) / "chip"
summary = Trainer(config, folder, digits).fit()
print(f"test accuracy {summary['test_accuracy']:.1%}")

# %% [markdown]
# ## The artifact
#
# `deploy` takes the integers out of the run. Nothing is rounded, since they are integers already. One file holds all that is needed:
# weights, thresholds, decays, encoder, classes and where it comes from. Reading it needs numpy and safetensors alone.

# %%
run = open_run(folder)
network, integers, _ = deploy(run)
network_file.save(folder / "network.safetensors", integers)
for k, layer in enumerate(integers.layers):
    w = layer.weight
    print(f"layer {k}: weights {list(w.shape)} {w.dtype}, from {w.min()} to {w.max()}, dv {layer.dv}")

# %% [markdown]
# ## Does it fit?
#
# `preflight` holds the network against the chip's published limits, and against how large its registers can grow.

# %%
report = preflight(integers)
report.check()
print(report.table())

# %% [markdown]
# ## Spike for spike
#
# `verify` runs the integers on a backend and compares every spike, current and membrane with those of training in torch.

# %%
with open_backend("auto", integers) as backend:
    print(f"running on {'Lava' if backend.name == 'lava' else 'the simulator'}")
    found = verify(run, network, backend, limit=50)
    spikes, labels = next(encoded_test_set(run, limit=1))
    on_backend = backend.record(spikes.numpy())
    decisions = backend.run(np.concatenate([part.numpy() for part, _ in encoded_test_set(run, limit=100)], 1)).argmax(1)
print(f"{found.spikes_compared:,} spikes and {found.membranes_compared:,} membranes compared, {found.differences} differences")
print(f"{(decisions == digits.test.labels[:100]).mean():.0%} of 100 test images right there")
assert found.differences == 0

# %%
in_torch = record_registers(network.layers(), spikes)
neuron = int(on_backend.layers[0].z[:, 0].sum(0).argmax())
figure = plots.new_figure(9, 5.6)
(left, right), (below, readout) = figure.subplots(2, 2)
plots.raster(left, in_torch[0].z[:, 0], "Hidden spikes in torch")
plots.raster(right, on_backend.layers[0].z[:, 0], f"Hidden spikes on {backend.name}", plots.ORANGE)
below.plot(range(1, 17), in_torch[0].v[:, 0, neuron], color=plots.BLUE, linewidth=3, alpha=0.5, label="torch")
below.plot(range(1, 17), on_backend.layers[0].v[:, 0, neuron], color=plots.ORANGE, linestyle="--", label=backend.name)
below.set_title(f"Membrane of hidden neuron {neuron}, in the chip's units", loc="left", fontsize=10, fontweight="bold")
below.legend(frameon=False, fontsize=8)
plots.decision(readout, on_backend.layers[-1].v[:, 0], digits.classes, int(labels[0]), "Readout's membranes")
figure.savefig("deployed.png")

# %% [markdown]
# ![Hidden spikes in torch and on the backend, a membrane of both, and the readout](deployed.png)
#
# ## Files for others
#
# `nir.write` makes a NIR graph, which Norse, snnTorch and others read; lava-dl's `.net` files come from
# `polystep_snn.hardware.formats.netx`. Both keep our own file inside, so nothing is lost on the way back.

# %%
nir.write(folder / "digits.nir", integers)
print(f"{(folder / 'digits.nir').stat().st_size:,} bytes; {nir.who_reads(integers)}")

# %% [markdown]
# ## The same from the command line
#
# ```
# polystep-snn train digits --neuron loihi --out runs/chip
# polystep-snn verify runs/chip --backend auto
# polystep-snn eval   runs/chip --backend auto
# polystep-snn export runs/chip --format nir --out chip.nir
# ```
#
# Next: [learning and adapting on the chip](learning_on_chip.md). What has not been shown is in [limitations](../limitations.md).
