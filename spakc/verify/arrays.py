"""Arrays whose axes have names: index notation evaluated by broadcasting, contraction by matrix products."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spakc.record import record

Array = NDArray[Any]


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


def add_on_units(
    factors: Sequence[Named], summed: Sequence[str], sizes: Mapping[str, int], depth: int
) -> Named:
    """`contract` in float32 as matrix units add: `depth` products at a time are added exactly to what there is, and
    the result is rounded toward zero."""
    *outer, last = summed
    axes = tuple(axis for axis in union(*factors) if axis not in summed)
    total = np.zeros([sizes[axis] for axis in axes], np.float32)
    wide = [Named(factor.array.astype(np.float64), factor.axes) for factor in factors]
    for places in np.ndindex(*(sizes[axis] for axis in outer)):
        here = [_at(factor, dict(zip(outer, places, strict=True))) for factor in wide]
        for start in range(0, sizes[last], depth):
            part = slice(start, start + depth)
            length = min(depth, sizes[last] - start)
            products = contract([_at(f, {last: part}) for f in here], [last], {**sizes, last: length})
            total = toward_zero(total + products.spread(axes, sizes))
    return Named(total, axes)


def toward_zero(values: Array) -> Array:
    """Numbers of float64 rounded to float32 toward zero. Infinities and NaN stay."""
    nearest = values.astype(np.float32)
    beyond = np.abs(nearest.astype(np.float64)) > np.abs(values)
    return np.asarray(np.where(beyond, np.nextafter(nearest, np.float32(0)), nearest))


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
