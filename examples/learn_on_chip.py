"""A digit reader that is trained where it runs, in integers, and recovers when its sensor fails.

    python examples/learn_on_chip.py [FIGURE.png] [simulator | lava]

Nothing is computed in floating point between an image and a weight: the simulator and Lava learn the same int8 weights.
"""

import argparse

import numpy as np

from polystep_snn import plots
from polystep_snn.datasets import load
from polystep_snn.datasets.shifts import Shift
from polystep_snn.errors import InputError
from polystep_snn.hardware.adaptation import Images, Pool, Stream, field_lesson, random_network, training_lesson
from polystep_snn.hardware.backend import open_backend
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.lesson import JUDGE
from polystep_snn.hardware.simulator import Simulator

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("figure", nargs="?", default="learn_on_chip.png")
parser.add_argument("backend", nargs="?", choices=("simulator", "lava"), default="simulator")
arguments = parser.parse_args()

digits = load("digits")
train, validation = (Images(part.images.astype(np.float32) / part.full_scale, part.labels) for part in (digits.train, digits.validation))

# From random int8 weights: ten passes, the best of them kept.
newborn = random_network((64, 64, 10), 8, "rate", (8, 8), digits.classes)
rule = LearningRule(("readout", "hidden"), batch_size=16, rate=0.5, schedule="cosine")
lesson, pool = training_lesson(newborn, rule, train, validation, epochs=10, seed=0)
try:
    backend = open_backend(arguments.backend, newborn)
except InputError as error:
    parser.error(str(error))
with backend:
    backend.learn(lesson, pool.spikes)
deployed = lesson.learner.learned()
print(f"trained on the {arguments.backend}: {max(lesson.scores):.1%} of the validation set, after {lesson.learner.updates} weight writes")

# Black and white both turn grey; labels still come in for a while.
shift = Shift.parse("inversion:0.4")
grey, grey_validation = (Images(shift(part.images, seed), part.labels) for seed, part in enumerate((train, validation)))
rule = LearningRule(("readout",), batch_size=8, readout_rate=1.0, schedule="cosine")
stream = Stream(samples=len(train.labels), held_out=100, round_size=250)
recovery, pool = field_lesson(deployed, rule, stream, grey, train, grey_validation, validation)
with open_backend(arguments.backend, deployed) as backend:
    backend.learn(recovery, pool.spikes)


def accuracy(network) -> float:
    whole = Pool(network, grey_validation)
    return float((Simulator(network).run(whole.spikes(np.arange(len(whole.labels)))).argmax(1) == whole.labels).mean())


print(f"failing sensor: {accuracy(deployed):.1%} as deployed, {accuracy(recovery.learner.learned()):.1%} after {stream.samples} samples")

figure = plots.new_figure(10, 3.4)
born, field = figure.subplots(1, 2)
learned = lesson.plan.kinds != JUDGE
plots.running_accuracy(born, {"from random weights": lesson.decisions[learned] == lesson.plan.labels[learned]})
shown = recovery.plan.kinds != JUDGE
frozen = Simulator(deployed).run(pool.spikes(recovery.plan.samples[shown])).argmax(1)
labels = recovery.plan.labels[shown]
plots.running_accuracy(field, {"learning": recovery.decisions[shown] == labels, "as deployed": frozen == labels})
figure.savefig(arguments.figure)
print(f"wrote {arguments.figure}")
