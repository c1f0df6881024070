"""Functions of lanes, or of single numbers: choices, rounding, extremes and sums, bits, lookups."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from polystep_snn.engine.loops.lanes import I1, I32, I64, LANES, Lanes, everywhere, intrinsic, pointer


@intrinsic
def where(typing: Any, fired: Any, a: Any, b: Any) -> Any:
    """``a`` where it is true, else ``b``."""
    kind = next((x for x in (a, b) if isinstance(x, Lanes)), a)
    if isinstance(fired, Lanes) and not isinstance(kind, Lanes):
        kind = Lanes(kind)
    number = kind.number if isinstance(kind, Lanes) else kind

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        fired, *values = args
        if isinstance(kind, Lanes):
            values = [x if isinstance(k, Lanes) else everywhere(builder, x) for x, k in zip(values, sig.args[1:], strict=True)]
        elif sig.args[0] == types.boolean:
            fired = builder.trunc(fired, I1) if fired.type != I1 else fired
        return builder.select(fired, *values)

    return kind(fired, *(x if isinstance(x, Lanes) else number for x in (a, b))), generate


def _function(name: str, arguments: int) -> Callable[..., Any]:
    """One of LLVM's functions of numbers and vectors."""

    def generic(x: Any, others: tuple[Any, ...]) -> Any:
        kind = next((a for a in (x, *others) if isinstance(a, Lanes)), x)
        number = kind.number if isinstance(kind, Lanes) else kind

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if isinstance(kind, Lanes):
                args = [a if isinstance(k, Lanes) else everywhere(builder, a) for a, k in zip(args, sig.args, strict=True)]
            vector = context.get_value_type(kind)
            suffix = ("f32" if context.get_value_type(number) == ir.FloatType() else "f64") if isinstance(number, types.Float) else "i32"
            full = f"llvm.{name}." + (f"v{LANES}" if isinstance(kind, Lanes) else "") + suffix
            called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * len(args)), full)
            return builder.call(called, args)

        return kind(*(a if isinstance(a, Lanes) else number for a in (x, *others))), generate

    if arguments == 1:

        @intrinsic
        def one(typing: Any, x: Any) -> Any:
            return generic(x, ())

        return one

    @intrinsic
    def two(typing: Any, x: Any, y: Any) -> Any:
        return generic(x, (y,))

    return two


truncated, floor = _function("trunc", 1), _function("floor", 1)
exp, log = _function("exp", 1), _function("log", 1)
lower_of, higher_of = _function("minnum", 2), _function("maxnum", 2)


@intrinsic
def any_of(typing: Any, fired: Any) -> Any:
    """Whether one of the truth values holds."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(fired), generate


def _reduction(name: str) -> Callable[..., Any]:
    @intrinsic
    def reduced(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            number = args[0].type.element
            suffix = f"v{LANES}" + ("f32" if number == ir.FloatType() else "f64")
            given = [args[0].type] if name != "fadd" else [number, args[0].type]
            values = [args[0]] if name != "fadd" else [ir.Constant(number, 0.0), args[0]]
            called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, given), f"llvm.vector.reduce.{name}.{suffix}")
            # In whatever order is fastest, always the same one.
            return builder.call(called, values, fastmath=("reassoc",) if name == "fadd" else ("nnan",))

        return x.number(x), generate

    return reduced


lowest_of, highest_of, sum_of = _reduction("fmin"), _reduction("fmax"), _reduction("fadd")


@intrinsic
def picked(typing: Any, array: Any, index: Any, which: Any) -> Any:
    """One of 32 float32 that stand in an array from an index on, for each lane of int32 from 0 to 31; with AVX-512 alone."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        table_type, places_type = ir.VectorType(ir.FloatType(), 16), ir.VectorType(I32, 16)
        start = pointer(context, builder, sig.args, args, table_type)
        low, high = (builder.load(builder.gep(start, [ir.Constant(I64, half)]), align=1) for half in range(2))
        name, kind = "llvm.x86.avx512.vpermi2var.ps.512", ir.FunctionType(table_type, [table_type, places_type, table_type])
        permute = cgutils.get_or_insert_function(builder.module, kind, name)
        parts = []
        for first in range(0, LANES, 16):
            cut = ir.Constant(ir.VectorType(I32, 16), list(range(first, first + 16)))
            parts.append(builder.call(permute, [low, builder.shuffle_vector(args[2], args[2], cut), high]))
        while len(parts) > 1:
            both = ir.Constant(ir.VectorType(I32, 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
            parts = [builder.shuffle_vector(a, b, both) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    return Lanes(types.float32)(array, index, which), generate


def _cast(name: str, kind: Any) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(args[0], context.get_value_type(kind))

    return generate


@intrinsic
def bits_of(typing: Any, x: Any) -> Any:
    """The 32 bits of float32 as int32."""
    kind = Lanes(types.int32) if isinstance(x, Lanes) else types.int32
    return kind(x), _cast("bitcast", kind)


@intrinsic
def float_of(typing: Any, bits: Any) -> Any:
    """The float32 that has these 32 bits."""
    kind = Lanes(types.float32) if isinstance(bits, Lanes) else types.float32
    return kind(bits if isinstance(bits, Lanes) else types.int32), lambda context, builder, sig, args: builder.bitcast(
        args[0], context.get_value_type(kind)
    )


@intrinsic
def numbers_of(typing: Any, x: Any, like: Any) -> Any:
    """Lanes of integers as floats of the type of ``like``."""
    kind = Lanes(like)
    return kind(x, like), _cast("sitofp", kind)


@intrinsic
def whole_of(typing: Any, x: Any) -> Any:
    """Floats as int32, toward zero."""
    kind = Lanes(types.int32) if isinstance(x, Lanes) else types.int32
    return kind(x if isinstance(x, Lanes) else types.int32), lambda context, builder, sig, args: builder.fptosi(
        args[0], context.get_value_type(kind)
    )


@intrinsic
def single_of(typing: Any, x: Any) -> Any:
    """int32 as float32."""
    kind = Lanes(types.float32) if isinstance(x, Lanes) else types.float32
    return kind(x if isinstance(x, Lanes) else types.int32), lambda context, builder, sig, args: builder.sitofp(
        args[0], context.get_value_type(kind)
    )


@intrinsic
def shifted_left(typing: Any, x: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = builder.trunc(args[1], I32) if args[1].type != I32 else args[1]
        return builder.shl(args[0], everywhere(builder, count) if isinstance(sig.args[0], Lanes) else count)

    kind = x if isinstance(x, Lanes) else types.int32
    return kind(kind, count), generate


@intrinsic
def shifted_right(typing: Any, x: Any, count: Any) -> Any:
    """Without a sign."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = builder.trunc(args[1], I32) if args[1].type != I32 else args[1]
        return builder.lshr(args[0], everywhere(builder, count) if isinstance(sig.args[0], Lanes) else count)

    kind = x if isinstance(x, Lanes) else types.int32
    return kind(kind, count), generate
