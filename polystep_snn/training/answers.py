"""What a run answers to samples: in torch, in the simulator, on Lava."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from polystep_snn.datasets.base import Part
from polystep_snn.datasets.own.targets import TargetScaling
from polystep_snn.hardware.backend import Backend
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.polystep.cost import MeanSquaredError
from polystep_snn.training.build import build_cost
from polystep_snn.training.deploy import readouts, unit_of
from polystep_snn.training.metrics import Evaluation, evaluate, evaluation
from polystep_snn.training.opened_run import OpenedRun


class Answers(NamedTuple):
    """Of some samples.

    Attributes:
        found: decisions or real values, and what they are worth beside the labels.
        labels: ``[n]`` or ``[n, D]``.
        scores: ``[n, C]``: the readout in units in which its softmax is the probability of a class; of real targets, in their own units.
    """

    found: Evaluation
    labels: np.ndarray
    scores: np.ndarray


def answers(
    run: OpenedRun,
    samples: Part,
    backend: Backend | None = None,
    integers: IntegerNetwork | None = None,
    limit: int | None = None,
    on_samples: Callable[[int], object] | None = None,
) -> Answers:
    """What a run says to the first ``limit`` of some samples, or to all.

    Args:
        run: whose configuration encodes them.
        samples: images, recordings or sequences.
        backend: where its integers run; None for torch.
        integers: that the backend runs.
        on_samples: called with the number of samples that are through.
    """
    cost, labels = build_cost(run.config), samples.labels[:limit]
    if backend is None:
        found, unit = evaluate(run.network, run.feed(samples), cost, limit), float(run.network.unit)
    else:
        assert integers is not None
        unit, outputs = unit_of(integers), []
        for values, _ in readouts(run, backend, samples, limit):
            outputs.append(torch.from_numpy(values).to(torch.float32))
            if on_samples is not None:
                on_samples(sum(map(len, outputs)))
        everything = torch.cat(outputs)
        targets = torch.from_numpy(labels.astype(np.int64 if labels.ndim == 1 else np.float32))
        loss = cost(everything.T * unit, targets).mean().item()
        found = evaluation(everything, targets, loss, cost, unit)
    scaled = found.outputs.cpu().numpy().astype(np.float64) * (cost.scale * unit)
    targets_of_run = None if run.record is None else run.record.targets
    if isinstance(cost, MeanSquaredError) and isinstance(targets_of_run, TargetScaling):
        scaled = targets_of_run.undo(scaled)
    return Answers(found, labels, scaled)


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax of scores ``[n, C]`` over classes."""
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)
