"""Arrays whose axes have names: index notation evaluated by broadcasting, contraction by matrix products."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spakc.record import record

Array = NDArray[Any]

BLOCK = 1 << 16
"""So many numbers stay in a core's cache."""

_GROUP = "(group)"
"""The axis of the parts of a sum that are added one after the other; no index variable is called that way."""

_FRACTION_OF_FLOAT32 = ~((1 << 29) - 1)
"""Of the bits of a float64, those that a float32 has a place for."""


@record
class Named:
    """`axes[i]` is the index variable that axis i of `array` runs along; no name twice."""

    array: Array
    axes: tuple[str, ...] = ()

    def over(self, axes: Sequence[str]) -> Array:
        """A view whose axes are `axes` in order, of length one where this value does not vary."""
        order = [self.axes.index(axis) for axis in axes if axis in self.axes]
        assert len(order) == len(self.axes), (self.axes, axes)
        shape = iter(self.array.shape[i] for i in order)
        wanted = [next(shape) if axis in self.axes else 1 for axis in axes]
        return self.array.transpose(order).reshape(wanted)

    def spread(self, axes: Sequence[str], sizes: Mapping[str, int]) -> Array:
        """A read-only view of full extent along `axes`."""
        return np.broadcast_to(self.over(axes), [sizes[axis] for axis in axes])


def union(*values: Named) -> tuple[str, ...]:
    """Every axis of the values, in order of appearance."""
    return tuple(dict.fromkeys(axis for value in values for axis in value.axes))


def selected(condition: Named, yes: Named, no: Named) -> Named:
    """`yes` where the condition holds, `no` elsewhere."""
    axes = union(condition, yes, no)
    return Named(np.where(condition.over(axes), yes.over(axes), no.over(axes)), axes)


def contract(factors: Sequence[Named], summed: Sequence[str], sizes: Mapping[str, int]) -> Named:
    """The product of the factors summed over `summed`, by matrix products, cheapest pair first. Axes that are
    summed but in no factor count as many times as they are long."""
    missing = math.prod(sizes[axis] for axis in summed if all(axis not in f.axes for f in factors))
    pending = list(factors)
    while len(pending) > 1:
        a, b = min(
            ((i, j) for i in range(len(pending)) for j in range(i + 1, len(pending))),
            key=lambda pair: _cost(pending, pair, summed, sizes),
        )
        right, left = pending.pop(b), pending.pop(a)
        elsewhere = set(union(*pending)) if pending else set()
        pending.append(_pair(left, right, [s for s in summed if s not in elsewhere], sizes))
    result = pending[0]
    axes = tuple(axis for axis in result.axes if axis not in summed)
    total = add_up(result, [axis for axis in result.axes if axis in summed])
    return Named(total * missing if missing != 1 else total, axes)


def add_up(value: Named, axes: Sequence[str]) -> Array:
    """The sum along the named axes, one addition after the other (not pairwise): what a plain loop rounds
    to."""
    if not axes:
        return value.array
    rest = [axis for axis in value.axes if axis not in axes]
    ordered = value.over([*axes, *rest])
    flat = ordered.reshape(-1, *ordered.shape[len(axes) :])
    return np.asarray(np.add.reduce(np.ascontiguousarray(flat), axis=0))


def add_products(factors: Sequence[Named], summed: Sequence[str], sizes: Mapping[str, int]) -> Named:
    """The product of the factors summed over `summed`, one addition after the other: what a plain loop rounds to. The
    products are the largest array of an evaluation, so that BLOCK of them are made at a time."""
    rest = tuple(axis for axis in union(*factors) if axis not in summed)
    parts = [np.ascontiguousarray(factor.over((*summed, *rest))) for factor in factors]
    shape, lengths = [sizes[axis] for axis in rest], [sizes[axis] for axis in summed]
    cut, step = _cut(lengths, math.prod(shape))
    total = np.zeros(shape, np.result_type(*parts))
    is_first = True
    for places in np.ndindex(*lengths[:cut]):
        for start in range(0, lengths[cut], step):
            part = (*places, slice(start, start + step))
            *others, last = (_block(array, part) for array in parts)
            block = [min(step, lengths[cut] - start), *lengths[cut + 1 :]]
            terms = np.empty((1 + math.prod(block), *shape), total.dtype)
            terms[0] = total
            np.multiply(
                functools.reduce(np.multiply, others) if others else 1,
                last,
                out=terms[1:].reshape(*block, *shape),
            )
            total = np.asarray(np.add.reduce(terms[int(is_first) :], axis=0))
            is_first = False
    return Named(total, rest)


