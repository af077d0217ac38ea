"""The tensors of a case: their values, and how they lie in memory."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from spak_runtime.emulator.call import facts_of_device
from spak_runtime.expressions import Environment, TensorFacts
from spakc.ir.extents import evaluate_size
from spakc.ir.module import Kernel, Tensor
from spakc.ir.ops import Load
from spakc.ir.types import DType
from spakc.ir.visit import walk
from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.oracle import NUMPY
from spakc.verify.tested import UnderTest

LARGEST_INTEGER = 3
"""Whole numbers go from minus to plus this: small enough for their sums to be exact, large enough to
differ."""

_MAX_ALIGNMENT = 256

UNBOUNDED = 8
"""An integer tensor that indexes nothing holds numbers below this."""


def shape_of(tensor: Tensor, dims: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a declared tensor for given sizes."""
    return tuple(evaluate_size(size, dims) for size in tensor.shape)


def draw(tensor: Tensor, dtype: DType, case: Case, bound: int | None, positive: bool = False) -> Array:
    """The values of one tensor, rounded to `dtype`: the same for the same case and name, whatever else
    there is.

    Integers stay below `bound`. `positive` takes magnitudes: for mathematics that is undefined for others."""
    rng = np.random.default_rng((case.data, zlib.crc32(tensor.name.encode())))
    shape = shape_of(tensor, case.dims)
    if dtype is DType.bool:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if not dtype.is_float:
        return rng.integers(0, max(1, bound or UNBOUNDED), shape).astype(NUMPY[dtype])
    if case.values == "integers":
        values = rng.integers(-LARGEST_INTEGER, LARGEST_INTEGER + 1, shape).astype(np.float64)
    elif case.values == "uniform":
        values = rng.uniform(-1, 1, shape)
    else:
        values = rng.standard_normal(shape)
    if positive:
        values = np.abs(values) + (1 if case.values == "integers" else 2**-6)
    return values.astype(NUMPY[dtype])


def index_bounds(kernel: Kernel, dims: Mapping[str, int]) -> dict[str, int]:
    """For integer tensors whose elements index an axis of a declared tensor: the size of the smallest such
    axis."""
    bounds: dict[str, int] = {}
    for equation in kernel.math:
        for node in walk(equation.value):
            if not isinstance(node, Load) or node.tensor not in kernel.tensors:
                continue
            sizes = shape_of(kernel.tensors[node.tensor], dims)
            for index, size in zip(node.indices, sizes, strict=True):
                for inner in walk(index):
                    if isinstance(inner, Load):
                        bounds[inner.tensor] = min(size, bounds.get(inner.tensor, size))
    return bounds


# ---- memory -------------------------------------------------------------------------------------------


def place(values: Array, layout: str, pad: int, offset: int) -> Array:
    """The same values in memory of their own: `offset` elements in, rows `pad` elements apart.

    What lies before, between and after belongs to nobody: it holds NaN (integers: a number that is no index),
    and the memory ends with the last element."""
    steps = steps_of(values.shape, layout, pad)
    last = sum((size - 1) * step for size, step in zip(values.shape, steps, strict=True))
    length = offset + (last + 1 if values.size else 0)
    memory = np.full(length, nobodys(values.dtype), values.dtype)
    size = values.dtype.itemsize
    view: Array = np.ndarray(
        values.shape, values.dtype, memory.view(np.uint8), offset * size, [step * size for step in steps]
    )
    view[...] = values
    return view


def steps_of(shape: tuple[int, ...], layout: str, pad: int) -> tuple[int, ...]:
    """Strides in elements: the last axis contiguous (`row`) or the last but one (`column`), `pad` more than
    dense along the axis that follows."""
    order = list(reversed(range(len(shape))))
    if layout == "column" and len(shape) >= 2:
        order[0], order[1] = order[1], order[0]
    steps = [1] * len(shape)
    step = 1
    for place, axis in enumerate(order):
        steps[axis] = step
        step = step * shape[axis] + (pad if place == 0 else 0)
    return tuple(steps)


def nobodys(dtype: np.dtype[Any]) -> Any:
    """What stands where no element is: NaN, or a number that is no index."""
    if dtype == np.bool_:
        return True
    return np.iinfo(dtype).min // 2 if np.issubdtype(dtype, np.integer) else np.nan


def gap_bytes(array: Array) -> bytes:
    """The bytes of an array's memory that belong to no element."""
    memory = array
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    if memory.size == array.size:
        return b""
    inside = np.zeros(memory.shape, np.bool_)
    start = (array.ctypes.data - memory.ctypes.data) // array.itemsize
    steps = [step // array.itemsize for step in array.strides]
    np.ndarray(array.shape, np.bool_, inside, start, steps)[...] = True
    return memory.view(np.uint8).reshape(memory.size, -1)[~inside].tobytes()


def environment(tested: UnderTest, case: Case) -> Environment:
    """What the manifest's expressions may ask about a case, as the runtime would tell it."""
    facts = {}
    for name, tensor in tested.kernel.tensors.items():
        dtype, layout = DType(case.dtypes[name]), case.layouts[name]
        if name in case.absent:
            zeros = (0,) * len(tensor.shape)
            facts[name] = TensorFacts(dtype.value, dtype.bytes, zeros, layout, present=False)
            continue
        shape = shape_of(tensor, case.dims)
        unit = len(shape) - (1 if layout == "row" else 2)
        steps = steps_of(shape, layout, case.pads.get(name, 0))
        strides = tuple(
            step if size > 1 else int(axis == unit)
            for axis, (size, step) in enumerate(zip(shape, steps, strict=True))
        )
        address = case.offsets.get(name, 0) * dtype.bytes | _MAX_ALIGNMENT
        facts[name] = TensorFacts(dtype.value, dtype.bytes, strides, layout, address & -address)
    return Environment(case.dims, tested.variant.config, case.options, facts_of_device(case.sms), facts)
