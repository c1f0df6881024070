"""A digit reader with kept statistics, and streams for it; and random networks that find something to do in any stream."""

from dataclasses import replace

import numpy as np

from polystep_snn.datasets import load
from polystep_snn.hardware import on_chip
from polystep_snn.hardware.adaptation import Images, random_network, training_lesson
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.watching import ImageStream, SpikeStream, statistics

EAGER = TransportRule(window=20, lost=0.0, share=0.0, errors=0.0, moved=1.0)
"""Acts whenever it may."""


def read_digits():
    """Training and test images of the embedded digits."""
    digits = load("digits")
    return tuple(Images(part.images.astype(np.float32) / part.full_scale, part.labels) for part in (digits.train, digits.test))


def reader(num_passes=4):
    """A network that reads them, trained in integers, with statistics."""
    train, _ = read_digits()
    network = random_network((64, 40, 10), 8, "rate", (8, 8), load("digits").classes)
    rule = LearningRule(("readout", "hidden"), batch_size=16, rate=0.5, schedule="cosine")
    lesson, pool = training_lesson(network, rule, train, Images(train.images[:0], train.labels[:0]), num_passes, 0)
    on_chip.learn(lesson, pool.spikes)
    learned = lesson.learner.learned()
    return replace(learned, statistics=statistics(learned, ImageStream(train.images)))


def shifting_spikes(network, num_samples, first=0.3, seed=0):
    """A network with statistics that no stream has, and a margin that it never reaches; and a stream of ever denser spikes."""
    rng = np.random.default_rng(seed)
    shape = network.num_steps, num_samples, network.sizes[0]
    sparse = (rng.random(shape) < 0.3).astype(np.uint8)
    dense = (rng.random(shape) < np.linspace(first, 0.8, num_samples)[:, None]).astype(np.uint8)
    kept = statistics(network, SpikeStream(lambda numbers: sparse[:, numbers], num_samples))
    moved = kept.received[0]._replace(mean=kept.received[0].mean + 2 * kept.received[0].std + 8)
    kept = replace(kept, received=(moved, *kept.received[1:]), margin=2**30)
    return replace(network, statistics=kept), SpikeStream(lambda numbers: dense[:, numbers], num_samples)