def _cut(lengths: Sequence[int], size: int) -> tuple[int, int]:
    """Which of the summed axes is cut, and into parts how long, so that a part of it, those behind it whole, has about
    BLOCK numbers; `size` is that of a single term."""
    for axis in reversed(range(1, len(lengths))):
        if size * lengths[axis] > BLOCK:
            return axis, max(1, BLOCK // max(1, size))
        size *= lengths[axis]
    return 0, max(1, BLOCK // max(1, size))


def _block(array: Array, part: Sequence[int | slice]) -> Array:
    """A part of the leading axes; along one of length 1 everything is the same."""
    lengths = array.shape
    return np.asarray(
        array[
            tuple(
                place if length > 1 else 0 if isinstance(place, int) else slice(None)
                for place, length in zip(part, lengths, strict=False)
            )
        ]
    )


def add_on_units(
    factors: Sequence[Named], summed: Sequence[str], sizes: Mapping[str, int], depth: int
) -> Named:
    """`contract` in float32 as matrix units add: `depth` products at a time are added exactly to what there is, and
    the result is rounded toward zero."""
    *outer, last = summed
    axes = tuple(axis for axis in union(*factors) if axis not in summed)
    groups, elements = -(-sizes[last] // depth), math.prod(sizes[axis] for axis in axes)
    step = max(1, BLOCK // max(1, elements))
    wide = [_grouped(Named(f.array.astype(np.float64), f.axes), last, groups, depth) for f in factors]
    total: Array | None = None
    for places in np.ndindex(*(sizes[axis] for axis in outer)):
        here = [_at(factor, dict(zip(outer, places, strict=True))) for factor in wide]
        for start in range(0, groups, step):
            some = {**sizes, _GROUP: min(step, groups - start), last: depth}
            products = contract([_at(f, {_GROUP: slice(start, start + step)}) for f in here], [last], some)
            axes = tuple(axis for axis in products.axes if axis != _GROUP)
            if total is None:
                total = np.zeros([sizes[axis] for axis in axes], np.float32)
            for group in products.over((_GROUP, *axes)):
                total = toward_zero(total + group)
    return Named(np.zeros([sizes[axis] for axis in axes], np.float32) if total is None else total, axes)


def _grouped(value: Named, axis: str, groups: int, depth: int) -> Named:
    """A value whose axis is cut into groups, filled up with zeros, which are a first axis of their own."""
    if axis not in value.axes:
        return value
    front = (axis, *_less(value, [axis]))
    array = value.over(front)
    filled = np.zeros((groups * depth, *array.shape[1:]), array.dtype)
    filled[: len(array)] = array
    return Named(filled.reshape(groups, depth, *array.shape[1:]), (_GROUP, *front))


def toward_zero(values: Array) -> Array:
    """Numbers of float64 rounded to float32 toward zero (below its normal numbers to the nearest): the bits of the
    fraction that it has no place for are left out. Infinities and NaN stay."""
    bits = np.asarray(values, np.float64).view(np.int64) & _FRACTION_OF_FLOAT32
    return bits.view(np.float64).astype(np.float32)


def _at(value: Named, where: Mapping[str, int | slice]) -> Named:
    """The part of a value at some places of its axes; an axis with one place goes."""
    index = tuple(where.get(axis, slice(None)) for axis in value.axes)
    axes = tuple(axis for axis in value.axes if isinstance(where.get(axis, slice(None)), slice))
    return Named(value.array[index], axes)


def _cost(
    pending: Sequence[Named], pair: tuple[int, int], summed: Sequence[str], sizes: Mapping[str, int]
) -> int:
    axes = union(pending[pair[0]], pending[pair[1]])
    others = union(*(f for i, f in enumerate(pending) if i not in pair)) if len(pending) > 2 else ()
    return math.prod(sizes[axis] for axis in axes if axis not in summed or axis in others)


def _pair(left: Named, right: Named, summed: Sequence[str], sizes: Mapping[str, int]) -> Named:
    """One matrix product: axes of both that stay are its batch, axes of both that are summed its depth."""
    both = [axis for axis in left.axes if axis in right.axes]
    batch = [axis for axis in both if axis not in summed]
    depth = [axis for axis in both if axis in summed]
    if not depth:
        axes = union(left, right)
        return Named(left.over(axes) * right.over(axes), axes)
    left = Named(
        add_up(left, alone := [a for a in left.axes if a in summed and a not in both]), _less(left, alone)
    )
    right = Named(
        add_up(right, alone := [a for a in right.axes if a in summed and a not in both]), _less(right, alone)
    )
    rows = [axis for axis in left.axes if axis not in both]
    columns = [axis for axis in right.axes if axis not in both]

    def size(names: Sequence[str]) -> int:
        return math.prod(sizes[name] for name in names)

    a = left.over([*batch, *rows, *depth]).reshape(size(batch), size(rows), size(depth))
    b = right.over([*batch, *depth, *columns]).reshape(size(batch), size(depth), size(columns))
    axes = (*batch, *rows, *columns)
    return Named(np.matmul(a, b).reshape([sizes[axis] for axis in axes]), axes)


def _less(value: Named, axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(axis for axis in value.axes if axis not in axes)
