"""From what probes changed to costs, and from costs to displacements: lanes of samples of one probed neuron at a time.

Shapes: V vertices, K probed neurons, B samples, padded to whole lanes, C classes, M time windows. ``quick`` chooses the functions that
``loops.functions`` computes: True for float32, None for float64.
"""

import numpy as np

from polystep_snn.engine.loops.functions import exponential, logarithm
from polystep_snn.engine.loops.jit import product_loop
from polystep_snn.engine.loops.lane_functions import any_of, higher_of, highest_of, lower_of, lowest_of, picked, sum_of, where, whole_of
from polystep_snn.engine.loops.lanes import AVX512, LANES, fill, load, store
from polystep_snn.engine.loops.vectors import SQUARE, turn

# Changes by so many spikes at most, which move a logit by so much at most, are looked up.
_MOST_SPIKES, _LARGEST_EXPONENT = 15, 35


@product_loop
def entropy(values, bias, gain, unit, target, scale, quick, live, logits, odds, own):
    """Cross-entropy of a network's readout.

    Args:
        values: ``[C, B]``; ``gain`` times the readout's bias is added and the sum multiplied by its unit, in place.
        bias: ``[C]``; None for values that are complete.
        target: ``[B]`` int32.
        scale: of the values.
        live: ``[B]``, 1 for samples and 0 for padding.
        logits, odds: ``[C, B]``, log-probabilities and probabilities, written.
        own: ``[B]``, costs, written.

    Returns:
        The sum of the costs, and how many samples are right: their class has the largest value, and comes first among several.
    """
    none, one = own.dtype.type(0), own.dtype.type(1)
    costs = right = none
    for b in range(0, len(own), LANES):
        largest, first = fill(own.dtype.type(-np.inf)), fill(np.int32(0))
        for c in range(len(values)):
            value = load(values, (c, b))
            if bias is not None:
                value = (value + bias[c] * gain) * unit
                store(values, (c, b), value)
            first = where(value > largest, np.int32(c), first)
            largest = higher_of(largest, value)
        total = fill(none)
        for c in range(len(values)):
            total = total + exponential(scale * (load(values, (c, b)) - largest), quick)
        total = logarithm(total, quick)
        cost = total
        for c in range(len(values)):
            logit = scale * (load(values, (c, b)) - largest) - total
            store(logits, (c, b), logit)
            store(odds, (c, b), exponential(logit, quick))
            cost = where(load(target, b) == np.int32(c), none - logit, cost)
        store(own, b, cost)
        exists = load(live, b)
        costs += sum_of(cost * exists)
        right += sum_of(where(first == load(target, b), one, none) * exists)
    return costs, right


@product_loop
def entropy_of_changes(first, behind, logits, odds, columns, trace, chosen, probed, target, own, limit, quick, counted, costs):
    """Cross-entropy under probes that move logits by a column times what they changed, for neurons ``first`` to ``behind``.

    Args:
        logits, odds, target, own: of the unprobed network, as of ``entropy``.
        columns: ``[K, C]``, what a change of 1 adds to the logits; padded with zeros.
        trace: ``[N, B]`` of the unprobed neurons, and ``chosen: [K]`` the probed ones among them.
        probed: ``[V, K, B]`` the same under probes.
        limit: of exponents; costs saturate there, those of probes that changed nothing too.
        counted: whether all changes are whole numbers.
        costs: ``[V, K, B]``, written.
    """
    none = own.dtype.type(0)
    least = np.exp(-limit)
    powers = np.empty((2 * SQUARE, columns.shape[1]), own.dtype)
    tables = np.empty((columns.shape[1], 2 * SQUARE), own.dtype)
    for k in range(first, behind):
        unprobed = chosen[k]
        steepest = none
        for c in range(0, columns.shape[1], LANES):
            steepest = max(steepest, highest_of(load(columns, (k, c))), -lowest_of(load(columns, (k, c))))
        looked_up = counted and steepest * _MOST_SPIKES <= _LARGEST_EXPONENT
        if looked_up:
            _powers(columns, k, quick, powers, tables)
        for b in range(0, len(own), LANES):
            cost = load(own, b)
            slope = fill(none)
            for c in range(len(odds)):
                slope = where(load(target, b) == np.int32(c), columns[k, c], slope)
            for p in range(len(probed)):
                change = load(probed, (p, k, b)) - load(trace, (unprobed, b))
                if not any_of(change != none):
                    store(costs, (p, k, b), lower_of(cost, limit))
                    continue
                total = fill(least)
                if looked_up and not any_of(change * change > own.dtype.type(_MOST_SPIKES * _MOST_SPIKES)):
                    total = _odds_after(odds, b, change, powers, tables, least, quick)
                else:
                    for c in range(len(odds)):
                        total = total + exponential(lower_of(load(logits, (c, b)) + columns[k, c] * change, limit), quick)
                right = lower_of(higher_of(slope * change - cost, -limit), limit)
                store(costs, (p, k, b), where(change != none, logarithm(total, quick) - right, lower_of(cost, limit)))


@product_loop
def _powers(columns, k, quick, powers, tables):
    """``exp(n w)`` for n from -15 to 15, of every class's w: ``powers[n + 15, c]``, and the same turned over."""
    for c in range(0, columns.shape[1], LANES):
        w = load(columns, (k, c))
        rise, fall = exponential(w, quick), exponential(columns.dtype.type(0) - w, quick)
        up, down = rise, fall
        store(powers, (_MOST_SPIKES, c), columns.dtype.type(1))
        for n in range(1, _MOST_SPIKES + 1):
            store(powers, (_MOST_SPIKES + n, c), up)
            store(powers, (_MOST_SPIKES - n, c), down)
            up, down = up * rise, down * fall
    if AVX512 and quick is not None:
        for c in range(0, columns.shape[1], SQUARE):
            turn(powers, 0, c, tables, c, 0)
            turn(powers, SQUARE, c, tables, c, SQUARE)


