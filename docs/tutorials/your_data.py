# %% [markdown]
# # Your own data
#
# `polystep-snn train PATH` takes a `.npz` file, a folder of `.npy` files, or a folder with a folder for each class. This page writes both
# forms, and goes from arrays to a deployed network: train, predict, test on other data, verify, count what an inference costs, report.
#
# ## A file of arrays
#
# `x_train` and `y_train` are needed; `x_test`, `y_test`, `x_val` and `y_val` may be there. What is missing is split off by class. Labels
# are whole numbers, or text. Here: the 8 x 8 digits of scikit-learn, 600 of them for training, by their English names.

# %%
import csv
import json
import os
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from polystep_snn import TrainConfig, Trainer
from polystep_snn.cli.main import main
from polystep_snn.datasets import Dataset, Sequences
from polystep_snn.training.run_folder import open_run

digits = load_digits()
images = (digits.images / digits.images.max()).astype(np.float32)  # [1797, 8, 8]
names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[digits.target]

work = Path(tempfile.mkdtemp())
np.savez(work / "mine.npz", x_train=images[:600], y_train=names[:600])


def run(command):
    """What ``polystep-snn`` does when it is typed in the working folder; its exit code."""
    print(f"$ polystep-snn {command}", flush=True)
    here = os.getcwd()
    os.chdir(work)
    try:
        return main(command.split())
    finally:
        os.chdir(here)


# %% [markdown]
# ## Train for the chip
#
# `--neuron loihi` computes with int8 weights and the chip's rounding. The line about data says what was split off.

# %%
assert run("train mine.npz --neuron loihi --epochs 12 --out runs/mine") == 0

# %% [markdown]
# The run remembers its data in `data.json`: names of classes, scaling, sizes, and a fingerprint of all samples. Every later command scales
# samples as training did, and says so where data is other than that.

# %%
record = json.loads((work / "runs/mine/data.json").read_text())
print({key: record[key] for key in ("kind", "shape", "sizes", "scaling", "fingerprint")})
print(record["targets"]["classes"])

# %% [markdown]
# ## 1. Predict
#
# New samples have no labels. Classes come as CSV, by your names, with the softmax of the readout.

# %%
np.save(work / "new.npy", images[600:604])
run("predict runs/mine new.npy --out answers.csv")
with open(work / "answers.csv") as file:
    for row, true in zip(csv.DictReader(file), names[600:604], strict=True):
        print(f"sample {row['sample']}: {row['class']:5s} with {float(row[row['class']]):.2f}, is {true}")

# %% [markdown]
# ## 2. Test on other data
#
# `--data` names another file. It may hold a test part alone.

# %%
np.savez(work / "later.npz", x_test=images[1200:], y_test=names[1200:])
run("eval runs/mine --data later.npz")

# %% [markdown]
# ## 3. Verify
#
# The same integers in torch and in the simulator, compared spike for spike. With `--backend lava` on [Lava](../how-to/verify.md) too.

# %%
run("verify runs/mine --backend simulator --limit 50")

# %% [markdown]
# ## 4. What an inference costs

# %%
run("cost runs/mine")
shutil.copy(work / "runs/mine/figures/cost.png", "cost.png")

# %% [markdown]
# ![Operations and energy of every layer](cost.png)

# %% [markdown]
# ## 5. Report
#
# One web page in one file, with everything there is to say of the run.

# %%
run("report runs/mine")
print(sorted(path.name for path in (work / "runs/mine").iterdir()))

# %% [markdown]
# ## A folder of class folders
#
# Images lie in a folder for each class, below `train`, `val` and `test` or without these. Wav files and event recordings are read in the
# same way.

# %%
for k, (image, name) in enumerate(zip(images[:300], names[:300], strict=True)):
    if name in ("zero", "one", "two"):
        folder = work / "pictures" / name
        folder.mkdir(parents=True, exist_ok=True)
        plt.imsave(folder / f"{k}.png", image, cmap="gray", vmin=0, vmax=1)
print({folder.name: len(list(folder.iterdir())) for folder in sorted((work / "pictures").iterdir())})
run("train pictures --epochs 4 --batch-size 16 --hidden 64 --out runs/pictures")

# %% [markdown]
# ## Mistakes
#
# A mistake is one line that names the problem and the fix.

# %%
np.savez(work / "real.npz", x_train=images[:100], y_train=images[:100].mean((1, 2)))
np.savez(work / "nan.npz", x_train=np.where(images[:100] > 0.9, np.nan, images[:100]), y_train=names[:100])
for name in ("real.npz", "nan.npz"):
    print("exit code", run(f"train {name} --out runs/never"), flush=True)

# %% [markdown]
# ## From Python
#
# Arrays need no file: a `Dataset` has a training, a validation and a test part, of `Samples` (images), `Sequences` (values
# `[n, T, features]`) or `EventSamples`. Here a sensor with six channels reports vibrations of a machine.


# %%
def vibrations(count, seed):
    """Sequences of 32 steps: a machine that is fine, or has a worn bearing."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    time = np.arange(32)[:, None] + random.uniform(0, 8, (count, 1, 1))
    values = 0.5 + 0.2 * np.sin(2 * np.pi * time / 8) + random.normal(0, 0.12, (count, 32, 6))
    values[labels == 1] += 0.5 * (time % 5 < 1)[labels == 1]
    return values.astype(np.float32), labels


parts = [Sequences(*vibrations(count, seed)) for seed, count in enumerate((600, 100, 200))]
machine = Dataset("machine", *parts, num_classes=2, classes=("fine", "worn bearing"))
config = TrainConfig("machine", encoder="sequence", num_steps=32, hidden=("64r",), windows=8, batch_size=30, epochs=8, lr=1e-2)
summary = Trainer(config, work / "runs" / "machine", machine).fit()
print(f"test accuracy {summary['test_accuracy']:.1%} with the weights of epoch {summary['epoch']}")
opened = open_run(work / "runs" / "machine", dataset=machine)  # given from Python, it comes along again
print(f"the same again: {opened.evaluate().accuracy:.1%}")

# %% [markdown]
# [Train on your own data](../how-to/own-data.md) has the tables: forms, splits, scaling, real targets.
