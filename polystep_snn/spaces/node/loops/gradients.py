"""From costs to displacements of neurons, and from these to gradients of weights: ``gradients.py`` by compiled loops."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from polystep_snn.engine.loops import softmax_barycenters
from polystep_snn.engine.products import product
from polystep_snn.engine.threads import split
from polystep_snn.polystep.barycenter import barycenter
from polystep_snn.polystep.transport import Softmax, Transport
from polystep_snn.snn.wiring import Wiring
from polystep_snn.spaces.node.loops.arrays import Probing
from polystep_snn.spaces.node.pulled_back import pulled_back

# Neurons that are worth a thread.
_GRAIN = 8


def displacements(
    transport: Transport, costs: Tensor, eps: float, probing: Probing, batch_size: int, live: np.ndarray, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Where costs ``[V, K, B]`` of padded samples move neurons.

    Args:
        batch_size: samples without the padding, of which ``live`` says where they are.
        out: ``[M, K, B]``, may be overwritten.

    Returns:
        ``[M, K, B]``, negative and weighed as weights see it, 0 in the padding; and ``[K]``, their sums as biases see them.
    """
    num_windows = probing.points.shape[1]
    if type(transport) is Softmax:
        given = costs.numpy()
        kind = given.dtype.type
        sums = np.empty((num_windows, given.shape[1]), kind)
        quick = True if kind is np.float32 else None
        split(softmax_barycenters, given.shape[1], given, kind(eps), probing.points, live, quick, out.numpy(), sums, grain=_GRAIN)
        found = out
    else:
        real = costs[..., :batch_size]
        found = barycenter(transport, real, torch.as_tensor(eps, dtype=costs.dtype), torch.from_numpy(probing.points))
        sums = found.sum(2).numpy()
        found = pad(found, (0, costs.shape[2] - batch_size))
    return found, torch.from_numpy(probing.of_biases(sums))


def flat(displacement: Tensor) -> Tensor:
    """``[K, M B]`` of ``[M, K, B]``."""
    return displacement[0] if len(displacement) == 1 else displacement.transpose(0, 1).flatten(1)


def of_weights(wiring: Wiring, displacement: Tensor, bias: Tensor, activity: Tensor, neurons: Tensor | None) -> list[Tensor]:
    """Gradients of weights and biases.

    Args:
        displacement, bias: from ``displacements``.
        activity: ``[M, B, N]``, what arrived in each window; ``[1, B, N]`` where all windows saw the same.
        neurons: as of ``LayerProbes``.
    """
    if len(activity) < len(displacement):
        displacement = displacement.sum(0, keepdim=True)
    if wiring.is_matrix and neurons is None:
        return [product(flat(displacement), activity.flatten(0, 1) if len(activity) > 1 else activity[0]), bias]
    return pulled_back(wiring, flat(displacement), bias, wiring.summed(activity.flatten(0, 1)), neurons)
