"""How far a result may lie from the reference: the `tolerance` of a `verify` block as numbers per element.

`library_error` is the error of the math evaluated step by step with every tensor rounded to its declared
dtype. An element's error may vanish by luck, so its part before the last rounding is the largest over at
least `NEIGHBOURS` elements around it along the last axes, and of a small result over several orders of
summation; nor is it less than what rounding errors come to, to first order, at this very element
(`rounding.py`): neighbours say little about one that is worse conditioned than they are. The last rounding is
the element's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Const, Expr, Query, Ref
from spakc.ir.types import DType
from spakc.verify.arrays import Array
from spakc.verify.functions import FUNCTIONS
from spakc.verify.oracle import NUMPY, OracleError, Steady, Value, evaluate_rounded, output_dtype
from spakc.verify.rounding import rounding_errors

NEIGHBOURS = 256

SAMPLES = 2048
FEWEST_ORDERS, MOST_ORDERS = 4, 32
"""An error is the largest over several orders of summation and several fortunes of its functions, the more the fewer
elements there are: one element's error says little about what another order would have given, and where all of a row
share one exponential, neither do its neighbours. Every other order rounds products of 16-bit operands toward zero, as
matrix units do (docs/decisions/0008)."""

_MANTISSA = {DType.bf16: (7, -126), DType.f16: (10, -14), DType.f32: (23, -126), DType.f64: (52, -1022)}


def ulp(value: Array, dtype: DType) -> Array:
    """The distance between neighbours of `dtype` at the magnitude of each value; 1 for integers, 0 for
    bool."""
    if not dtype.is_float:
        return np.full(np.shape(value), 0.0 if dtype is DType.bool else 1.0)
    bits, least = _MANTISSA[dtype]
    magnitude = np.abs(np.asarray(value, np.float64))
    finite = np.where(np.isfinite(magnitude) & (magnitude > 0), magnitude, 2.0**least)
    exponent = np.maximum(np.floor(np.log2(finite)), least)
    return np.asarray(np.exp2(exponent - bits))


def library_errors(
    kernel: Kernel,
    exact: Mapping[str, Array],
    inputs: Mapping[str, Array],
    options: Mapping[str, Value] | None = None,
    dims: Mapping[str, int] | None = None,
    dtypes: Mapping[str, DType] | None = None,
) -> dict[str, Array]:
    """Per output and element, an absolute error in float64. `exact` is what `evaluate` gave for the
    inputs."""
    orders = {
        name: min(MOST_ORDERS, max(FEWEST_ORDERS, -(-SAMPLES // max(1, value.size))))
        for name, value in exact.items()
    }
    errors: dict[str, Array] = {}
    steady: Steady = {}
    for order in range(max(orders.values(), default=0)):
        asked = [name for name, count in orders.items() if order < count]
        plain = evaluate_rounded(kernel, inputs, options, dims, dtypes, False, order, steady, asked)
        for name, value in plain.items():
            dtype = output_dtype(kernel, name, inputs, dtypes)
            rounded = value.astype(NUMPY[dtype]).astype(np.float64)
            error = _around(_distance(value, exact[name])) + _distance(rounded, value)
            errors[name] = np.maximum(errors[name], error) if order else error
    with np.errstate(all="ignore"):
        carried = rounding_errors(kernel, inputs, options, dims, dtypes)
    for name, least in carried.items():
        dtype = output_dtype(kernel, name, inputs, dtypes)
        last = _distance(exact[name].astype(NUMPY[dtype]), exact[name])
        errors[name] = np.maximum(errors[name], least + last)
    return errors


def tolerances(
    kernel: Kernel,
    exact: Mapping[str, Array],
    inputs: Mapping[str, Array],
    options: Mapping[str, Value] | None = None,
    dims: Mapping[str, int] | None = None,
    dtypes: Mapping[str, DType] | None = None,
) -> dict[str, Array]:
    """The `tolerance` of the kernel's `verify` block for every output (inout tensors too), by element.
    Without one it is `2 * library_error + ulp`. `ulp(C)` of an output means that of the output under test."""
    errors = library_errors(kernel, exact, inputs, options, dims, dtypes)
    declared = kernel.verification.tolerance if kernel.verification else None
    found: dict[str, Array] = {}
    for name, error in errors.items():
        step = ulp(exact[name], output_dtype(kernel, name, inputs, dtypes))
        value = 2 * error + step if declared is None else _value(declared, error, step, options or {})
        found[name] = np.broadcast_to(np.asarray(value, np.float64), error.shape)
    return found


def _value(expr: Expr, error: Array, step: Array, options: Mapping[str, Value]) -> Any:
    match expr:
        case Const(value=value):
            return value
        case Query(name="library_error") | Ref(name="library_error"):
            return error
        case Query(name="ulp"):
            return step
        case Ref(name=name) if name in options:
            return options[name]
        case Apply(op=op, args=args) if op in FUNCTIONS:
            return FUNCTIONS[op](*(_value(arg, error, step, options) for arg in args))
    raise OracleError("a tolerance is made of numbers, library_error and ulp(output)", expr.span)


def _distance(value: Array, exact: Array) -> Array:
    """|value - exact|, zero where both are the same infinity or both NaN."""
    with np.errstate(invalid="ignore"):
        gap = np.abs(np.asarray(value, np.float64) - np.asarray(exact, np.float64))
    same = (value == exact) | (np.isnan(value) & np.isnan(exact))
    return np.asarray(np.where(same | ~np.isfinite(gap), 0.0, gap))


def _around(error: Array) -> Array:
    """The largest error among at least NEIGHBOURS elements: whole trailing axes, then blocks of the next
    one."""
    axis, inner = error.ndim, 1
    while axis > 0 and inner * error.shape[axis - 1] <= NEIGHBOURS:
        axis -= 1
        inner *= error.shape[axis]
    if axis == 0 or error.size == 0:
        return np.full(error.shape, error.max(initial=0.0))
    length = error.shape[axis - 1]
    block = -(-NEIGHBOURS // inner)
    flat = error.reshape(-1, length, inner)
    starts = np.arange(0, length, block)
    if len(starts) > 1 and length - starts[-1] < block:
        starts = starts[:-1]  # the remainder joins the block before it
    largest = np.maximum.reduceat(flat.max(axis=2), starts, axis=1)
    counts = np.diff([*starts, length])
    return np.asarray(
        np.repeat(largest, counts, axis=1)[:, :, None].repeat(inner, axis=2).reshape(error.shape)
    )
