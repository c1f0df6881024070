"""What a deployed network receives of its own clean training data, kept beside its integers: adapting without labels starts from it."""

import dataclasses

import numpy as np
import torch

from polystep_snn.datasets.base import Samples
from polystep_snn.hardware.input_neurons import CODES
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.simulator import largest_input
from polystep_snn.hardware.watching import ImageStream, SpikeStream, Stream, statistics
from polystep_snn.training.feed import spikes_of
from polystep_snn.training.run_folder import OpenedRun

SAMPLES = 5000


def with_statistics(run: OpenedRun, network: IntegerNetwork, samples: int = SAMPLES) -> IntegerNetwork:
    """A run's integers with statistics of so many of its training samples, evenly from first to last, or of all.

    Networks that have no layer before the readout, or sums that 32 bits do not hold, stay without.
    """
    sums = [largest_input(layer) * network.num_steps for layer in network.layers]
    if len(sums) < 2 or max(sums) >= 2**31 or len(run.dataset.train) < 2:
        return network
    numbers = np.linspace(0, len(run.dataset.train) - 1, min(samples, len(run.dataset.train))).astype(int)
    return dataclasses.replace(network, statistics=statistics(network, training_stream(run, network, numbers)))


def training_stream(run: OpenedRun, network: IntegerNetwork, numbers: np.ndarray) -> Stream:
    """Some of a run's training samples, as its network takes them."""
    train = run.dataset.train
    if network.encoder in CODES:
        assert isinstance(train, Samples)
        return ImageStream(train.intensities(numbers))
    feed = run.feed(train)

    def spikes(places: np.ndarray) -> np.ndarray:
        generator = torch.Generator(feed.labels.device).manual_seed(int(places[0]))
        frames, _ = feed.batch(torch.from_numpy(numbers[places]), generator=generator)
        return spikes_of(frames).cpu().numpy()

    return SpikeStream(spikes, len(numbers))
