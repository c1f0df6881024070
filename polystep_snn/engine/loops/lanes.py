"""Many numbers side by side, as one value of a compiled function: ``load`` them from a row, compute with them, ``store`` them.

A loop over such values keeps its state in registers; a compiler that has to find out by itself what lies side by side keeps it in memory,
and asks in every loop whether two rows overlap. ``+``, ``-``, ``*``, ``/`` and comparisons work as on numbers, and a number stands for
as many of itself; so do the functions below, which take single numbers too. Rows are padded to whole groups.
"""

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

AVX512 = bool(llvm.get_host_cpu_features().get("avx512f", False))
# Several registers' worth: their instructions overlap.
LANES = 64 if AVX512 else 32

# A function that is compiled by what it emits. Its first parameter, which callers do not give, is beyond type checkers.
intrinsic: Any = extending.intrinsic

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))


def padded(count: int) -> int:
    """The next multiple of ``LANES``."""
    return -(-count // LANES) * LANES


class Lanes(types.Type):
    """``LANES`` numbers of a type, or truth values."""

    def __init__(self, number: Any):
        self.number = number
        super().__init__(f"Lanes({number})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any):
        number = I1 if kind.number == types.boolean else manager.lookup(kind.number).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, LANES))


def everywhere(builder: Any, value: Any, lanes: int = LANES) -> Any:
    """A vector of one number."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _operation(operation: Callable[..., Any], emit: Callable[..., Any], compares: bool = False) -> None:
    """Teach numba an operation of two values, of which at least one is ``Lanes``."""

    class Typing(AbstractTemplate):
        def generic(self, args: Any, kwargs: Any) -> Any:
            wide = [a for a in args if isinstance(a, Lanes)]
            if len(args) != 2 or not wide or not all(isinstance(a, Lanes | types.Number) for a in args):
                return None
            result = Lanes(types.boolean) if compares else wide[0]
            return signature(result, *(a if isinstance(a, Lanes) else wide[0].number for a in args))

    infer_global(operation)(Typing)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit(builder, *(x if isinstance(kind, Lanes) else everywhere(builder, x) for x, kind in zip(args, sig.args, strict=True)))

    for pair in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(operation, *pair)(lower)


def _by_kind(of_floats: Callable[..., Any], of_integers: Callable[..., Any]) -> Callable[..., Any]:
    def emit(builder: Any, a: Any, b: Any) -> Any:
        return (of_integers if isinstance(a.type.element, ir.IntType) else of_floats)(builder, a, b)

    return emit


_Builder = ir.IRBuilder
_operation(operator.add, _by_kind(_Builder.fadd, _Builder.add))
_operation(operator.sub, _by_kind(_Builder.fsub, _Builder.sub))
_operation(operator.mul, _by_kind(_Builder.fmul, _Builder.mul))
_operation(operator.truediv, _Builder.fdiv)
_operation(operator.or_, _Builder.or_)
_operation(operator.and_, _Builder.and_)
for _name, _sign in (("gt", ">"), ("lt", "<"), ("le", "<="), ("eq", "=="), ("ne", "!=")):

    def _floats(builder: Any, a: Any, b: Any, sign: str = _sign) -> Any:
        return builder.fcmp_unordered(sign, a, b) if sign == "!=" else builder.fcmp_ordered(sign, a, b)

    def _integers(builder: Any, a: Any, b: Any, sign: str = _sign) -> Any:
        return builder.icmp_signed(sign, a, b)

    _operation(getattr(operator, _name), _by_kind(_floats, _integers), compares=True)


def _pointer(context: Any, builder: Any, kinds: Any, args: Any, vector: Any) -> Any:
    """Where lanes stand in an array: at an index, of which the last is contiguous."""
    array = context.make_array(kinds[0])(context, builder, args[0])
    index = cgutils.unpack_tuple(builder, args[1], len(kinds[1])) if isinstance(kinds[1], types.BaseTuple) else [args[1]]
    index = [context.cast(builder, x, kind, types.intp) for x, kind in zip(index, _index_types(kinds[1]), strict=True)]
    strides = cgutils.unpack_tuple(builder, array.strides, kinds[0].ndim)
    place = builder.mul(index[-1], ir.Constant(I64, context.get_abi_sizeof(context.get_data_type(kinds[0].dtype))))
    for x, stride in zip(index[:-1], strides, strict=False):
        place = builder.add(place, builder.mul(x, stride))
    start = builder.bitcast(array.data, I8.as_pointer())
    return builder.bitcast(builder.gep(start, [place]), vector.as_pointer())


def _index_types(kind: Any) -> tuple[Any, ...]:
    return tuple(iter(kind)) if isinstance(kind, types.BaseTuple) else (kind,)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """The lanes of an array from an index on, a number or a tuple of them; rows are contiguous."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig.args, args, context.get_value_type(sig.return_type)), align=1)

    return Lanes(array.dtype)(array, index), generate


@intrinsic
def fill(typing: Any, value: Any) -> Any:
    """Lanes of one number."""
    return Lanes(value)(value), lambda context, builder, sig, args: everywhere(builder, args[0])


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write lanes, or one number into all of them, into an array from an index on; floats become the array's integers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[2]
        if not isinstance(sig.args[2], Lanes):
            value = everywhere(builder, context.cast(builder, value, sig.args[2], sig.args[0].dtype))
        vector = ir.VectorType(context.get_value_type(sig.args[0].dtype), LANES)
        if value.type != vector:
            value = builder.fptosi(value, vector)
        builder.store(value, _pointer(context, builder, sig.args, args, vector), align=1)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


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
        start = _pointer(context, builder, sig.args, args, table_type)
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
