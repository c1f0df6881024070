# %% [markdown]
# # Learning and adapting on the chip
#
# A deployed network meets inputs that it was not trained on: a sensor ages, light changes, a mount turns. PolyStep is simple enough to run
# where the network runs. Every hidden neuron stands beside two copies with a shifted bias. Spike counts are all that is kept of a sample,
# and weights change in integers alone.
#
# This page runs in the bit-exact simulator. `open_backend("lava", network)` runs the same inside one Lava graph and learns the same
# weights, bit for bit.

# %%
import numpy as np

from polystep_snn import plots
from polystep_snn.datasets import load
from polystep_snn.datasets.shifts import Shift
from polystep_snn.hardware.adaptation import Images, Pool, Stream, field_lesson, random_network, training_lesson
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.lesson import JUDGE
from polystep_snn.hardware.simulator import Simulator

digits = load("digits")
train, validation, test = (
    Images(part.images.astype(np.float32) / part.full_scale, part.labels) for part in (digits.train, digits.validation, digits.test)
)

# %% [markdown]
# ## From random integers
#
# A *lesson* says what is shown, in which order, and when weights are written. A network with random int8 weights learns the digits in ten
# passes. Nothing is computed in floating point between an image and a weight.

# %%
newborn = random_network((64, 64, 10), 8, "rate", (8, 8), digits.classes)
rule = LearningRule(("readout", "hidden"), batch_size=16, rate=0.5, schedule="cosine")
lesson, pool = training_lesson(newborn, rule, train, validation, epochs=10, seed=0)
with open_backend("simulator", newborn) as backend:
    backend.learn(lesson, pool.spikes)
deployed = lesson.learner.learned()


def accuracy(network, images):
    """The share of right decisions."""
    pool = Pool(network, images)
    return float((Simulator(network).run(pool.spikes(np.arange(len(pool.labels)))).argmax(1) == pool.labels).mean())


print(f"test accuracy {accuracy(newborn, test):.1%} before, {accuracy(deployed, test):.1%} after {lesson.learner.updates} weight writes")

# %% [markdown]
# ## The sensor fails
#
# Black and white both turn grey. `Shift` also knows noise, contrast, rotation, translation, occlusion and dead pixels.

# %%
shift = Shift.parse("inversion:0.4")
grey, grey_validation, grey_test = (Images(shift(part.images, seed), part.labels) for seed, part in enumerate((train, validation, test)))
print(f"clean images {accuracy(deployed, test):.1%}, grey images {accuracy(deployed, grey_test):.1%}")

# %% [markdown]
# ## It recovers where it stands
#
# Labels still come in for a while. The readout learns from the stream. Held-out samples judge every round, and a round that made it worse
# is taken back.

# %%
rule = LearningRule(("readout",), batch_size=8, readout_rate=1.0, schedule="cosine")
stream = Stream(samples=len(train.labels), held_out=60, round_size=250)
half = len(grey_validation.labels) // 2
recovery, pool = field_lesson(
    deployed,
    rule,
    stream,
    grey,
    train,
    Images(grey_validation.images[:half], grey_validation.labels[:half]),
    Images(validation.images[half:], validation.labels[half:]),
)
with open_backend("simulator", deployed) as backend:
    backend.learn(recovery, pool.spikes)
adapted = recovery.learner.learned()
print(f"grey images {accuracy(deployed, grey_test):.1%} -> {accuracy(adapted, grey_test):.1%}; clean images {accuracy(adapted, test):.1%}")
changed = sum(int((a.weight != b.weight).sum()) for a, b in zip(deployed.layers, adapted.layers, strict=True))
print(f"{changed} weights changed in {recovery.learner.updates} writes, {recovery.rollbacks} rounds taken back")

# %%
figure = plots.new_figure(10, 3.4)
born, field = figure.subplots(1, 2)
learned = lesson.plan.kinds != JUDGE
plots.running_accuracy(born, {"from random weights": lesson.decisions[learned] == lesson.plan.labels[learned]})
shown = recovery.plan.kinds != JUDGE
frozen = Simulator(deployed).run(pool.spikes(recovery.plan.samples[shown])).argmax(1)
labels = recovery.plan.labels[shown]
plots.running_accuracy(field, {"learning": recovery.decisions[shown] == labels, "as deployed": frozen == labels})
figure.savefig("learning.png")

# %% [markdown]
# ![Accuracy while it learns from random weights, and after the sensor fails](learning.png)
#
# ## The same from the command line
#
# ```
# polystep-snn train digits --on-chip --epochs 8 --out runs/born
# polystep-snn adapt runs/chip --shift rotation:30 --out runs/turned
# polystep-snn adapt runs/chip --shift noise:0.3 --writable readout hidden --replay 1 --out runs/noisy
# ```
#
# [Adapt to a drifted sensor](../how-to/adapt.md) has more options. [The benchmarks](../benchmarks/on-chip-learning.md) have the figures
# on MNIST.
