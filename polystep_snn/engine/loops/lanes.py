"""Many numbers side by side, as one value of a compiled function: ``load`` them from a row, compute with them, ``store`` them.

A loop over such values keeps its state in registers; a compiler that has to find out by itself what lies side by side keeps it in memory,
and asks in every loop whether two rows overlap. ``+``, ``-``, ``*``, ``/`` and comparisons work as on numbers, and a number stands for
as many of itself; so do the functions of ``lane_functions.py``, which take single numbers too. Rows are padded to whole groups.
"""

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

# Of the machine, or of the one that numba's variables name.
_config: Any = numba.config
_named = _config.CPU_FEATURES
AVX512 = "+avx512f" in _named if _named is not None else bool(llvm.get_host_cpu_features().get("avx512f", False))
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


def pointer(context: Any, builder: Any, kinds: Any, args: Any, vector: Any) -> Any:
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
    members: Any = kind if isinstance(kind, types.BaseTuple) else (kind,)
    return tuple(members)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """The lanes of an array from an index on, a number or a tuple of them; rows are contiguous."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(pointer(context, builder, sig.args, args, context.get_value_type(sig.return_type)), align=1)

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
        builder.store(value, pointer(context, builder, sig.args, args, vector), align=1)
        return context.get_dummy_value()

    return types.void(array, index, value), generate
