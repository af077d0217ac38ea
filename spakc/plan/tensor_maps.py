"""Operands and outputs of products and attention as TMA sees them: parameters of kind tensor_map, and what they ask
of a call.

The two axes of the matrix come first, the contiguous one of them innermost; behind them the batch axes, in
the order of the tensor. What lies outside of the extents of the product's indices reads as zero and is not
written, so the map has those extents, whatever the tensor's are.
"""

from __future__ import annotations

from collections.abc import Callable

from spak_runtime.manifest import Expression, Guard, Param
from spakc.plan.launch import Signature, lower, product
from spakc.plan.problem import IndexRange, Operand, Store

ROW = 128
"""Bytes of a row of a tile whose contracted axis is contiguous: the widest swizzle."""

ELEMENT = 2
"""Bytes of an element of an operand."""


def panel_span(tile: int) -> int:
    """Bytes of a row of a tile whose outer axis is contiguous: the widest swizzle that divides it. As
    `swizzle_span` of tma_tile.cuh; 0 where there is none."""
    return next((span for span in (128, 64, 32) if tile * ELEMENT % span == 0), 0)


def batch_axes(operand: Operand, first: str, second: str) -> tuple[int, ...]:
    """The axes behind those of the matrix, which these two indices run along."""
    matrix = {operand.axis_of(first), operand.axis_of(second)}
    return tuple(axis for axis in range(len(operand.indices)) if axis not in matrix)


def operand_map(
    role: int,
    operand: Operand,
    outer: IndexRange,
    reduced: IndexRange,
    tile: int,
    share: int,
    signature: Signature,
) -> Param:
    """The map of the left (role 0) or right (role 1) operand. A block loads the part of a tile of `tile` x
    64 elements that is its own among `share` blocks."""
    name = operand.tensor
    along, across = operand.axis_of(reduced.name), operand.axis_of(outer.name)
    assert along is not None and across is not None, "operands without a matrix are refused before"
    depth, span = ROW // ELEMENT, panel_span(tile)

    def by_layout(if_reduced: Expression, if_outer: Expression) -> Expression:
        return _by_contiguous(name, signature, lambda axis: if_reduced if axis == along else if_outer)

    batch = batch_axes(operand, outer.name, reduced.name)
    sizes = lower(reduced.extent), lower(outer.extent)
    shape = signature.tensors[name].shape
    dims = [by_layout(*sizes), by_layout(*reversed(sizes)), *(lower(shape[axis]) for axis in batch)]
    strides = [by_layout(signature.stride(name, across), signature.stride(name, along))]
    strides += [signature.stride(name, axis) for axis in batch]
    box = [by_layout(depth, span // ELEMENT), by_layout(tile // share, depth // share), *(1 for _ in batch)]
    return Param("tensor_map", "map", name, role, ["tensor_map", by_layout(ROW, span), dims, strides, box])


def rows_map(
    role: int, operand: Operand, outer: IndexRange, along: IndexRange, tile: Expression, signature: Signature
) -> Param:
    """The map of an operand whose rows lie in one piece: boxes of `tile` rows and 64 columns."""
    name, across = operand.tensor, operand.axis_of(outer.name)
    assert across is not None, "operands without a matrix are refused before"
    batch = batch_axes(operand, outer.name, along.name)
    shape = signature.tensors[name].shape
    dims = [lower(along.extent), lower(outer.extent), *(lower(shape[axis]) for axis in batch)]
    strides = [signature.stride(name, axis) for axis in (across, *batch)]
    box = [ROW // ELEMENT, tile, *(1 for _ in batch)]
    return Param("tensor_map", "map", name, role, ["tensor_map", ROW, dims, strides, box])


def output_map(
    role: int,
    store: Store,
    row: IndexRange,
    column: IndexRange,
    span: Callable[[int], int],
    signature: Signature,
) -> Param:
    """The map of an output (its role follows those of the operands), stored in slabs of 64 rows; `span` gives the
    bytes of a row of a slab for an element of so many bytes."""
    name, target = store.tensor, Operand(store.tensor, store.indices)
    batch = batch_axes(target, row.name, column.name)
    across = target.axis_of(row.name)
    assert across is not None, "outputs without rows are refused before"
    shape = signature.tensors[name].shape
    dims = [lower(column.extent), lower(row.extent), *(lower(shape[axis]) for axis in batch)]
    strides = [signature.stride(name, axis) for axis in (across, *batch)]
    swizzle = _by_element(name, signature, span)
    box = [_by_element(name, signature, lambda element: span(element) // element), 64, *(1 for _ in batch)]
    return Param("tensor_map", "map", name, role, ["tensor_map", swizzle, dims, strides, box])


def output_guards(store: Store, along: IndexRange, signature: Signature) -> list[Guard]:
    """What stores of rows along this index by TMA ask of a call."""
    name = store.tensor
    column = Operand(name, store.indices).axis_of(along.name)
    assert column is not None, "outputs without columns are refused before"
    guards = []
    axes = signature.contiguous_axes(name)
    if len(set(axes)) > 1:
        layout = signature.tensors[name].layouts[axes.index(column)]
        guards.append(Guard("contiguous", ["eq", ["layout", name], layout], f"TMA stores rows of {name}"))
    if name not in signature.carried:
        unit = ["eq", signature.stride(name, column), 1]
        guards.append(Guard("contiguous", unit, f"rows of {name} lie in one piece"))
    element = signature.element_bytes(name)
    steps = [signature.stride(name, axis) for axis in range(len(store.indices)) if axis != column]
    conditions: list[Expression] = [["eq", ["mod", product((step, element)), 16], 0] for step in steps]
    conditions.append(["ge", signature.alignment(name), 16])
    reason = f"TMA stores rows of {name} that begin at multiples of 16 bytes"
    guards.append(Guard("aligned", ["and", *conditions], reason))
    row: Expression = ["eq", ["mod", product((lower(along.extent), element)), 16], 0]
    reason = (
        f"TMA writes rows of {name} in whole pieces of 16 bytes: what lies behind a row is not the call's"
    )
    guards.append(Guard("whole_pieces", row, reason))
    return guards


def _by_contiguous(name: str, signature: Signature, value: Callable[[int], Expression]) -> Expression:
    """What belongs to the axis that is contiguous in the layout of a call."""
    values = [value(axis) for axis in signature.contiguous_axes(name)]
    if len(values) == 1 or values[0] == values[1]:
        return values[0]
    return ["where", ["eq", ["layout", name], signature.tensors[name].layouts[0]], values[0], values[1]]


def _by_element(name: str, signature: Signature, value: Callable[[int], int]) -> Expression:
    """What belongs to the width of an element that a call chose."""
    *narrower, widest = sorted({dtype.bytes for dtype in signature.alternatives(name)})
    result: Expression = value(widest)
    for width in reversed(narrower):
        if value(width) != result:
            result = ["where", ["eq", signature.element_bytes(name), width], value(width), result]
    return result
