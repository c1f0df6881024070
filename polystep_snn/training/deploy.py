"""From a run to the chip: its network in integers, its test samples as spikes, and what a backend makes of them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import polystep_snn
from polystep_snn.convert import LayerFit, quantized, record_registers, to_integer_network
from polystep_snn.datasets.base import Part
from polystep_snn.datasets.config import EVENTS
from polystep_snn.errors import InputError
from polystep_snn.hardware.backend import Backend
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.simulator import RECORDED_BYTES
from polystep_snn.hardware.verify import compare
from polystep_snn.snn.loihi import ALIGNMENT
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.readouts import SpikeCountReadout
from polystep_snn.training.build import build_cost
from polystep_snn.training.feed import spikes_of
from polystep_snn.training.metrics import evaluate, firing_rates
from polystep_snn.training.run_folder import OpenedRun

_BATCH = 1000
# Of which everything is kept at a time: samples, and bytes, of which a message of Lava's holds twice as many.
_RECORDED = 500
_RECORDED_BYTES = 2**30


class Deployed(NamedTuple):
    """A run's network for the chip.

    Attributes:
        network: in torch, on the chip's neurons; None where torch has no counterpart of the integers.
        integers: the artifact.
        fits: what quantizing afterwards did to each layer; empty for a network that was trained in integers.
    """

    network: SpikingNetwork | None
    integers: IntegerNetwork
    fits: list[LayerFit]


def deploy(run: OpenedRun) -> Deployed:
    """The integer network of a run; one that was trained in floating point is quantized. Its data is not needed.

    Raises:
        InputError: an input current instead of spikes, or neurons without a counterpart on the chip.
    """
    config = run.config
    if run.integers is not None:
        return Deployed(run.latent, run.integers, [])
    if config.data.holds_sequences and not run.holds_spikes:
        raise InputError("the run's sequences are currents, but the chip takes spikes: train with --features events, or on others")
    if config.data.gives_currents:
        raise InputError(
            f"the run's encoder is {config.data.encoder!r}, but the chip takes spikes: train with --neuron loihi, or with another --encoder"
        )
    if config.data.counts:
        raise InputError("the run's inputs are numbers of events, but the chip takes spikes: train without --counts")
    network = run.network
    fits: list[LayerFit] = []
    if not network.integer:
        network, fits = quantized(network)
    if isinstance(network.readout, SpikeCountReadout):
        network.readout = SpikeCountReadout(network.readout.neuron)
    provenance: dict[str, str | int | float] = {
        "dataset": run.title,
        "seed": config.run.seed,
        "epoch": run.best["epoch"],
        f"val_{config.method.score}": run.best[f"val_{config.method.score}"],
        "trained_in": "floating point" if fits else "integers",
        "polystep_snn": polystep_snn.__version__,
    }
    # The integers' file knows spikes that need no encoder by one name.
    encoder = EVENTS if config.data.holds_sequences else config.data.encoder
    integers = to_integer_network(network, config.data.total_steps, encoder, run.shape, run.classes, provenance)
    return Deployed(network, integers, fits)


def encoded_test_set(run: OpenedRun, limit: int | None = None) -> Iterator[tuple[Tensor, np.ndarray]]:
    """The first ``limit`` test samples of a run, or all, as ``OpenedRun.evaluate`` encodes them; see ``encoded``."""
    return encoded(run, run.dataset.test, limit)


def encoded(run: OpenedRun, samples: Part, limit: int | None = None) -> Iterator[tuple[Tensor, np.ndarray]]:
    """The first ``limit`` of some samples, or all.

    Yields:
        Spikes ``[T, B, M]``, uint8 on the run's device, and labels ``[B]`` or real targets ``[B, D]``.
    """
    feed = run.feed(samples)
    generator = torch.Generator(feed.labels.device).manual_seed(0)
    for indices in torch.arange(len(feed.labels[:limit])).split(_BATCH):
        frames, y = feed.batch(indices, generator=generator)
        yield spikes_of(frames), y.cpu().numpy()


class Drift(NamedTuple):
    """What quantizing afterwards cost, on the validation set.

    Attributes:
        accuracy_before, accuracy_after: fractions.
        rates_before, rates_after: mean firing rates of the hidden layers, in spikes a step.
    """

    accuracy_before: float
    accuracy_after: float
    rates_before: list[float]
    rates_after: list[float]


def drift(run: OpenedRun, deployed: Deployed) -> Drift:
    """A run's network beside the one that is deployed. The same twice for one that was trained in integers."""
    feed, cost = run.feed(run.dataset.validation), build_cost(run.config)
    assert deployed.network is not None
    networks = run.network, deployed.network
    accuracies = [evaluate(network, feed, cost).accuracy for network in networks]
    rates = [[layer.mean().item() for layer in firing_rates(network, feed)] for network in networks]
    return Drift(accuracies[0], accuracies[1], rates[0], rates[1])


def readouts(run: OpenedRun, backend: Backend, samples: Part, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What a backend answers to the first ``limit`` of some samples, or to all.

    Yields:
        Readouts ``[B, C]``, integers, and labels ``[B]`` or real targets ``[B, D]``, of one batch after the other.
    """
    for spikes, labels in encoded(run, samples, limit):
        yield backend.run(spikes.cpu().numpy()), labels


def decisions(run: OpenedRun, backend: Backend, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What a backend decides on the first ``limit`` test samples, or all: decisions and labels ``[B]``."""
    for values, labels in readouts(run, backend, run.dataset.test, limit):
        yield values.argmax(1), labels


def unit_of(integers: IntegerNetwork) -> float:
    """What a unit of the integers' readout is worth in units of the latent weights; as of ``SpikingNetwork.unit``."""
    return integers.layers[-1].scale / ALIGNMENT if integers.reads_membranes else 1.0


class Verification(NamedTuple):
    """How many samples, spikes and membranes of torch and a backend were compared, the differences (of currents too), and the first
    one."""

    samples: int
    spikes_compared: int
    membranes_compared: int
    differences: int
    first_difference: str | None


def verify(
    run: OpenedRun,
    network: SpikingNetwork,
    backend: Backend,
    limit: int | None = None,
    on_samples: Callable[[int], object] | None = None,
) -> Verification:
    """Hold every spike, current and membrane of a backend against torch's, on the first ``limit`` test samples, or all.

    Args:
        run: whose test samples are taken.
        network: a deployed one.
        backend: any that records.
        on_samples: called with the number of samples of each part that is through.

    Raises:
        InputError: the backend's network has other layers.
    """
    layers, num_recorded = network.layers(), _samples_at_a_time(backend.network)
    samples = spikes = membranes = differences = 0
    first = None
    for batch, _ in encoded_test_set(run, limit):
        for spikes_of_part in batch.split(num_recorded, 1):
            expected = record_registers(layers, spikes_of_part)
            found = backend.record(np.ascontiguousarray(spikes_of_part.cpu().numpy()))
            comparison = compare(expected, found.layers, samples)
            spikes += comparison.spikes
            membranes += comparison.membranes
            differences += comparison.differences
            if first is None and comparison.first is not None:
                first = str(comparison.first)
            samples += expected[0].z.shape[1]
            if on_samples is not None:
                on_samples(expected[0].z.shape[1])
    return Verification(samples, spikes, membranes, differences, first)


def _samples_at_a_time(network: IntegerNetwork) -> int:
    """Of which everything is kept; inputs count as if they were recorded too."""
    return max(1, min(_RECORDED, _RECORDED_BYTES // (RECORDED_BYTES * network.num_steps * sum(network.sizes))))
