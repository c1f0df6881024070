"""What the usual step ends with, in two calls: cross-entropy, softmax transport, a dense readout that adds spikes up.

The same numbers as by the functions of ``costs.py``, one after the other; a small step spends more time between calls than in them. Shapes
as there; N neurons fire.
"""

from polystep_snn.engine.loops.costs import entropy, entropy_of_changes, entropy_of_shifts, softmax_barycenters
from polystep_snn.engine.loops.jit import product_loop
from polystep_snn.engine.loops.lane_functions import sum_of
from polystep_snn.engine.loops.lanes import LANES, fill, load, store


@product_loop
def conclude_readout(
    weight, bias, gain, unit, trace, target, scale, quick, live, limit, shifts, eps, points, bias_share, chosen, values, logits, odds, own,
    columns, costs, moved, sums, weight_grad, bias_grad,
):  # fmt: skip
    """The readout, what it costs, and its own gradients.

    Args:
        weight, bias: ``[C, N]`` and ``[C]`` of the readout; gain, unit, target, scale, quick, live: as of ``entropy``.
        trace: ``[N, B]``, of the neurons before it.
        limit, shifts: as of ``entropy_of_shifts``.
        eps, points: as of ``softmax_barycenters``; ``bias_share`` is what its sums count for the biases.
        chosen: ``[K]``, which neurons are probed.
        values, logits, odds, own: as of ``entropy``, written.
        columns: as of ``entropy_of_changes``, written.
        costs, moved, sums: ``[V, C, B]``, ``[1, C, B]``, ``[1, C]``, written.
        weight_grad, bias_grad: ``[C, N]`` and ``[C]``, written.

    Returns:
        What ``entropy`` does.
    """
    none = trace.dtype.type(0)
    for b in range(0, len(own), LANES):
        for c in range(len(weight)):
            total = fill(none)
            for n in range(len(trace)):
                total = total + weight[c, n] * load(trace, (n, b))
            store(values, (c, b), total)
    found = entropy(values, bias, gain, unit, target, scale, quick, live, logits, odds, own)
    for k in range(len(chosen)):
        for c in range(len(weight)):
            columns[k, c] = weight[c, chosen[k]] * (unit * scale)
    entropy_of_shifts(logits, odds, shifts, target, own, limit, quick, costs)
    softmax_barycenters(0, len(weight), costs, eps, points, live, quick, moved, sums)
    for c in range(len(weight)):
        bias_grad[c] = sums[0, c] * bias_share
        for n in range(len(trace)):
            total = fill(none)
            for b in range(0, len(own), LANES):
                total = total + load(moved, (0, c, b)) * load(trace, (n, b))
            weight_grad[c, n] = sum_of(total)
    return found


@product_loop
def conclude_neurons(
    first, behind, logits, odds, columns, trace, chosen, probed, target, own, limit, quick, counted, costs, eps, points, live, moved, sums
):
    """Costs and displacements of probed neurons ``first`` to ``behind``; see ``entropy_of_changes`` and ``softmax_barycenters``."""
    entropy_of_changes(first, behind, logits, odds, columns, trace, chosen, probed, target, own, limit, quick, counted, costs)
    softmax_barycenters(first, behind, costs, eps, points, live, quick, moved, sums)
