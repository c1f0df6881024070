"""What a compiler does not find by itself: numbers that are not zero packed side by side, squares turned over."""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

from polystep_snn.engine.loops.lanes import AVX512, I1, I32, I64, everywhere, intrinsic

# Rows and columns of a square that is turned over.
SQUARE = 16
# Only with AVX-512 numbers are packed by one instruction, which LLVM knows from version 20 on; without it a plain loop is faster.
PACKS = AVX512 and llvm.llvm_version_info[0] >= 20


def _row(context: Any, builder: Any, array: Any, row: Any, column: Any) -> Any:
    """Pointer to a number of a matrix whose rows are contiguous."""
    start = builder.bitcast(array.data, ir.IntType(8).as_pointer())
    stride = builder.extract_value(array.strides, 0)
    return builder.gep(builder.bitcast(builder.gep(start, [builder.mul(row, stride)]), array.data.type), [column])


@intrinsic
def pack(typing: Any, row: Any, count: Any, e: Any, columns: Any, values: Any) -> Any:
    """Write the first ``count`` numbers of a row that are not zero, and where they stand, from place ``e`` on; returns the place behind.

    ``count`` is a multiple of 16, and behind the last place there is room for as many.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        row, count, e, columns, values = args
        row, columns, values = (context.make_array(sig.args[k])(context, builder, args[k]) for k in (0, 3, 4))
        number = context.get_value_type(sig.args[0].dtype)
        # One register's worth: a vector of two would be taken apart on the stack.
        lanes, suffix = (16, "f32") if number == ir.FloatType() else (8, "f64")
        vector, places, flags = (ir.VectorType(kind, lanes) for kind in (number, I32, I1))
        packed = [
            cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind, flags, kind]), f"llvm.experimental.vector.compress.v{lanes}{name}"
            )
            for kind, name in ((vector, suffix), (places, "i32"))
        ]
        place = cgutils.alloca_once_value(builder, e)
        with cgutils.for_range(builder, builder.sdiv(count, ir.Constant(I64, lanes))) as loop:
            n = builder.mul(loop.index, ir.Constant(I64, lanes))
            x = builder.load(builder.bitcast(builder.gep(row.data, [n]), vector.as_pointer()), align=1)
            which = builder.add(everywhere(builder, builder.trunc(n, I32), lanes), ir.Constant(places, list(range(lanes))))
            mask = builder.fcmp_unordered("!=", x, ir.Constant(vector, [0.0] * lanes))
            at = builder.load(place)
            for function, given, data in ((packed[0], x, values.data), (packed[1], which, columns.data)):
                found = builder.call(function, [given, mask, ir.Constant(given.type, ir.Undefined)])
                builder.store(found, builder.bitcast(builder.gep(data, [at]), given.type.as_pointer()), align=1)
            some = builder.ctpop(builder.bitcast(mask, ir.IntType(lanes)))
            builder.store(builder.add(at, builder.zext(some, I64)), place)
        return builder.load(place)

    return types.intp(row, types.intp, types.intp, columns, values), generate


@intrinsic
def turn(typing: Any, source: Any, row: Any, column: Any, target: Any, to_row: Any, to_column: Any) -> Any:
    """Turn a square of 16 by 16 numbers over: ``target[to_row + j, to_column + i] = source[row + i, column + j]``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, row, column, _, to_row, to_column = args
        given, written = (context.make_array(sig.args[k])(context, builder, args[k]) for k in (0, 3))
        vector = ir.VectorType(context.get_value_type(sig.args[0].dtype), SQUARE)

        def line(array: Any, first: Any, i: int, place: Any) -> Any:
            return builder.bitcast(_row(context, builder, array, builder.add(first, ir.Constant(I64, i)), place), vector.as_pointer())

        lines = [builder.load(line(given, row, i, column), align=1) for i in range(SQUARE)]
        # Blocks of 8, 4, 2, 1 off the diagonal change places.
        width = SQUARE // 2
        while width:
            low = [k if not k & width else SQUARE + k - width for k in range(SQUARE)]
            high = [k + width if not k & width else SQUARE + k for k in range(SQUARE)]
            masks = [ir.Constant(ir.VectorType(I32, SQUARE), places) for places in (low, high)]
            for i in range(SQUARE):
                if not i & width:
                    pair = lines[i], lines[i + width]
                    lines[i], lines[i + width] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            width //= 2
        for i, value in enumerate(lines):
            builder.store(value, line(written, to_row, i, to_column), align=1)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate
