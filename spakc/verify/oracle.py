"""The float64 reference of a kernel, evaluated from its math and from nothing else.

`evaluate` computes every equation with numpy in float64. Conventions: a sum over nothing is 0, a maximum
-inf, logsumexp of a row without keys -inf, its softmax zeros. Integer tensors index and are checked against
bounds; a read that a `where` excludes may lie outside. `evaluate_rounded` computes the same equations in the
accumulate type, every tensor rounded to its declared dtype: what a careful library would return.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from spakc.ir.extents import Extents, evaluate_size, normal_math, split_offset
from spakc.ir.inline import index_name
from spakc.ir.module import Equation, Kernel, Tensor
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import factors_of
from spakc.ir.types import DType
from spakc.ir.visit import loads, walk
from spakc.source import Span
from spakc.verify.arrays import Array, Named, add_on_units, add_products, add_up, contract, selected, union
from spakc.verify.functions import FUNCTIONS, TRANSCENDENTAL

NUMPY: dict[DType, np.dtype[Any]] = {
    DType.bf16: np.dtype(ml_dtypes.bfloat16),
    DType.f16: np.dtype(np.float16),
    DType.f32: np.dtype(np.float32),
    DType.f64: np.dtype(np.float64),
    DType.int32: np.dtype(np.int32),
    DType.int64: np.dtype(np.int64),
    DType.bool: np.dtype(np.bool_),
}

Value = bool | int | float | str

Steady = dict[tuple[int, int], "Named | None"]
"""What all orders of one call give alike, by the place of the equation and the identity of an expression in it; None
for an expression that they do not."""

ONE_BY_ONE = 1 << 22
"""A sum with at most this many terms over all elements is rounded after every addition."""

_HALF = (DType.bf16, DType.f16)

UNIT_DEPTH = 8
"""So many products of 16-bit operands a matrix unit adds exactly before it rounds the sum toward zero (16 on sm_90)."""

Found = TypeVar("Found")

FUNCTION_ULPS = 2
"""How far from the right value a library's exponential, logarithm and the like may be, in units in the last place
of float32: what the CUDA library promises for most of them."""


class OracleError(Exception):
    """The inputs do not fit the kernel: a shape, a missing tensor, an index out of bounds."""

    def __init__(self, message: str, span: Span | None = None) -> None:
        super().__init__(f"{span}: {message}" if span else message)
        self.span = span


def evaluate(
    kernel: Kernel,
    inputs: Mapping[str, Array],
    options: Mapping[str, Value] | None = None,
    dims: Mapping[str, int] | None = None,
    intermediates: bool = False,
) -> dict[str, Array]:
    """Every output and the new value of every inout tensor, in float64 (integers in int64).

    `inputs` are the input and inout tensors in any dtype; optional ones may be missing. `dims` are needed
    only for dims that no shape gives. Raises OracleError.
    """
    run = Run(kernel, inputs, options or {}, dims or {}, np.dtype(np.float64))
    return run.results(intermediates)


def evaluate_rounded(
    kernel: Kernel,
    inputs: Mapping[str, Array],
    options: Mapping[str, Value] | None = None,
    dims: Mapping[str, int] | None = None,
    dtypes: Mapping[str, DType] | None = None,
    round_outputs: bool = True,
    order: int = 0,
    steady: Steady | None = None,
    only: Collection[str] | None = None,
) -> dict[str, Array]:
    """The same step by step: sums in the accumulate type, one addition after the other (a large product by
    matrix products), in another order for every `order`, functions right to FUNCTION_ULPS, every tensor rounded
    to its declared dtype (`dtypes` where an output has alternatives, else its first), computed operands of a
    matrix product to the dtype of the other operand. Orders with an odd number add such products as matrix units
    do: UNIT_DEPTH at a time, rounded toward zero. Every other two of them know what matrix units read only as these get
    it, whoever else reads it. With `round_outputs` off the outputs keep the accumulate
    type. `steady` is kept from one order to the next of the same call. Of equations that `only` these outputs do not
    rest on none is evaluated. Values come as float64."""
    compute = NUMPY[kernel.accumulate] if kernel.accumulate.is_float else np.dtype(np.float32)
    run = Run(kernel, inputs, options or {}, dims or {}, compute)
    run.round_to(dtypes or {}, inputs)
    run.round_outputs = round_outputs
    run.order = np.random.default_rng(order) if order else None
    run.on_units = order % 2 == 1
    run.keeps_operands = order % 4 >= 2
    run.luck = np.random.default_rng((order, 1))
    run.steady = steady
    run.needed = None if only is None else _rests_on(run.kernel, only)
    return {name: np.asarray(value, dtype=np.float64) for name, value in run.results(False).items()}


def output_dtype(
    kernel: Kernel, name: str, inputs: Mapping[str, Array], dtypes: Mapping[str, DType] | None = None
) -> DType:
    """The dtype that an output has for these inputs."""
    return _dtype(kernel, kernel.tensors[name], inputs, dtypes or {})


def _dtype(kernel: Kernel, tensor: Tensor, inputs: Mapping[str, Array], dtypes: Mapping[str, DType]) -> DType:
    if tensor.name in dtypes:
        return dtypes[tensor.name]
    if tensor.name in inputs:
        given = np.asarray(inputs[tensor.name]).dtype
        for dtype, known in NUMPY.items():
            if known == given and (dtype in tensor.dtypes or tensor.same_as):
                return dtype
    if tensor.same_as is not None:
        return _dtype(kernel, kernel.tensors[tensor.same_as], inputs, dtypes)
    return tensor.dtypes[0]


def resolve_dims(
    kernel: Kernel, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, int]
) -> dict[str, int]:
    """Every dim's size from the shapes of given tensors. Raises OracleError where they disagree."""
    dims = dict(given)
    for name, shape in shapes.items():
        tensor = kernel.tensors[name]
        if len(shape) != len(tensor.shape):
            raise OracleError(f"{name} has {len(shape)} axes, not {len(tensor.shape)}", tensor.span)
        for size, extent in zip(shape, tensor.shape, strict=True):
            if isinstance(extent, Ref) and dims.setdefault(extent.name, size) != size:
                raise OracleError(f"{name} says {extent.name} = {size}, not {dims[extent.name]}", tensor.span)
    missing = [name for name in kernel.dims if name not in dims]
    if missing:
        raise OracleError(f"no tensor gives the size of {missing[0]}", kernel.dims[missing[0]].span)
    for name, shape in shapes.items():
        wanted = tuple(evaluate_size(extent, dims) for extent in kernel.tensors[name].shape)
        if wanted != tuple(shape):
            raise OracleError(f"{name} has shape {tuple(shape)}, not {wanted}", kernel.tensors[name].span)
    return dims


