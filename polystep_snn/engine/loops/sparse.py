"""Products with inputs that are zero almost everywhere: only what is not zero is multiplied.

Shapes: R rows (samples, or samples in every step), N inputs, M outputs, E numbers that are not zero. Rows that are added up are padded
to a multiple of ``LANES`` numbers; what stands in the padding has no meaning.
"""

from typing import Any

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
def column_entries(first, behind, starts, columns, values, row_of, column_starts, rows, sorted_values):
    """The entries in columns ``first`` to ``behind``, column by column.

    Args:
        values: None where all are 1.
        row_of: ``[R]``, what each row is called; None for its number.
        column_starts: ``[behind - first + 1]``, written, as are ``rows [E]`` and ``sorted_values [1, E]``, where there are values.
    """
    count = behind - first
    place = np.empty(count, np.int64)
    for n in range(count):
        place[n] = 0
    for e in range(starts[-1]):
        n = np.int64(columns[e]) - first
        if 0 <= n < count:
            place[n] += 1
    total = 0
    for n in range(count):
        column_starts[n] = total
        total += place[n]
        place[n] = column_starts[n]
    column_starts[count] = total
    for r in range(len(starts) - 1):
        row = r if row_of is None else row_of[r]
        for e in range(starts[r], starts[r + 1]):
            n = np.int64(columns[e]) - first
            if 0 <= n < count:
                at = place[n]
                rows[at] = row
                if values is not None:
                    sorted_values[0, at] = values[e]
                place[n] = at + 1


@loop
def event_entries(places, num_inputs, starts, columns):
    """Events ``places [E]``, ``r N + n`` and in order, as entries of rows: ``starts [R + 1]`` and ``columns [E]`` are written."""
    e = 0
    for r in range(len(starts) - 1):
        starts[r] = e
        begin = places.dtype.type(r * num_inputs)
        while e < len(places) and places[e] < begin + num_inputs:
            columns[e] = places[e] - begin
            e += 1
    starts[len(starts) - 1] = e


@product_loop
def rows_times(first, behind, starts, columns, values, weight, bias, num_rows, out):
    """Rows times weights, for tiles ``first`` to ``behind`` of 16 samples: ``out[u] = weight^T x[u]^T + bias``.

    Args:
        starts: ``[U R + 1]``.
        values: None where all are 1.
        weight: ``[N, M]`` padded, one row an input.
        bias: ``[M]``.
        num_rows: R, of a step; samples behind them have no entries.
        out: ``[U, M, B]``, written.
    """
    _, num_outputs, num_samples = out.shape
    # Arrays of as few types as can be: a compiler's time goes into each of them.
    tile, begin = np.empty((SQUARE, weight.shape[1]), weight.dtype), np.empty((1, weight.shape[1]), weight.dtype)
    for m in range(weight.shape[1]):
        begin[0, m] = bias[m] if m < num_outputs else weight.dtype.type(0)
    tiles = (num_samples + SQUARE - 1) // SQUARE
    for place in range(first, behind):
        u, start = place // tiles, place % tiles * SQUARE
        end = min(start + SQUARE, num_samples)
        for b in range(start, end):
            row = u * num_rows + min(b, num_rows - 1)
            stop = starts[row + 1] if b < num_rows else starts[row]
            for m in range(0, weight.shape[1], LANES):
                total = load(begin, (0, m))
                for e in range(starts[row], stop):
                    if values is None:
                        total = total + load(weight, (columns[e], m))
                    else:
                        total = total + values[e] * load(weight, (columns[e], m))
                store(tile, (b - start, m), total)
        _lay_down(tile, end - start, num_outputs, out[u], start)


@product_loop
def outer_products(first, behind, starts, columns, values, row_of, left, out):
    """``out = left^T x`` for inputs ``first`` to ``behind``: a sum of outer products over the rows.

    Args:
        starts, columns, values, row_of: as of ``column_entries``.
        left: ``[R', M]`` padded.
        out: ``[M, N]``, written.
    """
    column_starts, rows = np.empty(behind - first + 1, np.int64), np.empty(starts[-1], np.int64)
    sorted_values: Any = None if values is None else np.empty((1, starts[-1]), left.dtype)
    column_entries(first, behind, starts, columns, values, row_of, column_starts, rows, sorted_values)
    tile = np.empty((SQUARE, left.shape[1]), left.dtype)
    for start in range(first, behind, SQUARE):
        end = min(start + SQUARE, behind)
        for n in range(start, end):
            for m in range(0, left.shape[1], LANES):
                total = fill(left.dtype.type(0))
                for e in range(column_starts[n - first], column_starts[n - first + 1]):
                    if values is None:
                        total = total + load(left, (rows[e], m))
                    else:
                        total = total + sorted_values[0, e] * load(left, (rows[e], m))
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
