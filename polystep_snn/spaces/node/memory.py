r"""Spikes that arrive later: delays between layers, and recurrent weights, one step later.

Chained credit carries both. With g[m, i, b] the slope of the costs for a unit of current in every one of the L_m steps of a neuron's time
window m, a change of neuron j's spike in step t is worth

    through the next layer      sum_k W[k, j] g_next[m(t + d_j), k, b] / L        d_j: the delay of its axon
    through its own layer       sum_i R[i, j] g_own[m(t + 1), i, b] / L           a spike that arrives after the last step is worth nothing

The first is known when a layer is priced. The second depends on the slopes of the layer itself, but of no earlier window than the one that
is probed: windows are priced from the last to the first, and within a window, whose price depends on itself, by repetition. What a changed
spike changes in other spikes of its own layer is not simulated; the price stands for it, as it does for the layers behind.
"""

import torch
from torch import Tensor

from polystep_snn.snn.wiring import Wiring
from polystep_snn.spaces.node.chained import worth_of

# Repetitions within a window.
REPETITIONS = 2


def delayed(z: Tensor, past: Tensor, delays: Tensor) -> Tensor:
    """What arrives in the U steps of a block: ``[U, N, B]``.

    Args:
        z: ``[U, N, B]``, spikes as they are sent.
        past: ``[P, N, B]``, those of the steps before; P is no less than any delay.
        delays: ``[N]``, in steps.
    """
    sent = torch.cat([past, z])
    steps = torch.arange(len(z), device=z.device)[:, None] + len(past) - delays
    return sent.gather(0, steps[:, :, None].expand(z.shape))


def arrival_shares(shares: Tensor, lag: int | Tensor) -> Tensor:
    """How much a spike that is sent in each step counts in each window where it arrives.

    Args:
        shares: ``[T, M]``, how much one that arrives in each step counts.
        lag: how many steps later it arrives: of all, or ``[K]``, of each neuron.

    Returns:
        ``[T, M]``, or ``[T, K, M]``; 0 for what arrives after the last step.
    """
    longest = lag if isinstance(lag, int) else int(lag.max())
    padded = torch.cat([shares, shares.new_zeros(longest, shares.shape[1])])
    if isinstance(lag, int):
        return padded[lag:]
    steps = torch.arange(len(shares), device=shares.device)[:, None] + lag
    return padded[steps]


def one_window_each(offsets: Tensor) -> bool:
    """Whether every vertex ``[V, M]`` shifts one window alone."""
    return bool(((offsets != 0).sum(1) == 1).all())


def recurrent_costs(direct: Tensor, reached: Tensor, fitted: Tensor, offsets: Tensor, recurrent: Tensor, neurons: Tensor | None) -> Tensor:
    """Costs ``[V, K, B]`` of the probes of a layer with recurrent weights.

    Args:
        direct: ``[V, K, B]``, what they cost through the layers behind.
        reached: ``[M, V, K, B]``, what probes have changed in their spikes, in the windows in which these arrive one step later.
        fitted: ``[M, V]``, what makes slopes of costs.
        offsets: ``[V, M]``; every vertex shifts one window.
        recurrent: ``[N, N]``.
        neurons: ``[K]``, which were probed; None for all.
    """
    wiring, costs = Wiring(len(recurrent), len(recurrent)), direct.clone()
    worth = direct.new_zeros(len(fitted), *direct.shape[1:])
    window_of = (offsets != 0).to(torch.int8).argmax(1)
    for m in reversed(range(len(fitted))):
        of_window = torch.nonzero(window_of == m)[:, 0]
        begun = direct[of_window] + (reached[m + 1 :, of_window] * worth[m + 1 :, None]).sum(0)
        cost = begun
        # Once more than costs change, for the windows before.
        for repetition in range(REPETITIONS + 1):
            slopes = torch.tensordot(fitted[m, of_window], cost, 1)[None]
            worth[m] = worth_of(slopes, wiring, recurrent, (neurons, neurons))[0]
            if repetition < REPETITIONS:
                cost = begun + reached[m, of_window] * worth[m]
        costs[of_window] = cost
    return costs