KEPT = 64
_known: dict[int, tuple[Kernel, Kernel, Extents]] = {}
"""Kernels in normal form, the latest KEPT, by the identity of the kernel, which they hold: a verification evaluates
the same few hundreds of times."""


def _normal(kernel: Kernel) -> tuple[Kernel, Extents]:
    found = _known.get(id(kernel))
    if found is None:
        if len(_known) >= KEPT:
            del _known[next(iter(_known))]
        found = _known[id(kernel)] = (kernel, *normal_math(kernel))
    return found[1], found[2]


class Run:
    """One evaluation: the values of names, and for the equation at hand the sizes of its index variables."""

    rounding: Mapping[str, DType] | None = None
    round_outputs = True
    on_units = False
    keeps_operands = False
    order: np.random.Generator | None = None
    luck: np.random.Generator | None = None
    steady: Steady | None = None
    needed: Collection[str] | None = None
    place = 0

    def __init__(
        self,
        kernel: Kernel,
        inputs: Mapping[str, Array],
        options: Mapping[str, Value],
        dims: Mapping[str, int],
        real: np.dtype[Any],
    ) -> None:
        self.kernel, self.extents = _normal(kernel)
        self.handed_on: Mapping[str, DType] = {}
        self.real = real
        given = {name: np.asarray(array) for name, array in inputs.items()}
        unknown = given.keys() - kernel.tensors.keys()
        if unknown:
            raise OracleError(f"{kernel.name} has no tensor {sorted(unknown)[0]}")
        self.dims = resolve_dims(kernel, {name: array.shape for name, array in given.items()}, dims)
        self.sizes: dict[str, int] = {}
        self.masks: list[Named] = []
        self.options = dict(options)
        for name, option in kernel.options.items():
            if name not in self.options:
                self.options[name] = self._scalar(option.default)
        self.old = {
            name: self._prepared(given.get(name), tensor)
            for name, tensor in kernel.tensors.items()
            if tensor.role != "output"
        }
        self.new: dict[str, Array] = {}

    def round_to(self, dtypes: Mapping[str, DType], inputs: Mapping[str, Array]) -> None:
        """Declared dtypes count from now on; `dtypes` where there are alternatives."""
        self.rounding = {
            name: _dtype(self.kernel, t, inputs, dtypes) for name, t in self.kernel.tensors.items()
        }
        self.handed_on = _handed_on(self.kernel, self.rounding)

    def _scalar(self, expr: Expr) -> Value:
        if isinstance(expr, Ref) and expr.kind is RefKind.symbol:
            return expr.name
        value = self.value(expr).array.item()
        assert isinstance(value, (bool, int, float))
        return value

    def _prepared(self, array: Array | None, tensor: Tensor) -> Array:
        if array is None:
            if tensor.default is None:
                raise OracleError(f"{tensor.name} is not given", tensor.span)
            shape = [evaluate_size(extent, self.dims) for extent in tensor.shape]
            array = np.full(shape, self._scalar(tensor.default))
        if array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer):
            return array if array.dtype == np.bool_ else array.astype(np.int64)
        return array.astype(self.real)

    def results(self, intermediates: bool) -> dict[str, Array]:
        covered: dict[str, Array] = {}
        with np.errstate(all="ignore"):
            for place, equation in enumerate(self.kernel.math):
                if self.needed is not None and equation.target not in self.needed:
                    continue
                self.place, variables = place, self.extents.variables[place]
                self.sizes = {name: evaluate_size(size, self.dims) for name, size in variables.items()}
                self._store(equation, covered)
        for name, mask in covered.items():
            if not mask.all() and self._role(name) != "inout":
                raise OracleError(f"not every element of {name} is written", self._span(name))
        wanted = [n for n in self.new if intermediates or n in self.kernel.tensors]
        return {name: self.new[name] for name in wanted}

    def _role(self, name: str) -> str:
        tensor = self.kernel.tensors.get(name)
        return tensor.role if tensor else "intermediate"

    def _span(self, name: str) -> Span:
        return next(e.span for e in self.kernel.math if e.target == name)

    def _store(self, equation: Equation, covered: dict[str, Array]) -> None:
        self.put(equation, self.value(equation.value), covered)

    def put(self, equation: Equation, value: Named, covered: dict[str, Array]) -> None:
        """Keeps the value of an equation; `covered` says which elements of each target have one."""
        name = equation.target
        shape = tuple(evaluate_size(size, self.dims) for size in self.extents.shapes[name])
        where, axes = self._target(equation, shape)
        array = self._rounded(name, value.spread(axes, self.sizes))
        if name not in self.new:
            if self._role(name) == "inout":
                self.new[name] = self.old[name].astype(array.dtype)
            else:
                self.new[name] = np.zeros(shape, array.dtype)
            covered[name] = np.zeros(shape, np.bool_)
        elif np.result_type(self.new[name], array) != self.new[name].dtype:
            self.new[name] = self.new[name].astype(np.result_type(self.new[name], array))
        if covered[name][where].any():
            raise OracleError(f"an element of {name} is written twice", equation.span)
        self.new[name][where] = array
        covered[name][where] = True

    def _target(self, equation: Equation, shape: tuple[int, ...]) -> tuple[Any, tuple[str, ...]]:
        """Where an equation writes: slices of the target, and the variable that runs along each."""
        where: list[slice | int] = []
        axes: list[str] = []
        for index, size in zip(equation.indices, shape, strict=True):
            split = split_offset(index)
            if split is None:
                where.append(int(self.value(index).array))
                continue
            start = int(self.value(split[1]).array)
            if start < 0 or start + self.sizes[split[0]] > size:
                raise OracleError(f"{equation.target} is written outside its shape", equation.span)
            where.append(slice(start, start + self.sizes[split[0]]))
            axes.append(split[0])
        return tuple(where), tuple(axes)

    def _rounded(self, name: str, array: Array) -> Array:
        declared = (self.rounding or {}).get(name)
        if self.keeps_operands and name in self.handed_on:
            return self._rounded_operand(array, NUMPY[self.handed_on[name]])
        if declared is None or (declared.is_float and not self.round_outputs):
            return array
        rounded = array.astype(NUMPY[declared])
        return rounded.astype(self.real if declared.is_float else rounded.dtype)

    # ---- expressions -------------------------------------------------------------------------------------

    def value(self, expr: Expr) -> Named:
        """The expression over the index variables that it varies with."""
        if self.steady is None or not isinstance(expr, Load | Apply):
            return self._value(expr)
        key = self.place, id(expr)
        if key not in self.steady:
            self.steady[key] = self._value(expr) if self._is_steady(expr) else None
        found = self.steady[key]
        return self._value(expr) if found is None else found

    def _is_steady(self, expr: Expr) -> bool:
        """Whether neither an order of summation nor a function's fortune is in it."""
        return all(
            isinstance(node, Const | Ref)
            or (isinstance(node, Load) and self._role(node.tensor) == "input")
            or (isinstance(node, Apply) and node.op != "call" and node.op not in TRANSCENDENTAL)
            for node in walk(expr)
        )

    def _value(self, expr: Expr) -> Named:
        match expr:
            case Const(value=value):
                return self._number(value)
            case Ref(kind=RefKind.index, name=name):
                return Named(np.arange(self.sizes[name]), (name,))
            case Ref(kind=RefKind.dim, name=name):
                return self._number(self.dims[name])
            case Ref(kind=RefKind.option, name=name):
                return self._number(self.options[name])
            case Ref(name=name):
                return Named(np.asarray(name))
            case Load():
                return self._load(expr)
            case Reduce():
                return self._reduce(expr)
            case Apply():
                return self._apply(expr)
        raise OracleError(f"{type(expr).__name__} has no value here", expr.span)

    def _number(self, value: Value) -> Named:
        return Named(np.asarray(value, self.real if isinstance(value, float) else None))

    def _apply(self, expr: Apply) -> Named:
        if expr.op == "where":
            return self._where(expr)
        if expr.op == "call":
            name = self.value(expr.args[0]).array.item()
            return self._apply(Apply(str(name), (expr.args[1],), span=expr.span))
        args = [self.value(arg) for arg in expr.args]
        axes = union(*args)
        arrays = [arg.over(axes) for arg in args]
        if expr.op.startswith("cast_"):
            return Named(self._cast(DType(expr.op[5:]), arrays[0]), axes)
        result = np.asarray(FUNCTIONS[expr.op](*arrays))
        if expr.op in TRANSCENDENTAL:
            result = self._as_libraries_do(result)
        return Named(result.astype(self.real) if np.issubdtype(result.dtype, np.floating) else result, axes)

    def _as_libraries_do(self, result: Array) -> Array:
        """A function's value as a library's function might have given it: some FUNCTION_ULPS off, either way."""
        if self.luck is None or self.real != np.float32:
            return result
        off = FUNCTION_ULPS * float(np.finfo(np.float32).eps)
        return np.asarray(result * self.luck.choice((1 - off, 1 + off), np.shape(result)))

    def _cast(self, dtype: DType, array: Array) -> Array:
        if not dtype.is_float:
            return array.astype(np.bool_ if dtype is DType.bool else np.int64)
        # A float cast says how precisely to compute, which the exact reference need not be told.
        rounded = array if self.rounding is None else array.astype(NUMPY[dtype])
        return rounded.astype(self.real)

    def _where(self, expr: Apply) -> Named:
        condition = self.value(expr.args[0])
        if not condition.axes:
            return self.value(expr.args[1] if condition.array else expr.args[2])
        return selected(condition, *self._branches(expr, condition, self.value))

    def _branches(self, expr: Apply, condition: Named, of: Callable[[Expr], Found]) -> list[Found]:
        """`of` either branch, which may read only where the condition takes it."""
        found = []
        for flag, branch in ((True, expr.args[1]), (False, expr.args[2])):
            self.masks.append(Named(condition.array == flag, condition.axes))
            found.append(of(branch))
            self.masks.pop()
        return found

    def _load(self, load: Load) -> Named:
        inout = self._role(load.tensor) == "inout"
        source = self.new if load.new or (load.tensor in self.new and not inout) else self.old
        if load.tensor not in source:
            raise OracleError(f"{load.tensor} is read before it is written", load.span)
        array = source[load.tensor]
        names = [index_name(index) for index in load.indices]
        if None not in names and len(set(names)) == len(names):
            plain = tuple(name for name in names if name is not None)
            if all(self.sizes[name] <= size for name, size in zip(plain, array.shape, strict=True)):
                return Named(array[tuple(slice(self.sizes[name]) for name in plain)], plain)
        indices = [self.value(index) for index in load.indices]
        axes = union(*indices)
        for index, size in zip(indices, array.shape, strict=True):
            self._check_bounds(load, index, size)
        clipped = [
            np.clip(index.over(axes), 0, max(size - 1, 0))
            for index, size in zip(indices, array.shape, strict=True)
        ]
        full = np.broadcast_arrays(*clipped) if clipped else []
        return Named(array[tuple(full)], axes)

    def _check_bounds(self, load: Load, index: Named, size: int) -> None:
        outside = Named((index.array < 0) | (index.array >= size), index.axes)
        if not outside.array.any():
            return
        axes = union(outside, *self.masks)
        wrong = outside.over(axes)
        for mask in self.masks:
            wrong = wrong & mask.over(axes)
        if wrong.any():
            worst = int(index.array[outside.array].flat[0])
            raise OracleError(f"{load.tensor} is read at index {worst} of an axis of size {size}", load.span)

    def _reduce(self, node: Reduce) -> Named:
        if node.op == "sum":
            return self._sum(node)
        body = self.value(node.body)
        rest = tuple(axis for axis in body.axes if axis not in node.axes)
        array = body.spread((*rest, *node.axes), self.sizes)
        along = tuple(range(len(rest), array.ndim))
        match node.op:
            case "max":
                return Named(np.max(array, axis=along, initial=-math.inf), rest)
            case "min":
                return Named(np.min(array, axis=along, initial=math.inf), rest)
            case "every":
                return Named(np.all(array, axis=along), rest)
            case "any":
                return Named(np.any(array, axis=along), rest)
            case "logsumexp":
                top = np.max(array, axis=along, initial=-math.inf, keepdims=True)
                shift = np.where(np.isfinite(top), top, 0)
                total = np.sum(self._as_libraries_do(np.exp(array - shift)), axis=along)
                return Named(
                    (self._as_libraries_do(np.log(total)) + shift.reshape(total.shape)).astype(self.real),
                    rest,
                )
            case "softmax":
                top = np.max(array, axis=along, initial=-math.inf, keepdims=True)
                weights = self._as_libraries_do(np.exp(array - np.where(np.isfinite(top), top, 0)))
                total = np.sum(weights, axis=along, keepdims=True)
                share = weights / np.where(total == 0, 1, total)
                return Named(share.astype(self.real), (*rest, *node.axes))
        raise OracleError(f"{node.op} has no value here", node.span)

    def _sum(self, node: Reduce) -> Named:
        """A sum of products by matrix products where that is one, else term by term."""
        parts = factors_of(node.body)
        if len(parts) == 1:
            body = self.value(node.body)
            rest = tuple(axis for axis in body.axes if axis not in node.axes)
            (full,) = self._shuffled(
                [Named(body.spread((*rest, *node.axes), self.sizes), (*rest, *node.axes))], node
            )
            return Named(self._real(add_up(full, node.axes)), rest)
        factors = [self.value(part) for part in parts]
        narrow = False
        if self.rounding is not None:
            factors, narrow = self._as_operands(parts, factors, node.axes)
            factors = self._shuffled(factors, node)
        if narrow and self.on_units and self.real == np.float32:
            return add_on_units(factors, node.axes, self.sizes, UNIT_DEPTH)
        factors = [Named(self._real(factor.array), factor.axes) for factor in factors]
        axes = union(*factors)
        every = math.prod(self.sizes[axis] for axis in {*axes, *node.axes})
        if self.rounding is None or every > ONE_BY_ONE or not set(node.axes) <= set(axes):
            return contract(factors, node.axes, self.sizes)
        return add_products(factors, node.axes, self.sizes)

    def _shuffled(self, factors: list[Named], node: Reduce) -> list[Named]:
        """The factors of a sum with its axes in the order of this evaluation."""
        if self.order is None:
            return factors
        for axis in node.axes:
            places = self.order.permutation(self.sizes[axis])
            factors = [
                Named(np.take(f.array, places, f.axes.index(axis)), f.axes) if axis in f.axes else f
                for f in factors
            ]
        return factors

    def _real(self, array: Array) -> Array:
        return array if np.issubdtype(array.dtype, np.integer) else np.asarray(array, dtype=self.real)

    def _as_operands(
        self, parts: list[Expr], factors: list[Named], summed: tuple[str, ...]
    ) -> tuple[list[Named], bool]:
        """The factors as matrix units get them, and whether this is a product for such units."""
        wanted, computed = self._for_units(parts, factors, summed)
        if wanted is None:
            return factors, False
        rounded = [
            Named(self._rounded_operand(factor.array, NUMPY[wanted]), factor.axes)
            if place in computed
            else factor
            for place, factor in enumerate(factors)
        ]
        return rounded, True

    def _for_units(
        self, parts: list[Expr], factors: list[Named], summed: tuple[str, ...]
    ) -> tuple[DType | None, frozenset[int]]:
        """Matrix units take both operands in one 16-bit type: a computed factor is rounded to the other's. What only
        selects terms of the sum is no operand. The type, None where this is no product for such units, and which
        factors are rounded to it."""
        nothing: tuple[None, frozenset[int]] = None, frozenset()
        operands = [place for place, part in enumerate(parts) if not _selects(part)]
        if len(operands) != 2:
            return nothing
        first, second = (set(factors[place].axes) for place in operands)
        narrow = {place: self._narrow(parts[place]) for place in operands}
        known = (*narrow.values(), *(self._handed_on(parts[place]) for place in operands))
        wanted = next(filter(None, known), None)
        if wanted is None or not first - second or not second - first or not set(summed) <= first & second:
            return nothing
        return wanted, frozenset(place for place, dtype in narrow.items() if dtype is None)

    def _rounded_operand(self, array: Array, narrow: np.dtype[Any]) -> Array:
        """A computed operand as a matrix unit gets it. A kernel may round it before or after a factor that all of a row
        share (a softmax before its division), so each evaluation rounds at another place between two powers of 2."""
        scale = self.luck.uniform(1, 2, array.shape).astype(self.real) if self.luck is not None else 1
        return np.asarray((array * scale).astype(narrow).astype(self.real) / scale)

    def _narrow(self, part: Expr) -> DType | None:
        dtype = (self.rounding or {}).get(part.tensor) if isinstance(part, Load) else None
        return dtype if dtype in _HALF else None

    def _handed_on(self, part: Expr) -> DType | None:
        return self.handed_on.get(part.tensor) if isinstance(part, Load) else None


