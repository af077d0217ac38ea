"""How far float32 may lie from the mathematics at each element, to first order: rounding errors carried through the
equations, each weighed by how much the next step depends on it.

Trying some orders of summation does not find that where few elements are ill conditioned and each is tried a few times:
a quotient by a root that is nearly nothing, a difference of two sums that are equal. What is carried:

* each operation is off by half a unit in the last place of its result, a library's function by FUNCTION_ULPS units, or
  by the whole of a result that is smaller than normal numbers are, which fast functions give as zero;
* an operation hands on the error of each argument, as much as its result changes when the argument does;
* a computed operand of a matrix product is off by half a unit of the 16-bit type that matrix units take; where that is
  below the type's normal numbers, so is everything else that is computed from it, for it need not be kept twice;
* a sum of n terms one after the other is off by half a unit of each partial sum, and errors of different terms are as
  often of one sign as of the other: both add up by their squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spakc.ir.module import Equation, Kernel
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref
from spakc.ir.simplify import factors_of
from spakc.ir.types import DType
from spakc.verify.arrays import Array, Named, contract, selected, union
from spakc.verify.functions import FUNCTIONS, TRANSCENDENTAL
from spakc.verify.oracle import FUNCTION_ULPS, NUMPY, Run, Value

HALF_UNITS = {DType.bf16: 2.0**-8, DType.f16: 2.0**-11, DType.f32: 2.0**-24}
"""Of the last place, relative to the number."""

LEAST_NORMAL, HALF_OF_LEAST = 2.0**-14, 2.0**-25
"""Of f16. What is smaller than its normal numbers is off by more than their part of itself."""

EXACT_OPS = frozenset(("neg", "abs", "min", "max", "identity", "relu", "floor", "ceil", "where"))
"""What rounds nothing."""


def rounding_errors(
    kernel: Kernel,
    inputs: Mapping[str, Array],
    options: Mapping[str, Value] | None = None,
    dims: Mapping[str, int] | None = None,
    dtypes: Mapping[str, DType] | None = None,
) -> dict[str, Array]:
    """Per output and element, an absolute error in float64, before the output is rounded to its own dtype; zero for
    integers. Inputs are exact. Raises OracleError."""
    run = _Carried(kernel, inputs, options or {}, dims or {}, np.dtype(np.float64))
    run.round_to(dtypes or {}, inputs)
    run.results(False)
    errors = run.errors.new
    return {
        name: errors[name].astype(np.float64)
        if np.issubdtype(value.dtype, np.floating)
        else np.zeros(value.shape)
        for name, value in run.new.items()
        if name in kernel.tensors
    }


class _Carried(Run):
    """An evaluation in float64 beside which `errors` evaluates the same equations: there, a name stands for the error
    of its value (integers, which index, for themselves)."""

    def __init__(
        self,
        kernel: Kernel,
        inputs: Mapping[str, Array],
        options: Mapping[str, Value],
        dims: Mapping[str, int],
        real: np.dtype[np.float64],
    ) -> None:
        super().__init__(kernel, inputs, options, dims, real)
        compute = NUMPY[kernel.accumulate] if kernel.accumulate.is_float else np.dtype(np.float32)
        self.half_unit = float(np.finfo(compute).eps) / 2
        # Twice the least normal number: a fast function may take what is smaller for less than that, too.
        self.vanishing = 2 * float(np.finfo(compute).tiny)
        self.errors = Run(kernel, inputs, options, dims, real)
        for name, array in self.errors.old.items():
            if np.issubdtype(array.dtype, np.floating):
                self.errors.old[name] = np.zeros_like(array)
        self.errors.masks = self.masks
        self.errors_covered: dict[str, Array] = {}

    def _store(self, equation: Equation, covered: dict[str, Array]) -> None:
        self.errors.sizes = self.sizes
        value, error = self.both(equation.value)
        if self.handed_on.get(equation.target) is DType.f16:
            off = _below_normal(value.array)
            if off.any():
                error = Named(off + (0.0 if error is None else error.over(value.axes)), value.axes)
        self.put(equation, value, covered)
        is_real = np.issubdtype(value.array.dtype, np.floating)
        self.errors.put(equation, (error or Named(np.zeros(()))) if is_real else value, self.errors_covered)

    def both(self, expr: Expr) -> tuple[Named, Named | None]:
        """The value of an expression, and its error; None where there is none."""
        match expr:
            case Const() | Ref():
                return self.value(expr), None
            case Load():
                value = self._load(expr)
                if not np.issubdtype(value.array.dtype, np.floating):
                    return value, None
                error = self.errors._load(expr)
                return value, error if error.array.any() else None
            case Reduce(op="sum"):
                return self._sum_of(expr)
            case Reduce():
                return self._reduced(expr)
            case Apply(op="where"):
                return self._chosen(expr)
            case Apply(op="call", args=(function, argument)):
                name = str(self.value(function).array.item())
                return self.both(Apply(name, (argument,), span=expr.span))
            case Apply():
                return self._applied(expr)
        return self.value(expr), None

    def _applied(self, expr: Apply) -> tuple[Named, Named | None]:
        parts = [self.both(arg) for arg in expr.args]
        axes = union(*(value for value, _ in parts))
        arrays = [value.over(axes) for value, _ in parts]
        if expr.op.startswith("cast_"):
            return self._as_type(DType(expr.op[5:]), *parts[0])
        result = np.asarray(FUNCTIONS[expr.op](*arrays))
        if not np.issubdtype(result.dtype, np.floating):
            return Named(result, axes), None
        error = np.zeros(result.shape)
        for place, (_, own) in enumerate(parts):
            if own is not None:
                error = error + self._moved(expr.op, arrays, place, own.over(axes), result)
        units = 2 * FUNCTION_ULPS if expr.op in TRANSCENDENTAL else 0 if expr.op in EXACT_OPS else 1
        if all(np.issubdtype(array.dtype, np.floating) for array in arrays) or expr.op not in ("add", "mul"):
            error = error + units * self.half_unit * _finite(np.abs(result))
        if expr.op in TRANSCENDENTAL:
            error = np.maximum(error, self._vanished(result))
        return Named(result, axes), Named(np.broadcast_to(error, result.shape), axes)

    def _vanished(self, result: Array) -> Array:
        """How far results are off that become zero."""
        size = np.abs(result)
        return np.where(size < self.vanishing, size, 0.0)

    @staticmethod
    def _moved(op: str, arrays: list[Array], place: int, error: Array, result: Array) -> Array:
        """How far the result moves when one argument does. What is undefined on one side is asked of the other."""
        moved = []
        for sign in (1, -1):
            changed = [*arrays[:place], arrays[place] + sign * error, *arrays[place + 1 :]]
            moved.append(_finite(np.abs(np.asarray(FUNCTIONS[op](*changed)) - result)))
        return np.maximum(*moved)

    def _rounded(self, _name: str, array: Array) -> Array:
        """Values stay as exact as they are: what rounding does to them is their error."""
        return array

    def _as_type(self, dtype: DType, value: Named, error: Named | None) -> tuple[Named, Named | None]:
        if not dtype.is_float:
            return Named(self._cast(dtype, value.array), value.axes), None
        return Named(np.asarray(value.array, np.float64), value.axes), self._narrowed(dtype, value, error)

    @staticmethod
    def _narrowed(dtype: DType, value: Named, error: Named | None) -> Named:
        units = HALF_UNITS.get(dtype, 0.0) * _finite(np.abs(value.array))
        off = Named(
            np.maximum(units, _below_normal(value.array)) if dtype is DType.f16 else units, value.axes
        )
        if error is None:
            return off
        axes = union(off, error)
        return Named(off.over(axes) + error.over(axes), axes)

    def _chosen(self, expr: Apply) -> tuple[Named, Named | None]:
        condition = self.value(expr.args[0])
        if not condition.axes:
            return self.both(expr.args[1] if condition.array else expr.args[2])
        (yes, yes_off), (no, no_off) = self._branches(expr, condition, self.both)
        nothing = Named(np.zeros(()))
        return selected(condition, yes, no), selected(condition, yes_off or nothing, no_off or nothing)

    def _sum_of(self, node: Reduce) -> tuple[Named, Named | None]:
        """A sum of products: everything about it is a sum of products, too."""
        factors = factors_of(node.body)
        parts = [self.both(part) for part in factors]
        wanted, computed = self._for_units(factors, [value for value, _ in parts], node.axes)
        if wanted is not None:
            for place in computed:
                value, error = parts[place]
                parts[place] = value, self._narrowed(wanted, value, error)
        values = [Named(np.asarray(value.array, np.float64), value.axes) for value, _ in parts]
        squares = [Named(np.square(value.array), value.axes) for value in values]
        total = contract(values, node.axes, self.sizes)
        size = contract(squares, node.axes, self.sizes)
        terms = math.prod(self.sizes[axis] for axis in node.axes)
        own = self.half_unit * math.sqrt(terms) * (np.sqrt(size.array) + np.abs(total.over(size.axes)))
        squared = Named(np.square(_finite(own)), size.axes)
        for place, (_, error) in enumerate(parts):
            if error is None:
                continue
            others = [*squares[:place], *squares[place + 1 :]]
            handed = contract([*others, Named(np.square(error.array), error.axes)], node.axes, self.sizes)
            axes = union(squared, handed)
            squared = Named(squared.over(axes) + _finite(handed.over(axes)), axes)
        return self._typed(total, parts), Named(np.sqrt(squared.array), squared.axes)

    def _typed(self, total: Named, parts: list[tuple[Named, Named | None]]) -> Named:
        whole = all(not np.issubdtype(value.array.dtype, np.floating) for value, _ in parts)
        return Named(total.array.astype(np.int64), total.axes) if whole else total

    def _reduced(self, node: Reduce) -> tuple[Named, Named | None]:
        body, error = self.both(node.body)
        rest = tuple(axis for axis in body.axes if axis not in node.axes)
        order = (*rest, *node.axes)
        along = tuple(range(len(rest), len(order)))
        array = body.spread(order, self.sizes)
        off = np.zeros(array.shape) if error is None else error.spread(order, self.sizes)
        if node.op in ("every", "any"):
            every = node.op == "every"
            return Named(np.asarray(array.all(axis=along) if every else array.any(axis=along)), rest), None
        if node.op in ("max", "min"):
            reduced = np.max if node.op == "max" else np.min
            value = np.asarray(
                reduced(array, axis=along, initial=-math.inf if node.op == "max" else math.inf)
            )
            return Named(value, rest), Named(np.max(off, axis=along, initial=0.0), rest)
        top = np.max(array, axis=along, initial=-math.inf, keepdims=True)
        shifted = array - np.where(np.isfinite(top), top, 0)
        weights = np.exp(shifted)
        total = np.sum(weights, axis=along, keepdims=True)
        share = weights / np.where(total == 0, 1, total)
        unit, function = self.half_unit, 2 * FUNCTION_ULPS * self.half_unit
        # Relative errors of the weights, and of their sum.
        relative = off + unit * _finite(np.abs(shifted)) + function
        terms = math.prod(array.shape[axis] for axis in along)
        summed = np.sqrt(
            np.sum(np.square(share * _finite(relative)), axis=along, keepdims=True)
        ) + unit * math.sqrt(terms)
        if node.op == "softmax":
            off = np.maximum(share * _finite(relative + summed + unit), self._vanished(share))
            return Named(share, order), Named(off, order)
        shape = tuple(self.sizes[axis] for axis in rest)
        value = np.log(total).reshape(shape) + np.where(np.isfinite(top), top, 0).reshape(shape)
        own = function * np.abs(np.log(total)).reshape(shape) + unit * np.abs(value)
        return Named(value, rest), Named(_finite(summed.reshape(shape) + own), rest)


def _below_normal(array: Array) -> Array:
    """How far f16 is off numbers that are smaller than its normal ones."""
    size = np.abs(array)
    return np.where(size < LEAST_NORMAL, np.minimum(size, HALF_OF_LEAST), 0.0)


def _finite(array: Array) -> Array:
    """Infinities and what is undefined count as no error: a result there is compared as it is."""
    return np.asarray(np.where(np.isfinite(array), array, 0.0))