@product_loop
def _odds_after(odds, b, change, powers, tables, least, quick):
    """``exp(logit + n w)`` is ``exp(logit) exp(n w)``, and the second is the same for all samples."""
    total = fill(least)
    if AVX512 and quick is not None:
        which = whole_of(change) + np.int32(_MOST_SPIKES)
        for c in range(len(odds)):
            total = total + load(odds, (c, b)) * picked(tables, (c, 0), which)
        return total
    for sign in (-1, 1):
        for n in range(1, _MOST_SPIKES + 1):
            value = odds.dtype.type(sign * n)
            if not any_of(change * value > value * value - 1):
                break
            found = fill(least)
            for c in range(len(odds)):
                found = found + powers[_MOST_SPIKES + sign * n, c] * load(odds, (c, b))
            total = where(change == value, found, total)
    return total


@product_loop
def entropy_of_shifts(logits, odds, shifts, target, own, limit, quick, costs):
    """Cross-entropy when one class's logit is shifted: the readout's own probes.

    Args:
        shifts: ``[V]``.
        costs: ``[V, C, B]``, written.
        others: as of ``entropy_of_changes``.
    """
    none = own.dtype.type(0)
    least = np.exp(-limit)
    for c in range(len(odds)):
        for b in range(0, len(own), LANES):
            others = fill(least)
            for other in range(len(odds)):
                if other != c:
                    others = others + load(odds, (other, b))
            for p in range(len(shifts)):
                total = others + exponential(lower_of(load(logits, (c, b)) + shifts[p], limit), quick)
                right = where(load(target, b) == np.int32(c), shifts[p], none) - load(own, b)
                store(costs, (p, c, b), logarithm(total, quick) - lower_of(higher_of(right, -limit), limit))


@product_loop
def entropy_of_outputs(first, behind, values, target, scale, quick, costs):
    """Cross-entropy of readouts ``[V, K, C, B]`` under probes, for vertices and neurons ``first`` to ``behind`` of V K: ``[V, K, B]``."""
    _, num_neurons, num_classes, num_samples = values.shape
    for place in range(first, behind):
        p, k = place // num_neurons, place % num_neurons
        for b in range(0, num_samples, LANES):
            largest = load(values, (p, k, 0, b))
            right = largest
            for c in range(1, num_classes):
                value = load(values, (p, k, c, b))
                largest = higher_of(largest, value)
                right = where(load(target, b) == np.int32(c), value, right)
            total = fill(costs.dtype.type(0))
            for c in range(num_classes):
                total = total + exponential(scale * (load(values, (p, k, c, b)) - largest), quick)
            store(costs, (p, k, b), logarithm(total, quick) - scale * (right - largest))


@product_loop
def entropy_of_rows(first, behind, values, target, scale, quick, which, costs):
    """Cross-entropy of rows ``first`` to ``behind`` of values ``[R, C]``, written where each belongs.

    Args:
        which: ``[R]`` places in ``costs``, ``(v K + k) B + b``, with B the length of ``target``; costs is ``[V K B]``.
    """
    num_classes = values.shape[1]
    for r in range(first, behind):
        largest = values[r, 0]
        for c in range(1, num_classes):
            largest = max(largest, values[r, c])
        odds = values.dtype.type(0)
        for c in range(num_classes):
            odds += exponential(scale * (values[r, c] - largest), quick)
        costs[which[r]] = logarithm(odds, quick) - scale * (values[r, target[which[r] % len(target)]] - largest)


@product_loop
def softmax_barycenters(first, behind, costs, eps, points, live, quick, displacement, sums):
    """Where ``softmax(-costs / eps)`` puts neurons ``first`` to ``behind`` between the vertices.

    Args:
        costs: ``[V, K, B]``.
        points: ``[V, M]``.
        live: ``[B]``, 1 for samples and 0 for padding.
        displacement: ``[M, K, B]``, written; 0 in the padding.
        sums: ``[M, K]``, over the samples, written.
    """
    none, one = costs.dtype.type(0), costs.dtype.type(1)
    for k in range(first, behind):
        for m in range(len(sums)):
            sums[m, k] = none
        for b in range(0, len(live), LANES):
            lowest = load(costs, (0, k, b))
            for p in range(1, len(costs)):
                lowest = lower_of(lowest, load(costs, (p, k, b)))
            for m in range(len(sums)):
                total, moved = fill(none), fill(none)
                for p in range(len(costs)):
                    odds = exponential((lowest - load(costs, (p, k, b))) * (one / eps), quick)
                    total = total + odds
                    moved = moved + points[p, m] * odds
                moved = where(load(live, b) > none, moved / total, none)
                store(displacement, (m, k, b), moved)
                sums[m, k] += sum_of(moved)


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
        for b in range(0, num_samples, LANES):
            for p in range(num_vertices):
                cost = load(own, b)
                for m in range(num_windows):
                    cost = cost + load(reached, (m, p, k, b)) * load(worth, (m, k, b))
                store(costs, (p, k, b), cost)


@product_loop
def rates_of(counts, num_samples, num_steps, out):
    """Mean spikes a step of ``counts [N, B]``, of the first samples: ``[N]``, written."""
    for n in range(len(counts)):
        total = counts.dtype.type(0)
        for b in range(0, num_samples - num_samples % LANES, LANES):
            total += sum_of(load(counts, (n, b)))
        for b in range(num_samples - num_samples % LANES, num_samples):
            total += counts[n, b]
        out[n] = total / counts.dtype.type(num_samples) / counts.dtype.type(num_steps)