def _rests_on(kernel: Kernel, outputs: Collection[str]) -> Collection[str]:
    """The outputs, and what is read on the way to them."""
    found = set(outputs)
    for equation in reversed(kernel.math):
        if equation.target in found:
            found |= {load.tensor for load in loads(equation.value)}
    return found


def _handed_on(kernel: Kernel, rounding: Mapping[str, DType]) -> dict[str, DType]:
    """The 16-bit type of every intermediate that matrix units read: that of its partner, which may be another
    intermediate."""
    found: dict[str, DType] = {}
    products = []
    for equation in kernel.math:
        if isinstance(equation.value, Reduce) and equation.value.op == "sum":
            operands = [part for part in factors_of(equation.value.body) if not _selects(part)]
            names = [part.tensor for part in operands if isinstance(part, Load)]
            if len(names) == len(operands) == 2:
                products.append((names[0], names[1]))
    for _ in products:  # through products of two intermediates
        for first, second in products:
            for name, partner in ((first, second), (second, first)):
                dtype = rounding.get(partner, found.get(partner))
                if name not in rounding and dtype in _HALF and dtype is not None:
                    found.setdefault(name, dtype)
    return found


def _selects(part: Expr) -> bool:
    """Whether a factor is 1 for some terms and 0 for the others."""
    return (
        isinstance(part, Apply)
        and part.op == "where"
        and all(isinstance(branch, Const) and branch.value in (0, 1) for branch in part.args[1:])
    )
