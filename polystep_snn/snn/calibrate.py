"""Thresholds from measured firing rates.

How strongly an encoder drives a layer differs by orders of magnitude: a latency code sends one spike where a constant current
flows in every step. A threshold that fits the drive lets the same learning rate and radius serve all of them, since both then
mean the same fraction of a threshold.
"""

from collections.abc import Callable, Sequence

import torch

from polystep_snn.snn.frames import Frames
from polystep_snn.snn.loihi import CubaParameters
from polystep_snn.snn.network import Neuron, SpikingNetwork

TARGET_RATE = 0.05
_EXPONENTS = range(-8, 9)


@torch.no_grad()
def calibrate_thresholds(network: SpikingNetwork, frames: Callable[[], Frames], target_rate: float = TARGET_RATE) -> None:
    """Set every hidden layer's threshold so that, with the weights as they are, its mean firing rate is about ``target_rate``.

    Thresholds are powers of two, so that they scale without rounding and few different ones occur. Layers are set in order,
    each with the ones before it already set. Membrane bounds, if any, scale along.

    Args:
        network: changed in place.
        frames: called for every trial, returns the same batch encoded anew.
        target_rate: in spikes a step.
    """
    for layer, p in enumerate(network.neurons):
        best = p
        least = float("inf")
        for exponent in _EXPONENTS:
            network.neurons[layer] = scaled(p, 2.0**exponent / p.v_th)
            rate = _mean_rate(network, frames(), layer)
            # Distance in octaves; a silent layer is infinitely far.
            distance = abs(torch.log2(torch.tensor(rate / target_rate)).item())
            if distance < least:
                best, least = network.neurons[layer], distance
        network.neurons[layer] = best


def scaled(p: Neuron, factor: float) -> Neuron:
    """Neurons with threshold and bounds multiplied by ``factor``."""
    if isinstance(p, CubaParameters):
        return p._replace(v_th=p.v_th * factor).checked()
    return p._replace(
        v_th=p.v_th * factor,
        v_min=None if p.v_min is None else p.v_min * factor,
        v_max=None if p.v_max is None else p.v_max * factor,
    ).checked()


def with_thresholds(neurons: Sequence[Neuron], thresholds: Sequence[float]) -> list[Neuron]:
    """The same neurons with other thresholds, one a layer."""
    return [scaled(p, v_th / p.v_th) for p, v_th in zip(neurons, thresholds, strict=True)]


def _mean_rate(network: SpikingNetwork, frames: Frames, layer: int) -> float:
    """Mean firing rate of one layer."""
    total, state, layers = 0.0, None, network.layers()
    for x in frames:
        state = network.initial_state(len(x)) if state is None else state
        spikes, state = network.step(x, state, layers)
        total += spikes[layer].mean().item()
    return total / len(frames)
