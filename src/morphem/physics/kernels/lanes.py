"""Eight numbers handled by one instruction, as a type that Numba-compiled loops can use.

The compiler cannot prove that a row of an image and a table do not overlap, so it leaves short loops over
pixels scalar. Saying the vectors outright makes the windowed kernel several times faster. ``array`` arguments
are contiguous; an index counts elements from the first one. Nothing is checked: the caller keeps inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.typing.templates import Signature
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

LANES = 8
Typed = tuple[Signature, Callable[..., Any]]


class Lanes(types.Type):
    """Numba's name for :data:`LANES` floating-point numbers of one precision."""

    def __init__(self, scalar: types.Float) -> None:
        self.scalar = scalar
        super().__init__(name=f"Lanes({scalar})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """An LLVM vector, kept in registers."""

    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        super().__init__(dmm, fe_type, _vector(fe_type.scalar))


def _vector(scalar: types.Float) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if scalar == types.float32 else ir.DoubleType(), LANES)


def _place(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
    """Pointer to the eight elements that begin at an index of an array."""
    array = make_array(signature.args[0])(context, builder, arguments[0])
    pointer = builder.gep(array.data, [arguments[1]])
    return builder.bitcast(pointer, _vector(signature.args[0].dtype).as_pointer())


def _constant(vector: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(vector, [value] * LANES)


def _spread(builder: Any, vector: ir.VectorType, value: Any) -> Any:
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    every = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), every)


@intrinsic
def load(typing_context: Any, array: types.Array, index: types.Integer) -> Typed:
    """Lanes ``array[index : index + LANES]``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        pointer = _place(context, builder, signature, arguments)
        return builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)

    return Lanes(array.dtype)(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: types.Array, index: types.Integer, lanes: Lanes) -> Typed:
    """Write lanes to ``array[index : index + LANES]``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        pointer = _place(context, builder, signature, arguments)
        builder.store(arguments[2], pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def spread(typing_context: Any, array: types.Array, value: types.Number) -> Typed:
    """Lanes that all hold ``value``, in the precision of ``array``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        return _spread(builder, _vector(signature.args[0].dtype), arguments[1])

    return Lanes(array.dtype)(array, array.dtype), generate


@intrinsic
def count_from(typing_context: Any, array: types.Array, start: types.Number) -> Typed:
    """Lanes ``start, start + 1, …``, in the precision of ``array``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        vector = _vector(signature.args[0].dtype)
        steps = ir.Constant(vector, [float(lane) for lane in range(LANES)])
        return builder.fadd(_spread(builder, vector, arguments[1]), steps)

    return Lanes(array.dtype)(array, array.dtype), generate


@intrinsic
def times(typing_context: Any, a: Lanes, b: Lanes) -> Typed:
    """``a · b``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        return builder.fmul(*arguments)

    return a(a, b), generate


@intrinsic
def times_plus(typing_context: Any, a: Lanes, b: Lanes, c: Lanes) -> Typed:
    """``a · b + c``, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        a, b, c = arguments
        return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    return a(a, b, c), generate


@intrinsic
def total(typing_context: Any, lanes: Lanes) -> Typed:
    """Sum of all lanes, always in the same order."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        value, width = arguments[0], LANES
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(
                    value,
                    ir.Constant(value.type, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width))),
                )
                for first in (0, width)
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.IntType(32)(0))

    return lanes.scalar(lanes), generate


@intrinsic
def power_of_two(typing_context: Any, exponent: Lanes) -> Typed:
    """``2 ** exponent`` for ``exponent ≤ 0``; what is below the smallest normal number comes out as that.

    ``2**n · 2**f`` with integer n and ``|f| ≤ ½``: n goes into the exponent bits, ``2**f`` is a series.
    """
    single = exponent.scalar == types.float32
    integer, mantissa, bias, order = (
        (ir.IntType(32), 23, 127, 7) if single else (ir.IntType(64), 52, 1023, 13)
    )

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        vector = _vector(signature.args[0].scalar)
        integers = ir.VectorType(integer, LANES)
        lowest = _constant(vector, float(1 - bias))
        y = builder.select(builder.fcmp_ordered(">", arguments[0], lowest), arguments[0], lowest)
        n = builder.fptosi(builder.fsub(y, _constant(vector, 0.5)), integers)
        f = builder.fsub(y, builder.sitofp(n, vector))
        series = _constant(vector, math.log(2) ** order / math.factorial(order))
        for k in reversed(range(order)):
            product = builder.fmul(series, f, flags=("contract",))
            term = _constant(vector, math.log(2) ** k / math.factorial(k))
            series = builder.fadd(product, term, flags=("contract",))
        biased = builder.add(n, ir.Constant(integers, [bias] * LANES))
        bits = builder.shl(biased, ir.Constant(integers, [mantissa] * LANES))
        return builder.fmul(series, builder.bitcast(bits, vector))

    return exponent(exponent), generate


