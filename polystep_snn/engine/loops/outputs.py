"""What layer space computes between forward passes, each in one sweep over a batch: torch needs a dozen operations for it.

Shapes: D directions, C calls, B samples, n outputs of a layer, k inputs of the one that consumes them, I intervals of an output's value.
Sums over samples are kept apart for every output, so that the compiler can put outputs side by side.
"""

import numpy as np

from polystep_snn.engine.loops.jit import plain_loop


@plain_loop
def signs_of(numbers, signs):
    """-1 or 1 in each of ``signs`` ``[m]``, by the bits of ``numbers`` int64, 64 each."""
    one = signs.dtype.type(1)
    for m in range(len(signs)):
        signs[m] = one if (numbers[m >> 6] >> (m & 63)) & 1 else -one


@plain_loop
def measured(outputs, width, tiny, last, intervals):
    """In which interval ``[B, n]`` each of the outputs ``[B, n]`` lies, of ``last`` + 1, with 0 in the middle of them.

    Args:
        width: of an interval, in root mean squares of all outputs; at least ``tiny``.

    Returns:
        The standard deviation of all outputs.
    """
    kind = outputs.dtype.type
    num_samples, num_outputs = outputs.shape
    sums, squares = np.zeros(num_outputs, outputs.dtype), np.zeros(num_outputs, outputs.dtype)
    for b in range(num_samples):
        for j in range(num_outputs):
            sums[j] += outputs[b, j]
            squares[j] += outputs[b, j] * outputs[b, j]
    count = num_samples * num_outputs
    wide = kind(max(width * np.sqrt(squares.sum() / count), tiny))
    mean, zero, middle = kind(sums.sum() / count), kind(0), (last + kind(1)) / kind(2)
    # Squares about the mean are summed anew: the difference of two large sums would be inexact.
    squares[:] = 0
    for b in range(num_samples):
        for j in range(num_outputs):
            squares[j] += (outputs[b, j] - mean) * (outputs[b, j] - mean)
        for j in range(num_outputs):
            place = outputs[b, j] / wide + middle
            # What is no number is in the first one: nothing may point beyond a table.
            place = place if place > zero else zero
            intervals[b, j] = np.uint8(place if place < last else last)
    return np.sqrt(squares.sum() / (count - 1))


@plain_loop
def cross_entropy(output, target, slopes):
    """Cross-entropies of outputs ``[B, C]`` and classes ``[B]``, and their slopes ``[B, C]``, written.

    Returns:
        Their mean, and how many samples' first largest output is that of their class: -1 where a class is none.
    """
    one, total, right = output.dtype.type(1), 0.0, 0
    num_classes = output.shape[1]
    for b in range(len(output)):
        own = target[b]
        if own < 0 or own >= num_classes:
            return total, -1
        best = 0
        for c in range(1, num_classes):
            if output[b, c] > output[b, best]:
                best = c
        right += best == own
        largest, odds = output[b, best], output.dtype.type(0)
        for c in range(num_classes):
            slopes[b, c] = np.exp(output[b, c] - largest)
            odds += slopes[b, c]
        for c in range(num_classes):
            slopes[b, c] /= odds
        total += np.log(odds) + (largest - output[b, own])
        slopes[b, own] -= one
    return total / len(output), right


@plain_loop
def _mean_of_calls(slopes, b, mean):
    """Of slopes ``[C, B, k]`` for sample b; written ``[k]``."""
    share = slopes.dtype.type(1 / len(slopes))
    mean[:] = 0
    for c in range(len(slopes)):
        for i in range(len(mean)):
            mean[i] += share * slopes[c, b, i]


@plain_loop
def followed(table, intervals, partners, slopes, moved, own, directions, first, reached, factor, estimate):
    """``unexplained`` and ``corrected`` in one, where every output reaches few inputs of the consumer.

    Args:
        first, reached: output j reaches the inputs ``reached[first[j] : first[j + 1]]``.
        estimate: slopes ``[B, n]`` at the outputs; written.
    """
    num_directions, num_calls, num_samples, num_inputs = moved.shape
    num_outputs = len(partners)
    mean, rest = np.empty(num_inputs, slopes.dtype), np.empty(num_inputs, slopes.dtype)
    predicted = np.empty(num_outputs, slopes.dtype)
    for b in range(num_samples):
        _mean_of_calls(slopes, b, mean)
        for j in range(num_outputs):
            predicted[j] = table[j, intervals[b, j]] * mean[partners[j]]
            estimate[b, j] = predicted[j]
        for d in range(num_directions):
            rest[:] = 0
            for c in range(num_calls):
                for i in range(num_inputs):
                    rest[i] += slopes[c, b, i] * moved[d, c, b, i]
            for j in range(num_outputs):
                rest[partners[j]] -= predicted[j] * own[d, b, j]
            for j in range(num_outputs):
                seen = slopes.dtype.type(0)
                for m in range(first[j], first[j + 1]):
                    seen += rest[reached[m]]
                estimate[b, j] += factor * directions[d, b, j] * seen


