"""``gradients`` on the CPU, by compiled loops, for softmax transport."""

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import softmax_barycenters
from polystep_snn.engine.threads import split
from polystep_snn.spaces.node.last_hop import LayerCosts
from polystep_snn.spaces.node.loop_arrays import weighed
from polystep_snn.spaces.node.pass_state import Pass
from polystep_snn.spaces.node.pulled_back import placed, pulled_back

# Neurons that are worth a thread.
_GRAIN = 8


def gradients_by_loops(layers: list[LayerCosts], done: Pass, eps: float) -> list[Tensor]:
    """The negative displacements of all layers, pulled back to their weights and biases, in this order; see ``gradients``."""
    result: list[Tensor] = []
    plan = done.plan
    for (cost, activity, share, bias_share), probes, wiring in zip(layers, plan.probes, plan.wirings, strict=True):
        _, num_probed, batch_size = cost.shape
        # K of N neurons stand for all. What a window counts for the weights is in its points; for the biases it counts otherwise.
        factor = -wiring.num_neurons / num_probed / batch_size
        points, more = weighed(probes, wiring.num_neurons, factor, share, bias_share)
        shared, sums = softmax_displacements(cost.contiguous(), eps, points)
        bias = torch.from_numpy(more @ sums)
        if activity is not None and activity.shape[0] < len(shared):
            shared = shared.sum(0, keepdims=True)
        flat = torch.from_numpy(shared[0] if len(shared) == 1 else shared.transpose(1, 0, 2).reshape(num_probed, -1))
        if activity is None:
            result += [flat, placed(bias, probes.neurons, wiring.num_neurons)]
        elif done.entries is not None and not result:
            result += [placed(x, probes.neurons, wiring.num_neurons) for x in (done.entries.outer(flat), bias)]
        else:
            result += pulled_back(wiring, flat, bias, wiring.summed(activity.flatten(0, 1)), probes.neurons)
    return result


def softmax_displacements(costs: Tensor, eps: float, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where ``softmax(-costs / eps)`` of ``[V, K, B]`` puts particles between points ``[V, M]``: ``[M, K, B]``, and ``[M, K]`` summed."""
    given = costs.numpy()
    kind = given.dtype.type
    found, sums = np.empty((points.shape[1], *given.shape[1:]), kind), np.empty((points.shape[1], given.shape[1]), kind)
    exact = None if kind is np.float32 else True
    split(softmax_barycenters, given.shape[1], given, kind(eps), points, exact, found, sums, grain=_GRAIN)
    return found, sums
