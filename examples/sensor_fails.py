"""A deployed digit reader whose sensor fails three ways in a row and recovers, and nobody labels anything.

    python examples/sensor_fails.py [FIGURE.png] [simulator | lava]

What hidden and input neurons receive is a moved and scaled copy of what they received in training. Optimal transport, a neuron at a time,
makes thresholds and biases of it; no weight is written. The figure shows the same stream with labels: the readout learns from every
sample, on the chip, and forgets.
"""

import argparse
from dataclasses import replace

import numpy as np

from polystep_snn import plots
from polystep_snn.datasets import load
from polystep_snn.datasets.shifts import Shift
from polystep_snn.errors import InputError
from polystep_snn.hardware import on_chip
from polystep_snn.hardware.adaptation import Images, random_network, training_lesson
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import ImageStream, statistics

FAILURES = ("", "inversion:0.4", "contrast:0.3", "blur:1", "")
EACH = 1000

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("figure", nargs="?", default="sensor_fails.png")
parser.add_argument("backend", nargs="?", choices=("simulator", "lava"), default="simulator")
arguments = parser.parse_args()

digits = load("digits")
train, validation, test = (
    Images(part.images.astype(np.float32) / part.full_scale, part.labels) for part in (digits.train, digits.validation, digits.test)
)
newborn = random_network((64, 64, 10), 8, "rate", (8, 8), digits.classes)
rule = LearningRule(("readout", "hidden"), batch_size=16, rate=0.5, schedule="cosine")
lesson, pool = training_lesson(newborn, rule, train, validation, epochs=6, seed=0)
on_chip.learn(lesson, pool.spikes)
learned = lesson.learner.learned()
deployed = replace(learned, statistics=statistics(learned, ImageStream(train.images)))

generator = np.random.default_rng(0)
seen, labels = [], []
for number, failure in enumerate(FAILURES):
    drawn = generator.integers(len(test.labels), size=EACH)
    seen.append(Shift.parse(failure)(test.images[drawn], number, sensor=1) if failure else test.images[drawn])
    labels.append(test.labels[drawn])
stream = Images(np.concatenate(seen), np.concatenate(labels).astype(np.int64))

adaptation = Adaptation(deployed, TransportRule(window=60))
try:
    backend = open_backend(arguments.backend, deployed)
except InputError as error:
    parser.error(str(error))
with backend:
    backend.adapt(adaptation, ImageStream(stream.images))
for event in adaptation.events:
    if event.what != "keep":
        print(f"after {event.sample} samples: {event.what}, {event.reason}")
print(f"the deployed registers are there again, bit for bit: {adaptation.own is deployed}")

# With a label on every sample: the readout learns all the time.
with_labels, pool = training_lesson(
    learned, LearningRule(("readout",), batch_size=8, readout_rate=1.0), stream, Images(test.images[:0], test.labels[:0]), 1, 0
)
with_labels.plan.samples[:] = np.arange(len(stream.labels))
with_labels.plan.labels[:] = stream.labels
on_chip.learn(with_labels, pool.spikes)

frozen = Simulator(deployed).run(pool.spikes(np.arange(len(stream.labels)))).argmax(1)
right = {
    "without labels": np.concatenate(adaptation.decisions) == stream.labels,
    "the readout learns, all labels": with_labels.decisions == stream.labels,
    "as deployed": frozen == stream.labels,
}
for number, failure in enumerate(FAILURES):
    # The second half, when what can be done has been done.
    part = slice(number * EACH + EACH // 2, (number + 1) * EACH)
    print(f"{failure or 'as in training':16s}" + ", ".join(f"{name} {decided[part].mean():.1%}" for name, decided in right.items()))

figure = plots.new_figure(9, 3.8)
axes = figure.subplots()
plots.running_accuracy(axes, right)
for number, failure in enumerate(FAILURES):
    axes.axvline(number * EACH, color="0.8", linewidth=1, zorder=0)
    axes.text((number + 0.5) * EACH, 0.03, failure or "as in training", ha="center", transform=axes.get_xaxis_transform(), fontsize=8)
axes.legend(frameon=False, fontsize=8, loc="center right")
figure.savefig(arguments.figure)
print(f"wrote {arguments.figure}")
