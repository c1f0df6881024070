"""What a run measures: accuracy, loss, firing rates, memory."""

import sys
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.polystep.cost import Cost, MeanSquaredError
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training.feed import Feed

# A neuron above this rate fires in (nearly) every step whatever the input, and tells as little as one that never fires.
SATURATED = 0.98
_WORTH_A_WARNING = 0.5


class Evaluation(NamedTuple):
    """Outcome of an evaluation.

    Attributes:
        accuracy: fraction of right decisions; of real targets R², averaged over their values.
        loss: mean cost.
        predictions: the decision for every sample, ``[n]``; of real targets the answers ``[n, D]``, in units of their spread.
        outputs: the readout of every sample, ``[n, C]``.
    """

    accuracy: float
    loss: float
    predictions: Tensor
    outputs: Tensor


@torch.no_grad()
def evaluate(
    network: SpikingNetwork, feed: Feed, cost: Cost, limit: int | None = None, batch_size: int = 1000, seed: int = 0
) -> Evaluation:
    """Run a network over samples.

    Args:
        feed: gives them.
        cost: what a readout costs.
        limit: only the first so many samples; None for all.
        batch_size: samples at a time; changes no number.
        seed: of the encoder's randomness, so that the same weights always score the same.
    """
    generator = torch.Generator(feed.labels.device).manual_seed(seed)
    labels = feed.labels[:limit]
    outputs, loss, unit = [], 0.0, float(network.unit)
    for indices in torch.arange(len(labels)).split(batch_size):
        frames, y = feed.batch(indices, generator=generator)
        output, _ = network(frames)
        outputs.append(output)
        loss += cost(output.T * unit, y).sum().item()
    everything = torch.cat(outputs)
    return evaluation(everything, labels, loss / len(labels), cost, float(unit))


def evaluation(outputs: Tensor, labels: Tensor, loss: float, cost: Cost, unit: float) -> Evaluation:
    """What readouts ``[n, C]`` in units of ``unit`` are worth."""
    if not isinstance(cost, MeanSquaredError):
        decided = outputs.argmax(1)
        return Evaluation((decided == labels).double().mean().item(), loss, decided, outputs)
    answers = outputs * (cost.scale * unit)
    return Evaluation(r2(answers.double(), labels.double()), loss, answers, outputs)


def r2(answers: Tensor, targets: Tensor) -> float:
    """The coefficient of determination of answers ``[n, D]``, averaged over the values that differ between samples; NaN where none does."""
    spread = (targets - targets.mean(0)).square().sum(0)
    error = (answers - targets).square().sum(0)
    return (1 - error / spread)[spread > 0].mean().item()


@torch.no_grad()
def firing_rates(network: SpikingNetwork, feed: Feed, limit: int | None = None, seed: int = 0) -> list[Tensor]:
    """Mean firing rate of every hidden neuron over the first ``limit`` samples, or all, and steps: ``[N_l]`` a layer, in spikes a step."""
    generator = torch.Generator(feed.labels.device).manual_seed(seed)
    frames, labels = feed.batch(torch.arange(len(feed.labels[:limit])), generator=generator)
    state, layers = network.initial_state(len(labels)), network.layers()
    counts = [torch.zeros_like(layer.v[0]) for layer in state.hidden]
    for x in frames:
        spikes, state = network.step(x, state, layers)
        for count, z in zip(counts, spikes, strict=True):
            count += z.mean(0)
    return [count / len(frames) for count in counts]


class LayerHealth(NamedTuple):
    """How the neurons of a spiking layer fired over an epoch: mean rate in spikes a step, how many never, how many always."""

    rate: float
    dead: int
    saturated: int
    width: int


def layer_health(rates: Tensor) -> LayerHealth:
    """Summary of the mean firing rates ``[N]`` of a layer."""
    return LayerHealth(rates.mean().item(), int((rates == 0).sum()), int((rates > SATURATED).sum()), len(rates))


def health_warnings(layers: list[LayerHealth], num_hidden: int) -> list[str]:
    """One sentence for each layer most of whose neurons tell nothing."""
    warnings = []
    for k, layer in enumerate(layers):
        name = f"hidden layer {k + 1}" if k < num_hidden else "the readout"
        if layer.dead > _WORTH_A_WARNING * layer.width:
            warnings.append(
                f"{layer.dead} of {layer.width} neurons of {name} never fired in this epoch: raise its input, or lower the learning rate"
            )
        if layer.saturated > _WORTH_A_WARNING * layer.width:
            warnings.append(
                f"{layer.saturated} of {layer.width} neurons of {name} fired in nearly every step: lower its input, or the learning rate"
            )
    return warnings


def peak_rss_mb() -> float:
    """Peak resident memory of this process so far, in MB (10^6 bytes); NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
