"""Why maths does not fit its family, and the view of a kernel's outputs that every family starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spakc.ir.extents import UnknownExtent, infer_extents
from spakc.ir.inline import free_indices, index_name, inline, own_bound_names, plain_target
from spakc.ir.module import Equation, Kernel
from spakc.ir.ops import Expr, Load
from spakc.ir.simplify import simplify
from spakc.ir.visit import walk
from spakc.plan.problem import IndexRange
from spakc.record import record
from spakc.source import Span


class Mismatch(Exception):
    """The first node that does not fit: a code, what is wrong with it, and the form expected there."""

    def __init__(
        self, code: str, message: str, span: Span | None, expected: str, also: Sequence[tuple[Span, str]] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.expected = expected
        self.also = tuple(also)


@record
class Output:
    """An equation of a declared tensor, its value in normal form over loads of declared tensors only.
    `written` is the equation as the file has it."""

    equation: Equation
    written: Equation
    value: Expr
    extents: Mapping[str, Expr]

    @property
    def indices(self) -> tuple[Expr, ...]:
        return self.equation.indices

    @property
    def variables(self) -> tuple[str, ...]:
        """The index variables on the left, in order."""
        return tuple(dict.fromkeys(name for index in self.indices for name in free_indices(index)))

    def range(self, name: str) -> IndexRange:
        return IndexRange(name, self.extents[name])

    def ranges(self, names: Sequence[str]) -> tuple[IndexRange, ...]:
        return tuple(self.range(name) for name in names)


def inlining_table(kernel: Kernel) -> dict[str, Equation]:
    """What a load may be replaced by: intermediates and outputs under their names, what a step writes under
    `new NAME`. Raises Mismatch for a read of something that is written in pieces."""
    table: dict[str, Equation] = {}
    pieces = {e.target: e for e in kernel.math if not plain_target(e)}
    for equation in kernel.math:
        tensor = kernel.tensors.get(equation.target)
        for node in walk(equation.value):
            if isinstance(node, Load) and node.tensor in pieces and (node.new or not _is_given(kernel, node)):
                raise Mismatch(
                    "SPAK415",
                    f"{node.tensor} is written in pieces and cannot be read back in the same kernel",
                    node.span or equation.span,
                    "an expression over what the pieces were computed from",
                    [(pieces[node.tensor].span, "one of the pieces")],
                )
        table[f"new {equation.target}"] = equation
        if tensor is None or tensor.role == "output":
            table[equation.target] = equation
    return table


def _is_given(kernel: Kernel, load: Load) -> bool:
    """Whether a load reads what the caller passed (an input, or an inout tensor's old value)."""
    tensor = kernel.tensors.get(load.tensor)
    return tensor is not None and tensor.role != "output"


MOST_NODES = 4000
"""Nodes of one output, every intermediate inlined. Far beyond any kernel; sharing grows exponentially."""


def _refuse_explosion(kernel: Kernel, table: Mapping[str, Equation]) -> None:
    sizes: dict[str, int] = {}
    for equation in kernel.math:
        size = 0
        for node in walk(equation.value):
            name = (
                f"new {node.tensor}" if isinstance(node, Load) and node.new else getattr(node, "tensor", "")
            )
            size += sizes.get(name, 1) if name in table else 1
        sizes[f"new {equation.target}"] = size
        if table.get(equation.target) is equation:
            sizes[equation.target] = size
        if size > MOST_NODES:
            raise Mismatch(
                "SPAK418",
                f"{equation.target} is an expression of more than {MOST_NODES} operations once inlined",
                equation.span,
                "fewer reads of the same intermediates, or several kernels",
            )


def outputs_of(kernel: Kernel) -> tuple[Output, ...]:
    """Every equation of a declared tensor, everything between it and the inputs inlined."""
    table = inlining_table(kernel)
    _refuse_explosion(kernel, table)
    written = [equation for equation in kernel.math if equation.target in kernel.tensors]
    equations = [own_bound_names(replace(e, value=simplify(inline(e.value, table)))) for e in written]
    try:
        extents = infer_extents(replace(kernel, math=tuple(equations)))
    except UnknownExtent as unknown:
        message = (
            f"nothing says how many values the index {unknown.name} takes once intermediates are inlined"
        )
        raise Mismatch("SPAK417", message, unknown.span, "an axis that it runs along") from None
    return tuple(
        Output(equation, original, equation.value, found)
        for equation, original, found in zip(equations, written, extents.variables, strict=True)
    )


def plain_names(indices: Sequence[Expr]) -> tuple[str, ...] | None:
    """The names, if every index is just a variable."""
    names = tuple(index_name(index) for index in indices)
    return None if None in names else tuple(name for name in names if name is not None)
