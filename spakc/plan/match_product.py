"""Matches maths against the family `product`: one sum of products of two tensor elements, then anything
element-wise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_fields

from spakc.ir.inline import (
    free_indices,
    fresh,
    index_name,
    inline,
    reductions,
    replace,
    same_up_to_indices,
    substitute,
)
from spakc.ir.lift import expand_softmax
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import factors_of, mul, simplify
from spakc.ir.visit import walk
from spakc.plan.mismatch import Mismatch, Output, inlining_table, outputs_of
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


def rename_output(output: Output, free: Mapping[str, str], axes: Sequence[str]) -> Output:
    """The same output under other names: `free` for variables on the left (others stay if they can), `axes`
    for those of every reduction, by position."""
    mapping: dict[str, Expr] = {}
    taken = set(free.values())
    for name in output.variables:
        new = free.get(name) or fresh(name, taken)
        taken.add(new)
        mapping[name] = Ref(new, RefKind.index)
    equation = output.equation
    indices = tuple(substitute(index, mapping) for index in equation.indices)
    value = simplify(_rename_axes(substitute(output.value, mapping), axes))
    extents = dict(output.extents)
    for node in reductions(output.value):
        extents.update(zip(axes, (output.extents[axis] for axis in node.axes), strict=False))
    extents.update({index_name(ref) or name: output.extents[name] for name, ref in mapping.items()})
    return Output(replace_fields(equation, indices=indices, value=value), output.written, value, extents)


def _rename_axes(expr: Expr, axes: Sequence[str]) -> Expr:
    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Reduce) or node.op == "softmax" or len(node.axes) != len(axes):
            return None
        pairs = {a: Ref(b, RefKind.index) for a, b in zip(node.axes, axes, strict=True) if a != b}
        body = substitute(_rename_axes(node.body, axes), pairs)
        return Reduce(node.op, tuple(axes), body, span=node.span)

    return replace(expr, change)


def _store(output: Output, contraction: Reduce, scale: Sequence[Expr], accumulator: str) -> Store:
    replaced = mul(*scale, Ref(accumulator, RefKind.local, span=contraction.span))
    value = replace(output.value, lambda node: replaced if node == contraction else None)
    return Store(output.equation.target, output.indices, simplify(value), output.equation.span)


class ValueNames:
    """Names for on-chip values: the file's where an intermediate is defined as just that value."""

    def __init__(self, kernel: Kernel) -> None:
        table = inlining_table(kernel)
        self.tensors = kernel.tensors.keys()
        self.taken = taken_names(kernel)
        self.known = [
            (target, simplify(expand_softmax(inline(equation.value, table))))
            for target, equation in table.items()
            if not target.startswith("new ")
        ]

    def name(self, value: Expr, default: str) -> str:
        """A name that no earlier call gave. The name of an intermediate may be given, a tensor's never."""
        for target, known in self.known:
            if same_up_to_indices(known, value) is not None:
                if target not in self.tensors:
                    self.known.remove((target, known))
                    return target
                default = f"{target}_value"
                break
        name = fresh(default, self.taken)
        self.taken.add(name)
        return name


def taken_names(kernel: Kernel) -> set[str]:
    """Every name that the kernel gives to something."""
    targets = {equation.target for equation in kernel.math}
    return targets | kernel.tensors.keys() | kernel.dims.keys() | kernel.options.keys()


def _bound_extent(kernel: Kernel, left: Load, right: Load, axis: str) -> Expr:
    for load in (left, right):
        for index, size in zip(load.indices, kernel.tensors[load.tensor].shape, strict=True):
            if index_name(index) == axis:
                return size
    raise AssertionError(axis)
