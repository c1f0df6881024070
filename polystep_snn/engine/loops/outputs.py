"""What layer space computes between forward passes, each in one sweep over a batch: torch needs a dozen operations for it.

Shapes: D directions, C calls, B samples, n outputs of a layer, k inputs of the one that consumes them, I intervals of an output's value.
Sums over samples are kept apart for every output, so that the compiler can put outputs side by side.
"""

import numpy as np

from polystep_snn.engine.loops.jit import plain_loop


@plain_loop
def spread_of(outputs):
    """Standard deviation and root mean square of all outputs ``[B, n]``."""
    num_samples, num_outputs = outputs.shape
    sums, squares = np.zeros(num_outputs, outputs.dtype), np.zeros(num_outputs, outputs.dtype)
    for b in range(num_samples):
        for j in range(num_outputs):
            sums[j] += outputs[b, j]
            squares[j] += outputs[b, j] * outputs[b, j]
    count = num_samples * num_outputs
    square = 0.0
    for j in range(num_outputs):
        square += squares[j]
    mean = outputs.dtype.type(sums.sum() / count)
    # Again, about the mean: the difference of two large sums would be inexact.
    squares[:] = 0
    for b in range(num_samples):
        for j in range(num_outputs):
            squares[j] += (outputs[b, j] - mean) * (outputs[b, j] - mean)
    away = 0.0
    for j in range(num_outputs):
        away += squares[j]
    return np.sqrt(away / (count - 1)), np.sqrt(square / count)


@plain_loop
def intervals_of(outputs, width, last, intervals):
    """In which interval ``[B, n]`` each output lies, of ``last`` + 1 that are ``width`` wide, with 0 in the middle of them."""
    zero, middle = outputs.dtype.type(0), (last + outputs.dtype.type(1)) / outputs.dtype.type(2)
    for b in range(outputs.shape[0]):
        for j in range(outputs.shape[1]):
            place = outputs[b, j] / width + middle
            # What is no number is in the first one: nothing may point beyond a table.
            place = place if place > zero else zero
            intervals[b, j] = np.uint8(place if place < last else last)


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
    one = slopes.dtype.type(1)
    mean = np.empty(num_inputs, slopes.dtype)
    for b in range(num_samples):
        mean[:] = slopes[0, b]
        for c in range(1, num_calls):
            for i in range(num_inputs):
                mean[i] += slopes[c, b, i]
        for i in range(num_inputs):
            mean[i] *= one / num_calls
        for j in range(num_outputs):
            predicted[b, j] = table[j, intervals[b, j]] * mean[partners[j]]
        for d in range(num_directions):
            for i in range(num_inputs):
                rest[d, b, i] = slopes[0, b, i] * moved[d, 0, b, i]
            for c in range(1, num_calls):
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
def movements(intervals, directions, moved, partners, factor, count, total):
    """Sums over a batch that learned credit learns from.

    Args:
        intervals, partners: as of ``unexplained``.
        directions, moved: ``[D, B, n]`` and ``[D, B, k]``.
        factor: from a product of the two to what one direction of D moved.
        count, total: ``[n, I]``, how many outputs were in an interval, and how far their partners moved; added to.

    Returns:
        The mean square of ``moved``.
    """
    num_directions, num_samples, num_inputs = moved.shape
    squares = np.zeros(num_inputs, moved.dtype)
    along = np.empty(len(partners), moved.dtype)
    one = moved.dtype.type(1)
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
    return squares.sum() / moved.size
