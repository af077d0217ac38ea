"""Matches maths against the family `product`: one sum of products of two tensor elements, then anything
element-wise."""

from __future__ import annotations

from collections.abc import Sequence

from spakc.ir.inline import (
    free_indices,
    index_name,
    replace,
    same_up_to_indices,
)
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import factors_of, mul, simplify
from spakc.ir.visit import walk
from spakc.plan.mismatch import Mismatch, Output, outputs_of
from spakc.plan.naming import ValueNames, rename_output
from spakc.plan.problem import IndexRange, Operand, ProductProblem, Store

_FORM = "sum[k](A[m, k] * B[k, n]), with the tensors and indices of this kernel"


def match_product(kernel: Kernel) -> ProductProblem:
    """Needs checked shapes. Raises Mismatch at the first node that does not fit."""
    outputs = outputs_of(kernel)
    first = outputs[0]
    contraction = _only_sum(first, None)
    scale, left, right = split_product(contraction)
    left, right = _in_output_order(first, contraction, left, right)
    reduced = contraction.axes
    batch, rows, columns = _roles(first, contraction, left, right)
    accumulator = ValueNames(kernel).name(contraction, "accumulator")
    stores = [_store(first, contraction, scale, accumulator)]
    for other in outputs[1:]:
        renamed = _aligned(contraction, other)
        stores.append(_store(renamed, _only_sum(renamed, contraction), scale, accumulator))
    return ProductProblem(
        kernel.name,
        operand(left),
        operand(right),
        first.ranges(batch),
        first.ranges(rows),
        first.ranges(columns),
        tuple(IndexRange(axis, _bound_extent(kernel, left, right, axis)) for axis in reduced),
        kernel.accumulate,
        accumulator,
        tuple(stores),
        contraction.span,
    )


def top_reductions(expr: Expr) -> tuple[Reduce, ...]:
    """The distinct reductions that stand in no other one."""
    found: dict[Reduce, None] = {}

    def visit(node: Expr) -> Expr | None:
        if isinstance(node, Reduce):
            found[node] = None
            return node
        return None

    replace(expr, visit)
    return tuple(found)


def _only_sum(output: Output, expected: Reduce | None) -> Reduce:
    tops = top_reductions(output.value)
    span = output.equation.span
    if not tops:
        raise Mismatch(
            "SPAK401", f"{output.equation.target} is computed without a sum of products", span, _FORM
        )
    first = tops[0]
    for other in (*tops[1:], *(n for n in walk(first.body) if isinstance(n, Reduce))):
        raise Mismatch(
            "SPAK402",
            "a product has one sum; this is a second reduction",
            other.span or span,
            "an element-wise expression of the first sum",
            [(first.span, "the sum of this product")] if first.span else [],
        )
    if first.op != "sum":
        raise Mismatch("SPAK403", f"a product is a sum; this is {first.op}", first.span or span, _FORM)
    if expected is not None and first != expected:
        raise Mismatch(
            "SPAK402",
            f"{output.equation.target} needs another sum than the output before it",
            first.span or span,
            "an element-wise expression of the same sum",
            [(expected.span, "the sum of this product")] if expected.span else [],
        )
    return first


def split_product(contraction: Reduce) -> tuple[list[Expr], Load, Load]:
    """The factors that no summed index enters, and the two elements. Raises Mismatch."""
    outside: list[Expr] = []
    elements: list[Load] = []
    for factor in factors_of(contraction.body):
        bare = _without_widening(factor)
        if not set(free_indices(factor)) & set(contraction.axes):
            outside.append(factor)
        elif isinstance(bare, Load) and not any(isinstance(n, Load) for i in bare.indices for n in walk(i)):
            elements.append(bare)
        else:
            raise Mismatch(
                "SPAK404",
                "this factor of the sum is no tensor element",
                factor.span or contraction.span,
                _FORM,
            )
    if len(elements) != 2:
        span = elements[2].span if len(elements) > 2 else contraction.span
        count = {0: "no tensor element", 1: "one tensor element"}.get(len(elements), "a third tensor element")
        raise Mismatch("SPAK404", f"the sum runs over {count}", span or contraction.span, _FORM)
    return outside, elements[0], elements[1]


def _without_widening(factor: Expr) -> Expr:
    """Products accumulate in f32 anyway, so `f32(A[m, k])` is `A[m, k]`."""
    match factor:
        case Apply("cast_f32" | "cast_f64", (inner,)):
            return inner
    return factor


def operand(load: Load) -> Operand:
    return Operand(load.tensor, load.indices, load.span)


def _in_output_order(output: Output, contraction: Reduce, a: Load, b: Load) -> tuple[Load, Load]:
    """The element that owns the first output index that the other does not have comes first."""
    mine, theirs = set(free_indices(a)), set(free_indices(b))
    for name in output.variables:
        if (name in mine) != (name in theirs):
            return (a, b) if name in mine else (b, a)
    raise _no_roles(contraction, a, b)


def _roles(
    output: Output, contraction: Reduce, left: Load, right: Load
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    mine, theirs = set(free_indices(left)), set(free_indices(right))
    for name in contraction.axes:
        if name not in mine or name not in theirs:
            raise Mismatch(
                "SPAK405",
                f"the summed index {name} is not an index of both elements",
                contraction.span,
                f"both elements indexed by {name}",
            )
    batch = tuple(n for n in output.variables if (n in mine) == (n in theirs))
    rows = tuple(n for n in output.variables if n in mine and n not in theirs)
    columns = tuple(n for n in output.variables if n in theirs and n not in mine)
    if not rows or not columns:
        raise _no_roles(contraction, left, right)
    for load in (left, right):
        plain = {index_name(index) for index in load.indices}
        for name in (*contraction.axes, *rows, *columns):
            if name in free_indices(load) and name not in plain:
                raise Mismatch(
                    "SPAK405",
                    f"{load.tensor} is not indexed by {name} alone on any axis",
                    load.span or contraction.span,
                    f"{name} itself as an index",
                )
    return batch, rows, columns


def _no_roles(contraction: Reduce, left: Load, right: Load) -> Mismatch:
    return Mismatch(
        "SPAK405",
        "each element of a product brings an output index of its own, and here one brings none",
        contraction.span,
        _FORM + " (without rows or without columns it is of the family rows)",
        [(load.span, "an element") for load in (left, right) if load.span],
    )


def _aligned(contraction: Reduce, other: Output) -> Output:
    """`other` with its index variables renamed so that its sum is that of the first output."""
    tops = top_reductions(other.value)
    renaming = same_up_to_indices(contraction, tops[0]) if len(tops) == 1 else None
    if renaming is None:
        return other  # left as it is: `_only_sum` says what is wrong with it
    return rename_output(other, renaming, contraction.axes)


def _store(output: Output, contraction: Reduce, scale: Sequence[Expr], accumulator: str) -> Store:
    replaced = mul(*scale, Ref(accumulator, RefKind.local, span=contraction.span))
    value = replace(output.value, lambda node: replaced if node == contraction else None)
    return Store(output.equation.target, output.indices, simplify(value), output.equation.span)


def _bound_extent(kernel: Kernel, left: Load, right: Load, axis: str) -> Expr:
    for load in (left, right):
        for index, size in zip(load.indices, kernel.tensors[load.tensor].shape, strict=True):
            if index_name(index) == axis:
                return size
    raise AssertionError(axis)
