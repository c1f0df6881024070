"""From what probes changed to costs, and from costs to displacements: one probed neuron at a time, its samples side by side.

Shapes: V vertices, K probed neurons, B samples, C classes, M time windows.
"""

import numpy as np

from polystep_snn.engine.loops.functions import exponential, logarithm
from polystep_snn.engine.loops.jit import product_loop

# Changes of so many values at most, which move a logit by so much at most, are looked up.
_MOST_VALUES, _LARGEST_EXPONENT = 8, 20


@product_loop
def entropy(values, bias, unit, target, scale, exact, logits, odds, own):
    """Cross-entropy of a network's readout.

    Args:
        values: ``[C, B]``; the readout's bias is added and the sum multiplied by its unit, in place.
        bias: ``[C]``.
        target: ``[B]`` int64.
        scale: of the values.
        logits, odds: ``[C, B]``, log-probabilities and probabilities, written.
        own: ``[B]``, costs, written.

    Returns:
        How many samples are right: their class has the largest value, and comes first among several.
    """
    num_classes, num_samples = values.shape
    largest, total = np.empty(num_samples, own.dtype), np.empty(num_samples, own.dtype)
    for c in range(num_classes):
        for b in range(num_samples):
            values[c, b] = (values[c, b] + bias[c]) * unit
    for b in range(num_samples):
        largest[b] = values[0, b]
        total[b] = 0
    for c in range(1, num_classes):
        for b in range(num_samples):
            largest[b] = max(largest[b], values[c, b])
    for c in range(num_classes):
        for b in range(num_samples):
            logits[c, b] = scale * (values[c, b] - largest[b])
            total[b] += exponential(logits[c, b], exact)
    for b in range(num_samples):
        total[b] = logarithm(total[b], exact)
    right = 0
    for c in range(num_classes):
        for b in range(num_samples):
            logits[c, b] -= total[b]
            odds[c, b] = exponential(logits[c, b], exact)
    for b in range(num_samples):
        own[b] = -logits[target[b], b]
        first = 0
        while values[first, b] != largest[b] and first < num_classes - 1:
            first += 1
        right += first == target[b]
    return right


@product_loop
def entropy_of_changes(first, behind, logits, odds, columns, trace, where, probed, target, own, limit, exact, counted, costs):
    """Cross-entropy under probes that move logits by a column times what they changed, for neurons ``first`` to ``behind``.

    Args:
        logits: ``[C, B]`` log-probabilities of the unprobed network, and ``odds`` their exponentials.
        columns: ``[K, C]``, what a change of 1 adds to them.
        trace: ``[N, B]`` of the unprobed neurons, and ``where: [K]`` the probed ones among them.
        probed: ``[V, K, B]`` the same under probes.
        target: ``[B]`` int64.
        own: ``[B]`` costs without a probe.
        limit: of exponents; costs saturate there, those of probes that changed nothing too.
        exact: None for polynomials in float32; True for float64.
        counted: whether all changes are whole numbers.
        costs: ``[V, K, B]``, written.
    """
    num_classes, num_samples = logits.shape
    kind = own.dtype.type
    change, total, summed = np.empty(num_samples, own.dtype), np.empty(num_samples, own.dtype), np.empty(num_samples, own.dtype)
    least = np.exp(-limit)
    for k in range(first, behind):
        unprobed, column = trace[where[k]], columns[k]
        steepest = kind(0)
        for c in range(num_classes):
            steepest = max(steepest, abs(column[c]))
        for p in range(len(probed)):
            row, shifted = costs[p, k], probed[p, k]
            low, high = kind(0), kind(0)
            for b in range(num_samples):
                change[b] = shifted[b] - unprobed[b]
                low, high = min(low, change[b]), max(high, change[b])
            if low == high:
                for b in range(num_samples):
                    row[b] = min(own[b], limit)
                continue
            if counted and high - low <= _MOST_VALUES and steepest * max(high, -low) <= _LARGEST_EXPONENT:
                _sums_of_counts(odds, column, change, int(low), int(high), summed, least, exact, total)
            else:
                for b in range(num_samples):
                    total[b] = least
                for c in range(num_classes):
                    w, start = column[c], logits[c]
                    for b in range(num_samples):
                        total[b] += exponential(min(start[b] + w * change[b], limit), exact)
            for b in range(num_samples):
                total[b] = logarithm(total[b], exact)
            for b in range(num_samples):
                right = min(max(logits[target[b], b] + column[target[b]] * change[b], -limit), limit)
                row[b] = total[b] - right if change[b] != 0 else min(own[b], limit)


