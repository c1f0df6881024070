r"""Spikes that arrive later: delays between layers, and recurrent weights, one step later.

Chained credit carries both. With g[m, i, b] the slope of the costs for a unit of current in every one of the L_m steps of a neuron's time
window m, a change of neuron j's spike in step t is worth

    through the next layer      sum_k W[k, j] g_next[m(t + d_j), k, b] / L        d_j: the delay of its axon
    through its own layer       sum_i R[i, j] g_own[m(t + 1), i, b] / L           a spike that arrives after the last step is worth nothing

The first is known when a layer is priced. The second depends on the slopes of the layer itself, but of no earlier window than the one that
is probed: windows are priced from the last to the first, and within a window, whose price depends on itself, by repetition. What a changed
spike changes in other spikes of its own layer is not simulated; the price stands for it, as it does for the layers behind.

A delay has a price too: that of the spikes which arrive one step later, minus that of those which arrive one step earlier. It is known from
the same slopes, and nothing more is simulated.
"""

import torch
from torch import Tensor

from polystep_snn.snn.layer import Layer
from polystep_snn.snn.wiring import Wiring
from polystep_snn.spaces.node.chained import worth_of
from polystep_snn.spaces.node.last_hop import End, LinearEnd
from polystep_snn.spaces.node.pass_state import LayerProbes

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


def neighbours(delays: Tensor, max_delay: int) -> tuple[Tensor, Tensor]:
    """The next longer and the next shorter delays, where there are some."""
    return (delays + 1).clamp(max=max_delay), (delays - 1).clamp(min=0)


def moving_shares(layer: Layer, end: End, probes: LayerProbes, num_steps: int, last: bool) -> Tensor | None:
    """How much more a spike that is sent in each step counts with the next longer delay than with the next shorter one.

    Args:
        layer: where it arrives.
        end: of the network.
        probes: of that layer.
        num_steps: T.
        last: whether that layer is a readout that integrates.

    Returns:
        ``[T, N, M]`` in each window, or ``[T, N, 1]`` in the trace that the readout sees; None where delays are not learnt.
    """
    if layer.delays is None or not layer.wiring.learned_delays:
        return None
    longer, shorter = neighbours(layer.delays, layer.wiring.max_delay)
    if last and isinstance(end, LinearEnd):
        found = [end.trace_shares(num_steps, delays) for delays in (longer, shorter)]
        assert found[0] is not None
        assert found[1] is not None
        return (found[0] - found[1])[:, :, None]
    shares = torch.linalg.pinv(probes.windows).T
    return arrival_shares(shares, longer) - arrival_shares(shares, shorter)


def moved_by_delays(so_far: Tensor | None, shares: Tensor, z: Tensor) -> Tensor:
    """What other delays change of what arrives, ``[M, N, B]``, after a block of steps.

    Args:
        so_far: before it; None at the start.
        shares: ``[U, N, M]``, the block's part of ``moving_shares``.
        z: ``[U, N, B]``, spikes as they are sent.
    """
    found = torch.einsum("unm,unb->mnb", shares, z)
    return found if so_far is None else so_far + found


def lateness_gradient(difference: Tensor, delays: Tensor, max_delay: int) -> Tensor:
    """Of ``SpikingNetwork.lateness``, ``[N]``.

    Args:
        difference: ``[N, B]``, by how much samples cost more with the next longer delay of a neuron than with the next shorter one.
        delays: ``[N]``, in steps.
        max_delay: the longest there can be.
    """
    longer, shorter = neighbours(delays, max_delay)
    return difference.mean(1) * max_delay / (longer - shorter)


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
