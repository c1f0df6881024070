"""What a run's network does on its test samples, in torch, or in the simulator where the folder holds integers alone."""

from typing import Any, NamedTuple

import numpy as np
import torch

from polystep_snn.datasets.own.targets import TargetScaling
from polystep_snn.hardware.backend import SimulatorBackend
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.simulator import RECORDED_BYTES, Simulator
from polystep_snn.snn.loihi import ALIGNMENT, CubaNeuron
from polystep_snn.snn.record import record
from polystep_snn.trained_networks import folder_of
from polystep_snn.training.answers import Answers, answers
from polystep_snn.training.build import build_cost
from polystep_snn.training.integer_run import read_metrics
from polystep_snn.training.metrics import firing_rates
from polystep_snn.training.opened_run import OpenedRun
from polystep_snn.training.run_folder import RunFolder

_RATE_SAMPLES = 1000
_PART_BYTES = 2**28


class Activity(NamedTuple):
    """One sample, time first.

    Attributes:
        inputs: ``[T, N]`` spikes or currents.
        spikes: ``[T, N_l]`` for each hidden layer.
        membranes: ``[T, N_l]`` for each hidden layer, after the step and its reset.
        thresholds: ``[N_l]`` for each hidden layer, in units of its membranes.
        readout: ``[T, C]`` after every step; of real targets in units of their spread.
        target: a class, or real values ``[D]``.
    """

    inputs: np.ndarray
    spikes: list[np.ndarray]
    membranes: list[np.ndarray]
    thresholds: list[np.ndarray]
    readout: np.ndarray
    target: Any


def history_of(run: OpenedRun) -> list[dict[str, Any]]:
    """The metrics of every epoch, also of one that learned on the chip, which are fewer; empty where there are none."""
    return run.history or read_metrics(RunFolder(folder_of(run.path)).metrics)


def answers_to_test_part(run: OpenedRun) -> tuple[Answers, str]:
    """What a run says to its test part, and where it ran: "torch" or "simulator"."""
    if run.latent is not None:
        return answers(run, run.dataset.test), "torch"
    return answers(run, run.dataset.test, SimulatorBackend(_integers(run)), _integers(run)), "simulator"


def in_their_units(run: OpenedRun, targets: np.ndarray) -> np.ndarray:
    """Real targets ``[…, D]``, learned in units of their spread, as they are in the data."""
    scaling = None if run.record is None else run.record.targets
    return scaling.undo(targets.astype(np.float64)) if isinstance(scaling, TargetScaling) else targets


def activity_of(run: OpenedRun, sample: int) -> Activity:
    """What happens in a test sample, by number."""
    feed = run.feed(run.dataset.test)
    generator = torch.Generator(feed.labels.device).manual_seed(run.config.run.seed)
    frames, labels = feed.batch(torch.tensor([sample]), generator=generator)
    if run.latent is None:
        spikes = torch.stack([frame.flatten(1).to(torch.uint8) for frame in frames]).cpu().numpy()
        found = _in_simulator(_integers(run), spikes)
    else:
        found = _in_torch(run, frames)
    if not run.dataset.holds_values:
        return found._replace(target=int(labels))
    unit = _unit_of_readout(_integers(run)) if run.latent is None else float(run.latent.unit)
    return found._replace(readout=found.readout * (build_cost(run.config).scale * unit), target=labels[0].cpu().numpy())


def _in_torch(run: OpenedRun, frames: Any) -> Activity:
    network = run.network
    found = record(network, frames)
    spikes, membranes = ([layer.cpu().numpy() for layer in layers] for layers in (found.spikes, found.membranes))
    neurons = [layer.neuron for layer in network.layers()[: len(spikes)]]
    thresholds = [
        np.broadcast_to(neuron.threshold.cpu().numpy() if isinstance(neuron, CubaNeuron) else own.v_th, layer.shape[1:])
        for neuron, own, layer in zip(neurons, network.neurons, spikes, strict=False)
    ]
    return Activity(found.inputs.cpu().numpy(), spikes, membranes, thresholds, found.readout.cpu().numpy(), None)


def _in_simulator(network: IntegerNetwork, spikes: np.ndarray) -> Activity:
    *hidden, last = Simulator(network).record(spikes).layers
    steps = np.maximum.accumulate(last.v[:, 0]) if network.readout == "max" else last.v[:, 0]
    readout = steps / ALIGNMENT if network.reads_membranes else last.z[:, 0].cumsum(0)
    thresholds = [layer.vth * float(ALIGNMENT) for layer in network.layers[:-1]]
    return Activity(spikes[:, 0], [layer.z[:, 0] for layer in hidden], [layer.v[:, 0] for layer in hidden], thresholds, readout, None)


def rates_of(run: OpenedRun) -> list[np.ndarray]:
    """Mean firing rate of every hidden neuron over the first test samples, ``[N_l]`` a layer, in spikes a step."""
    feed, seed = run.feed(run.dataset.test), run.config.run.seed
    if run.latent is not None:
        return [layer.cpu().numpy() for layer in firing_rates(run.latent, feed, _RATE_SAMPLES, seed)]
    network, count = _integers(run), min(_RATE_SAMPLES, len(feed))
    simulator, generator = Simulator(network), torch.Generator(feed.labels.device).manual_seed(seed)
    size = max(1, _PART_BYTES // (RECORDED_BYTES * network.num_steps * sum(network.sizes)))
    sums = [np.zeros(layer.num_neurons) for layer in network.layers[:-1]]
    for indices in torch.arange(count).split(size):
        frames, _ = feed.batch(indices, generator=generator)
        recording = simulator.record(torch.stack([frame.flatten(1).to(torch.uint8) for frame in frames]).cpu().numpy())
        for total, layer in zip(sums, recording.layers, strict=False):
            total += layer.z.sum((0, 1))
    return [total / (count * network.num_steps) for total in sums]


def _unit_of_readout(network: IntegerNetwork) -> float:
    return network.layers[-1].scale if network.reads_membranes else 1.0


def _integers(run: OpenedRun) -> IntegerNetwork:
    assert run.integers is not None
    return run.integers