@product_loop
def _sums_of_counts(odds, column, change, low, high, summed, least, exact, total):
    """Odds after changes that take few values: ``exp(logit + w n)`` is ``exp(logit) exp(w n)``, and the second is known for every n."""
    num_classes, num_samples = odds.shape
    kind = odds.dtype.type
    for b in range(num_samples):
        total[b] = 1
    for n in range(low, high + 1):
        if n == 0:
            continue
        value = kind(n)
        for b in range(num_samples):
            summed[b] = least
        for c in range(num_classes):
            factor, share = exponential(column[c] * value, exact), odds[c]
            for b in range(num_samples):
                summed[b] += share[b] * factor
        for b in range(num_samples):
            total[b] = summed[b] if change[b] == value else total[b]


@product_loop
def entropy_of_values(first, behind, values, target, scale, exact, which, costs):
    """Cross-entropy of rows ``first`` to ``behind`` of values ``[R, C]``, written where each belongs.

    Args:
        which: ``[R]`` places in ``costs``, flat and with the samples innermost.
        others as above.
    """
    num_classes, num_samples = values.shape[1], len(target)
    for r in range(first, behind):
        largest = values[r, 0]
        for c in range(1, num_classes):
            largest = max(largest, values[r, c])
        odds = values.dtype.type(0)
        for c in range(num_classes):
            odds += exponential(scale * (values[r, c] - largest), exact)
        costs[which[r]] = logarithm(odds, exact) - scale * (values[r, target[which[r] % num_samples]] - largest)


@product_loop
def softmax_barycenters(first, behind, costs, eps, points, exact, displacement, sums):
    """Where ``softmax(-costs / eps)`` puts neurons ``first`` to ``behind`` between the vertices.

    Args:
        costs: ``[V, K, B]``.
        points: ``[V, M]``.
        exact: None for polynomials in float32; True for float64.
        displacement: ``[M, K, B]``, written.
        sums: ``[M, K]``, over the samples, written.
    """
    num_vertices, _, num_samples = costs.shape
    lowest, total = np.empty(num_samples, costs.dtype), np.empty(num_samples, costs.dtype)
    odds = np.empty(num_samples, costs.dtype)
    for k in range(first, behind):
        for b in range(num_samples):
            lowest[b] = costs[0, k, b]
            total[b] = 0
        for p in range(1, num_vertices):
            row = costs[p, k]
            for b in range(num_samples):
                lowest[b] = min(lowest[b], row[b])
        for m in range(points.shape[1]):
            for b in range(num_samples):
                displacement[m, k, b] = 0
        for p in range(num_vertices):
            row = costs[p, k]
            for b in range(num_samples):
                odds[b] = exponential((lowest[b] - row[b]) / eps, exact)
                total[b] += odds[b]
            for m in range(points.shape[1]):
                point, moved = points[p, m], displacement[m, k]
                for b in range(num_samples):
                    moved[b] += point * odds[b]
        for m in range(points.shape[1]):
            moved = displacement[m, k]
            for b in range(num_samples):
                moved[b] /= total[b]
            summed = costs.dtype.type(0)
            for b in range(num_samples):
                summed += moved[b]
            sums[m, k] = summed


@product_loop
def chained_costs(first, behind, own, reached, worth, costs):
    """What probes of neurons ``first`` to ``behind`` cost by what they changed and what a change is worth.

    Args:
        own: ``[B]``.
        reached: ``[M, V, K, B]``.
        worth: ``[M, K, B]``.
        costs: ``[V, K, B]``, written.
    """
    num_windows, num_vertices, _, num_samples = reached.shape
    for k in range(first, behind):
        for p in range(num_vertices):
            row = costs[p, k]
            for b in range(num_samples):
                row[b] = own[b]
            for m in range(num_windows):
                change, price = reached[m, p, k], worth[m, k]
                for b in range(num_samples):
                    row[b] += change[b] * price[b]


@product_loop
def rates_of(counts, num_steps, out):
    """Mean spikes a step of ``counts [N, B]``: ``[N]``, written."""
    num_samples = counts.shape[1]
    for n in range(len(counts)):
        total = counts.dtype.type(0)
        for b in range(num_samples):
            total += counts[n, b]
        out[n] = total / counts.dtype.type(num_samples) / num_steps
