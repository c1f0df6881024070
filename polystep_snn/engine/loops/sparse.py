"""Products with inputs that are zero almost everywhere: only what is not zero is multiplied.

Shapes: R rows (samples, or samples in every step), N inputs, M outputs, E numbers that are not zero. Rows that are added up are padded
to a multiple of ``LANES`` numbers; what stands in the padding has no meaning.
"""

import numpy as np

from polystep_snn.engine.loops.jit import loop, product_loop
from polystep_snn.engine.loops.lanes import LANES, fill, load, store
from polystep_snn.engine.loops.vectors import PACKS, SQUARE, pack, turn


@loop
def turned(first, behind, x, out):
    """``out[n, m] = x[m, n]``, for rows ``first`` to ``behind`` of x; ``out`` may be padded."""
    num_columns = x.shape[1]
    whole_rows, whole_columns = behind - (behind - first) % SQUARE, num_columns - num_columns % SQUARE
    for m in range(first, whole_rows, SQUARE):
        for n in range(0, whole_columns, SQUARE):
            turn(x, m, n, out, n, m)
        for n in range(whole_columns, num_columns):
            for k in range(m, m + SQUARE):
                out[n, k] = x[k, n]
    for m in range(whole_rows, behind):
        for n in range(num_columns):
            out[n, m] = x[m, n]


@loop
def row_entries(x, starts, columns, values):
    """The entries of ``x [R, N]``, row by row.

    Args:
        starts: ``[R + 1]``, written.
        columns, values: ``[R N + 16]``, of which the first E are written, columns uint32.
    """
    e = 0
    num_columns = x.shape[1]
    packed = num_columns - num_columns % SQUARE if PACKS else 0
    for r in range(len(x)):
        starts[r] = e
        row = x[r]
        if PACKS:
            e = pack(row, packed, e, columns, values)
        for n in range(packed, num_columns):
            # Written in any case: that is faster than a jump which nobody can foresee.
            columns[e] = n
            values[e] = row[n]
            e += row[n] != 0
    starts[len(x)] = e


@loop
def column_entries(starts, columns, values, column_starts, rows, sorted_values):
    """The same entries column by column: ``column_starts [N + 1]``, ``rows [E]`` and ``sorted_values [E]`` are written."""
    num_columns = len(column_starts) - 1
    place = np.empty(num_columns, np.uint32)
    for n in range(num_columns):
        place[n] = 0
    for e in range(starts[-1]):
        place[columns[e]] += np.uint32(1)
    total = 0
    for n in range(num_columns):
        column_starts[n] = total
        count = place[n]
        place[n] = total
        total += count
    column_starts[num_columns] = total
    for r in range(len(starts) - 1):
        for e in range(starts[r], starts[r + 1]):
            n = columns[e]
            at = place[n]
            rows[at] = r
            sorted_values[at] = values[e]
            place[n] = at + np.uint32(1)


@product_loop
def rows_times(first, behind, starts, columns, values, weight, bias, out):
    """Rows times weights, for tiles ``first`` to ``behind`` of 16 samples: ``out[u] = weight^T x[u]^T + bias``.

    Args:
        starts: ``[U B + 1]``.
        weight: ``[N, M]`` padded, one row an input.
        bias: ``[M]``.
        out: ``[U, M, B]``, written.
    """
    _, num_outputs, num_samples = out.shape
    tile, begin = np.empty((SQUARE, weight.shape[1]), weight.dtype), np.zeros(weight.shape[1], weight.dtype)
    for m in range(num_outputs):
        begin[m] = bias[m]
    tiles = (num_samples + SQUARE - 1) // SQUARE
    for place in range(first, behind):
        u, start = place // tiles, place % tiles * SQUARE
        end = min(start + SQUARE, num_samples)
        for b in range(start, end):
            row = u * num_samples + b
            for m in range(0, len(begin), LANES):
                total = load(begin, m)
                for e in range(starts[row], starts[row + 1]):
                    total = total + values[e] * load(weight, (columns[e], m))
                store(tile, (b - start, m), total)
        _lay_down(tile, end - start, num_outputs, out[u], start)


@product_loop
def outer_products(first, behind, starts, rows, values, left, out):
    """``out = left^T x`` for inputs ``first`` to ``behind``: a sum of outer products over the rows.

    Args:
        starts, rows, values: entries column by column.
        left: ``[R, M]`` padded.
        out: ``[M, N]``, written.
    """
    tile = np.empty((SQUARE, left.shape[1]), left.dtype)
    for start in range(first, behind, SQUARE):
        end = min(start + SQUARE, behind)
        for n in range(start, end):
            for m in range(0, left.shape[1], LANES):
                total = fill(left.dtype.type(0))
                for e in range(starts[n], starts[n + 1]):
                    total = total + values[e] * load(left, (rows[e], m))
                store(tile, (n - start, m), total)
        _lay_down(tile, end - start, len(out), out, start)


@loop
def _lay_down(tile, count, num_outputs, out, start):
    """``out[m, start + k] = tile[k, m]``, for so many k and m."""
    whole = num_outputs - num_outputs % SQUARE if count == SQUARE else 0
    for m in range(0, whole, SQUARE):
        turn(tile, 0, m, out, m, start)
    for m in range(whole, num_outputs):
        for k in range(count):
            out[m, start + k] = tile[k, m]