@plain_loop
def unexplained(table, intervals, partners, slopes, moved, own, predicted, rest):
    """What learned credit predicts, and what it leaves.

    Args:
        table: ``[n, I]``, how far an output's partner moves, by the output's interval ``[B, n]``.
        partners: ``[n]``, inputs of the consumer.
        slopes: ``[C, B, k]`` at the consumer's inputs, which ``moved`` ``[D, C, B, k]``.
        own: ``[D, B, n]``, how the outputs moved.
        predicted: slopes ``[B, n]`` at the outputs; written.
        rest: ``[D, B, k]``, what movements cost that are not predicted; written.
    """
    num_directions, num_calls, num_samples, num_inputs = moved.shape
    num_outputs = len(partners)
    mean = np.empty(num_inputs, slopes.dtype)
    for b in range(num_samples):
        _mean_of_calls(slopes, b, mean)
        for j in range(num_outputs):
            predicted[b, j] = table[j, intervals[b, j]] * mean[partners[j]]
        for d in range(num_directions):
            rest[d, b] = 0
            for c in range(num_calls):
                for i in range(num_inputs):
                    rest[d, b, i] += slopes[c, b, i] * moved[d, c, b, i]
            for j in range(num_outputs):
                rest[d, b, partners[j]] -= predicted[b, j] * own[d, b, j]


@plain_loop
def corrected(predicted, directions, seen, factor, estimate):
    """``predicted`` plus ``factor`` times what each output's directions ``[D, B, n]`` saw, ``[D, B, n]``; written ``[B, n]``."""
    num_directions, num_samples, num_outputs = directions.shape
    for b in range(num_samples):
        for j in range(num_outputs):
            estimate[b, j] = predicted[b, j]
        for d in range(num_directions):
            for j in range(num_outputs):
                estimate[b, j] += factor * directions[d, b, j] * seen[d, b, j]


@plain_loop
def learn(found, intervals, directions, moved, unit, kept, clearly, correlation, partners, count, total, noise):
    """Learned credit after another step; all from ``correlation`` on is changed in place.

    Args:
        found: ``[n, k]``, correlations of this step, of directions ``[D, B, n]`` with what moved along them, ``[D, B, k]``.
        unit: how far a shift by one moves what ``moved`` has moved by one.
        kept: how much of the past stays.
        clearly: by how much another partner must move more than the present one.
        partners: ``[n]``.
        count, total: ``[n, I]``, how many outputs were in an interval, and how far their partners moved.
        noise: ``[1]``, the mean square of all that moved.
    """
    kind, one = moved.dtype.type, moved.dtype.type(1)
    num_directions, num_samples, num_inputs = moved.shape
    for j in range(len(partners)):
        for i in range(num_inputs):
            correlation[j, i] += (one - kept) * (found[j, i] - correlation[j, i])
        best = 0
        for i in range(1, num_inputs):
            if abs(correlation[j, i]) > abs(correlation[j, best]):
                best = i
        keeps = abs(correlation[j, best]) <= clearly * abs(correlation[j, partners[j]])
        # What was found of another partner says nothing of this one.
        of_past = kept if keeps or best == partners[j] else kind(0)
        partners[j] = partners[j] if keeps else best
        for m in range(count.shape[1]):
            count[j, m] *= of_past
            total[j, m] *= of_past
    squares, along = np.zeros(num_inputs, moved.dtype), np.empty(len(partners), moved.dtype)
    factor = unit / kind(num_directions)
    for b in range(num_samples):
        along[:] = 0
        for d in range(num_directions):
            for i in range(num_inputs):
                squares[i] += moved[d, b, i] * moved[d, b, i]
            for j in range(len(partners)):
                along[j] += directions[d, b, j] * moved[d, b, partners[j]]
        for j in range(len(partners)):
            count[j, intervals[b, j]] += one
            total[j, intervals[b, j]] += factor * along[j]
    noise[0] += (one - kept) * (kind(squares.sum() / moved.size) * unit * unit - noise[0])


@plain_loop
def table_of(count, total, noise, few, tiny, table):
    """How far partners move, ``[n, I]``, written; ``count``, ``total`` and ``noise`` as of ``learn``.

    Args:
        few: outputs in an interval below which it has the mean of all; that is held back by as much as it may be noise.
        tiny: the least divisor.
    """
    for j in range(len(count)):
        hits, moved = count[j].sum(), total[j].sum()
        own = moved / max(hits, 1)
        own *= max(1 - noise / max(hits * own * own, tiny), 0)
        for m in range(count.shape[1]):
            table[j, m] = (total[j, m] + few * own) / (count[j, m] + few) if own != 0 else 0
