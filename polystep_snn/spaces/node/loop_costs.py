"""Costs and displacements on the CPU, by compiled loops: the numbers of ``Cost.of_change`` and ``polystep.barycenter``."""

import math

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import entropy_of_changes, softmax_barycenters
from polystep_snn.engine.threads import split
from polystep_snn.polystep.cost import CrossEntropy

# Neurons that are worth a thread.
_GRAIN = 8


def cross_entropy(cost: CrossEntropy, value: Tensor, columns: Tensor, trace: Tensor, neurons: Tensor | None, probed: Tensor, target: Tensor):
    """Costs ``[V, K, B]`` when probe k moves the value ``[C, B]`` by its column times what it changed.

    Args:
        columns: ``[K, C]``.
        trace: ``[N, B]`` of the unprobed neurons, of which ``neurons: [K]`` are probed; None for all.
        probed: ``[V, K, B]``, the same under probes.
        target: ``[B]``.
    """
    logits = torch.log_softmax(cost.scale * value, 0)
    own = -logits.gather(0, target[None])[0]
    kind = own.numpy().dtype.type
    limit = kind(math.log(torch.finfo(value.dtype).max / (2 * len(value))))
    where = np.arange(len(trace)) if neurons is None else neurons.numpy()
    costs = torch.empty(probed.shape, dtype=probed.dtype)
    given = (logits.numpy(), (cost.scale * columns).contiguous().numpy(), trace.contiguous().numpy(), where, probed.contiguous().numpy())
    given += (target.numpy(), own.numpy(), limit, _exact(costs), costs.numpy())
    split(entropy_of_changes, len(columns), *given, grain=_GRAIN)
    return costs


def softmax_displacements(costs: Tensor, eps: float, points: Tensor) -> Tensor:
    """Where ``softmax(-costs / eps)`` of ``[V, K, B]`` puts each particle between points ``[V, M]``: ``[M, K, B]``."""
    found = torch.empty(points.shape[1], *costs.shape[1:], dtype=costs.dtype)
    given = (costs.contiguous().numpy(), costs.numpy().dtype.type(eps), points.contiguous().numpy(), _exact(costs), found.numpy())
    split(softmax_barycenters, costs.shape[1], *given, grain=_GRAIN)
    return found


def _exact(x: Tensor) -> bool | None:
    return None if x.dtype == torch.float32 else True
