# %% [markdown]
# # Your own data
#
# Data come in as numpy arrays. A `Dataset` has three parts. Training samples are learnt from, validation samples choose the epoch, and
# test samples are looked at once. A part is one of three things:
#
# | class | arrays | for |
# | --- | --- | --- |
# | `Samples` | images `[n, height, width]` uint8 | anything that an encoder turns into spikes or currents |
# | `Sequences` | values `[n, T, features]`, float32 currents or uint8 spikes | sensors, sound, features over time |
# | `EventSamples` | a step and a channel for each event | event cameras and other sparse sensors |
#
# This page has a sensor with six channels that reports vibrations of a machine: fine, unbalanced, or with a worn bearing.

# %%
import tempfile
from pathlib import Path

import numpy as np

from polystep_snn import TrainConfig, Trainer, plots
from polystep_snn.datasets import Dataset, Sequences
from polystep_snn.errors import InputError
from polystep_snn.training.observer import Observer
from polystep_snn.training.run_folder import open_run

CLASSES = ("fine", "unbalanced", "worn bearing")
T, CHANNELS = 32, 6


def vibrations(count, seed):
    """Sequences of equal length: each step is what the network receives at once."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    time = np.arange(T)[:, None] + random.uniform(0, 8, (count, 1, 1))
    gains = random.uniform(0.7, 1.3, (count, 1, CHANNELS))
    values = 0.5 + 0.2 * gains * np.sin(2 * np.pi * time / 8)
    values[labels == 1] += 0.3 * (np.sin(2 * np.pi * time / 16) * gains)[labels == 1]
    values[labels == 2] += 0.5 * (time % 5 < 1)[labels == 2]
    values += random.normal(0, 0.12, values.shape)
    return values.astype(np.float32), labels


parts = [Sequences(*vibrations(count, seed)) for seed, count in enumerate((900, 150, 300))]
machine = Dataset("machine", *parts, num_classes=3, classes=CLASSES)
print(f"{machine.title}: {len(machine.train)} training sequences of {machine.train.num_steps} steps and {CHANNELS} channels")

# %% [markdown]
# ## What is checked
#
# A `Dataset` checks itself. A mistake is one line that names the problem and the fix.

# %%
for mistake in (
    lambda: Sequences(np.zeros((5, T, CHANNELS)), np.zeros(5, int)),
    lambda: Dataset("machine", *parts, num_classes=2, classes=CLASSES[:2]),
):
    try:
        mistake()
    except InputError as error:
        print(error)

# %% [markdown]
# ## Training
#
# `TrainConfig` takes the options of `polystep-snn train`, by the same names. `Trainer` is the whole run: calibrated thresholds, falling
# learning rate, averaged weights, validation, metrics and checkpoints.


# %%
class Printed(Observer):
    """Says how it goes, every tenth epoch."""

    def epoch_done(self, metrics):
        if metrics["epoch"] % 10 == 0:
            print(f"epoch {metrics['epoch']:2d}: loss {metrics['train_loss']:.3f}, validation {metrics['val_accuracy']:.1%}")


config = TrainConfig(
    "machine",
    encoder="sequence",
    num_steps=T,
    hidden=("64r",),
    windows=8,
    radius=0.3,
    batch_size=30,
    epochs=30,
    lr=1e-2,
    weight_decay=0.05,
    averaging=0.98,
)
folder = Path(tempfile.mkdtemp()) / "machine"
summary = Trainer(config, folder, machine, observer=Printed()).fit()
print(f"test accuracy {summary['test_accuracy']:.1%} with the weights of epoch {summary['epoch']}")

# %% [markdown]
# ## The run's folder
#
# A run on your own data is opened again with the data. The folder knows what it was trained on, and refuses other data.

# %%
run = open_run(folder, dataset=machine)
print(sorted(path.name for path in folder.iterdir()))
score = run.evaluate()
figure = plots.new_figure(8, 3.4)
left, right = figure.subplots(1, 2)
plots.accuracy_curve(left, run.history, run.best["epoch"])
plots.confusion(right, machine.test.labels, score.predictions.numpy(), CLASSES)
figure.savefig("machine.png")

# %% [markdown]
# ![Accuracy over epochs, and true classes against decisions](machine.png)
#
# ## Images and events
#
# Images go in as `Samples(images, labels, full_scale=255)`, and any encoder of `TrainConfig` takes them. [Events](events.md) shows how
# recordings become `EventSamples`. To deploy on the chip, give spikes: `Sequences` of uint8 values 0 and 1, or an encoder that spikes.
