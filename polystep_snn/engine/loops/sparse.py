"""Products with inputs that are zero almost everywhere: only what is not zero is multiplied.

Shapes: R rows (samples, or samples in every step), N inputs, M outputs, E numbers that are not zero.
"""

import numpy as np

from polystep_snn.engine.loops.jit import loop, product_loop

# Rows or inputs at a time: their results are turned over in a core's first cache.
TILE = 16


@loop
def row_entries(x, starts, columns, values):
    """The entries of ``x [R, N]``, row by row.

    Args:
        starts: ``[R + 1]``, written.
        columns, values: ``[R N + 1]``, of which the first E are written.
    """
    e = 0
    for r in range(len(x)):
        starts[r] = e
        row = x[r]
        for n in range(len(row)):
            # Written in any case: that is faster than a jump which nobody can foresee.
            columns[e] = n
            values[e] = row[n]
            e += row[n] != 0
    starts[len(x)] = e


@loop
def column_entries(starts, columns, values, column_starts, rows, sorted_values):
    """The same entries column by column: ``column_starts [N + 1]``, ``rows [E]`` and ``sorted_values [E]`` are written."""
    for n in range(len(column_starts)):
        column_starts[n] = 0
    for e in range(len(columns)):
        column_starts[columns[e] + 1] += 1
    for n in range(1, len(column_starts)):
        column_starts[n] += column_starts[n - 1]
    place = column_starts[:-1].copy()
    for r in range(len(starts) - 1):
        for e in range(starts[r], starts[r + 1]):
            n = columns[e]
            rows[place[n]] = r
            sorted_values[place[n]] = values[e]
            place[n] += 1


@product_loop
def _add_rows(total, first, behind, index, values, rows):
    """``total += values[e] * rows[index[e]]`` for entries ``first`` to ``behind``, four at a time."""
    for e in range(first, behind - 3, 4):
        a, b, c, d = values[e], values[e + 1], values[e + 2], values[e + 3]
        row_a, row_b, row_c, row_d = rows[index[e]], rows[index[e + 1]], rows[index[e + 2]], rows[index[e + 3]]
        for m in range(len(total)):
            total[m] += (a * row_a[m] + b * row_b[m]) + (c * row_c[m] + d * row_d[m])
    for e in range(behind - (behind - first) % 4, behind):
        value, row = values[e], rows[index[e]]
        for m in range(len(total)):
            total[m] += value * row[m]


@product_loop
def rows_times(first, behind, starts, columns, values, weight, bias, out):
    """Rows times weights, for tiles ``first`` to ``behind`` of 16 samples: ``out[u] = weight^T x[u]^T + bias``.

    Args:
        starts: ``[U B + 1]``.
        weight: ``[N, M]``, one row an input.
        bias: ``[M]``.
        out: ``[U, M, B]``, written.
    """
    _, num_outputs, num_samples = out.shape
    tile = np.empty((TILE, num_outputs), weight.dtype)
    tiles = (num_samples + TILE - 1) // TILE
    for place in range(first, behind):
        u, start = place // tiles, place % tiles * TILE
        end = min(start + TILE, num_samples)
        for b in range(start, end):
            total, row = tile[b - start], u * num_samples + b
            for m in range(num_outputs):
                total[m] = bias[m]
            _add_rows(total, starts[row], starts[row + 1], columns, values, weight)
        for m in range(num_outputs):
            for b in range(start, end):
                out[u, m, b] = tile[b - start, m]


@product_loop
def outer_products(first, behind, starts, rows, values, left, out):
    """``out = left^T x`` for inputs ``first`` to ``behind``: a sum of outer products over the rows.

    Args:
        starts, rows, values: entries column by column.
        left: ``[R, M]``.
        out: ``[M, N]``, written.
    """
    num_outputs = left.shape[1]
    tile = np.empty((TILE, num_outputs), left.dtype)
    for start in range(first, behind, TILE):
        end = min(start + TILE, behind)
        for n in range(start, end):
            total = tile[n - start]
            for m in range(num_outputs):
                total[m] = 0
            _add_rows(total, starts[n], starts[n + 1], rows, values, left)
        for m in range(num_outputs):
            for n in range(start, end):
                out[m, n] = tile[n - start, m]
