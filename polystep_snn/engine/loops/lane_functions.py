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


def _conversion(instruction: str, given: Any, result: Any) -> Callable[..., Any]:
    """From numbers of one type to another one, by one of LLVM's instructions."""

    @intrinsic
    def converted(typing: Any, x: Any) -> Any:
        wide = isinstance(x, Lanes)
        kind = Lanes(result) if wide else result

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return getattr(builder, instruction)(args[0], context.get_value_type(kind))

        return kind(x if wide else given), generate

    return converted


# The 32 bits of a float32, and the float32 that has them; toward zero, and back.
bits_of, float_of = _conversion("bitcast", types.float32, types.int32), _conversion("bitcast", types.int32, types.float32)
whole_of, single_of = _conversion("fptosi", types.float32, types.int32), _conversion("sitofp", types.int32, types.float32)


@intrinsic
def numbers_of(typing: Any, x: Any, like: Any) -> Any:
    """Lanes of integers as floats of the type of ``like``."""
    kind = Lanes(like)
    return kind(x, like), lambda context, builder, sig, args: builder.sitofp(args[0], context.get_value_type(kind))


def _shift(instruction: str) -> Callable[..., Any]:
    """The bits of int32 moved by so many places."""

    @intrinsic
    def shifted(typing: Any, x: Any, count: Any) -> Any:
        kind = x if isinstance(x, Lanes) else types.int32

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            bits, places = args
            return getattr(builder, instruction)(bits, everywhere(builder, places) if isinstance(kind, Lanes) else places)

        return kind(kind, types.int32), generate

    return shifted


# To the right without a sign.
shifted_left, shifted_right = _shift("shl"), _shift("lshr")