@intrinsic
def between(typing_context: Any, a: Lanes, b: Lanes, part: Lanes) -> Typed:
    """``a + part · (b − a)``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        a, b, part = arguments
        product = builder.fmul(part, builder.fsub(b, a), flags=("contract",))
        return builder.fadd(a, product, flags=("contract",))

    return a(a, b, part), generate


@intrinsic
def floor(typing_context: Any, a: Lanes) -> Typed:
    """Largest whole numbers not above ``a``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        vector = arguments[0].type
        name = f"llvm.floor.v{LANES}f{signature.args[0].scalar.bitwidth}"
        rounding = get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
        return builder.call(rounding, arguments)

    return a(a), generate


@intrinsic
def greater(typing_context: Any, a: Lanes, b: Lanes) -> Typed:
    """The greater of both, ``b`` where ``a`` is not a number."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return a(a, b), generate


@intrinsic
def lesser(typing_context: Any, a: Lanes, b: Lanes) -> Typed:
    """The lesser of both, ``b`` where ``a`` is not a number."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return a(a, b), generate


@intrinsic
def sign(typing_context: Any, a: Lanes) -> Typed:
    """−1 below zero, 1 elsewhere."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        vector = _vector(signature.args[0].scalar)
        negative = builder.fcmp_ordered("<", arguments[0], _constant(vector, 0.0))
        return builder.select(negative, _constant(vector, -1.0), _constant(vector, 1.0))

    return a(a), generate


@intrinsic
def single(typing_context: Any, array: types.Array, index: types.Integer) -> Typed:
    """The number ``array[index]``."""

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        array = make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load(builder.gep(array.data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def transpose(
    typing_context: Any, source: types.Array, index: types.Integer, target: types.Array, place: types.Integer
) -> Typed:
    """Write :data:`LANES` rows of as many numbers, one after another from ``index``, as columns.

    The columns go to the first :data:`LANES` rows of the two-dimensional ``target``, from column ``place``.
    """

    def generate(context: Any, builder: Any, signature: Signature, arguments: Any) -> Any:
        array, vector = (
            make_array(signature.args[0])(context, builder, arguments[0]),
            _vector(signature.args[0].dtype),
        )
        step, align = ir.Constant(arguments[1].type, LANES), signature.args[0].dtype.bitwidth // 8
        rows, at = [], arguments[1]
        for _ in range(LANES):
            pointer = builder.bitcast(builder.gep(array.data, [at]), vector.as_pointer())
            rows.append(builder.load(pointer, align=align))
            at = builder.add(at, step)
        rows = _transposed(builder, rows)
        found = make_array(signature.args[2])(context, builder, arguments[2])
        stride, at = builder.extract_value(found.shape, 1), arguments[3]
        for row in rows:
            pointer = builder.bitcast(builder.gep(found.data, [at]), vector.as_pointer())
            builder.store(row, pointer, align=align)
            at = builder.add(at, stride)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Three rounds in which rows 1, 2 and 4 apart exchange halves of each group of 2, 4 and 8."""
    for width in (1, 2, 4):
        exchanged = list(rows)
        low = [lane if not lane & width else lane - width + LANES for lane in range(LANES)]
        high = [lane + width if not lane & width else lane + LANES for lane in range(LANES)]
        for row in range(LANES):
            if not row & width:
                pair = rows[row], rows[row + width]
                exchanged[row] = builder.shuffle_vector(*pair, _order(low))
                exchanged[row + width] = builder.shuffle_vector(*pair, _order(high))
        rows = exchanged
    return rows


def _order(lanes: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
