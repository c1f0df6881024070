r"""Credit handed on from layer to layer: what a probe far from the readout costs, without following it there.

Followed exactly (``followed.py``), a probe that changes a spike simulates every layer behind its own. In deep and convolutional networks
that is so dear that few neurons can be probed in a step. But the probes of the next layer have told what its currents are worth: the slope
``g`` of their costs, for a unit of current in every step of a time window of L_m steps, is that of an affine fit,

    C[v, k, b] ~ c[k, b] + sum_m offset[v, m] g[m, k, b]

and with what a probe of neuron j changed in its own spikes,

    n[m, v, j, b] = sum_t phi_m(t) (s'_j[t, b] - s_j[t, b]) / L_m      (windows that overlap: their pseudoinverse for phi / L)
    C[v, j, b] = cost[b] + sum_m n[m, v, j, b] sum_k W[k, j] g[m, k, b]

so the whole layer is probed for a product with the transposed weights. Spikes and costs are those of hard thresholds, at both ends; an
approximation is that what many spikes do adds up. The layer in front of a readout that is a sum of spikes has exact costs in any case.
"""

import torch
from torch import Tensor

from polystep_snn.snn.wiring import Wiring


def fit(offsets: Tensor) -> Tensor:
    """What makes slopes ``[M, ...]`` of costs ``[V, ...]`` at points ``[V, M]``: ``[M, V]``, of the affine fit with the least squares."""
    points = torch.cat([offsets, torch.ones_like(offsets[:, :1])], 1)
    return torch.linalg.pinv(points.double())[:-1].to(offsets)


def reach(so_far: Tensor, changed: Tensor, shares: Tensor) -> Tensor:
    """What probes have changed in their spikes, in each time window of the next layer.

    Args:
        so_far: ``[M, V, K, B]``, before a block.
        changed: ``[U, V, K, B]`` int8, in its steps.
        shares: ``[U, M]``, how much a change in each of these steps counts in each window; or ``[U, K, M]``, of each neuron.
    """
    if shares.ndim == 3:
        return so_far + torch.einsum("ukm,uvkb->mvkb", shares, changed.to(shares.dtype))
    return so_far + (shares.T @ changed.flatten(1).to(shares.dtype)).view(so_far.shape)


def chained_cost(
    own: Tensor, reached: Tensor, slopes: Tensor, wiring: Wiring, weight: Tensor, neurons: tuple[Tensor | None, ...]
) -> Tensor:
    """Costs ``[V, K, B]`` of the probes of a layer, from what those of the next found.

    Args:
        own: ``[B]``, of the unprobed network.
        reached: ``[M, V, K, B]``, see ``reach``.
        slopes: ``[M, K', B]`` of the next layer's costs.
        wiring, weight: of the next layer.
        neurons: ``[K]`` and ``[K']``, which were probed in this layer and in the next; None for all.
    """
    return own + (reached * worth_of(slopes, wiring, weight, neurons)[:, None]).sum(0)


def worth_of(slopes: Tensor, wiring: Wiring, weight: Tensor, neurons: tuple[Tensor | None, ...]) -> Tensor:
    """What a change of one spike in each window is worth, ``[M, K, B]``; see ``chained_cost``."""
    here, there = neurons
    if there is not None:
        # K' of N' stand for all: on average over the draws the slopes are those of all.
        everywhere = slopes.new_zeros(len(slopes), wiring.num_neurons, slopes.shape[2])
        slopes = everywhere.index_copy(1, there, slopes * (wiring.num_neurons / len(there)))
    worth = wiring.transposed(weight, slopes.transpose(1, 2)).transpose(1, 2)
    return worth if here is None else worth.index_select(1, here)


def slopes_of(fitted: Tensor, cost: Tensor) -> Tensor:
    """Slopes ``[M, K, B]`` of costs ``[V, K, B]``; ``fitted`` from ``fit``."""
    return (fitted @ cost.flatten(1)).view(len(fitted), *cost.shape[1:])
