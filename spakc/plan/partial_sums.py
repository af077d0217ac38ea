"""A sum down the columns of a matrix as two launches: parts of each column first, then the parts.

There are as many columns as neighbouring results, and that is rarely enough to fill a device. No atomics: the
parts are added in one fixed order, so equal inputs give equal bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spakc.ir.inline import fresh
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.visit import substitute
from spakc.plan.problem import IndexRange, RowsProblem, Store

PARTS = 64
"""Parts of a column. Short columns have empty ones, which are zero."""


def partial_sums(problem: RowsProblem, taken: Iterable[str]) -> tuple[RowsProblem, RowsProblem, str] | None:
    """The launch that sums the parts, the one that adds them, and the name of what lies between; None if the
    problem is no single sum down columns. `taken` are names not to use."""
    if problem.reduced_is_contiguous or len(problem.reduced) != 1 or problem.element_outputs:
        return None
    first, *rest = problem.steps
    if not isinstance(first.value, Reduce) or first.value.op != "sum":
        return None
    if any(isinstance(step.value, Reduce) for step in rest):
        return None
    (row,) = problem.reduced
    names = {*taken, row.name, *(index.name for index in problem.kept)}
    parts, part, within = (fresh(name, names) for name in ("parts", "part", "within"))
    height = Apply("ceil_div", (row.extent, Const(PARTS)))
    position = Apply("add", (Apply("mul", (_index(part), height)), _index(within)))
    body = substitute(first.value.body, {(RefKind.index, row.name): position})
    inside = Apply("where", (Apply("lt", (position, row.extent)), body, Const(0.0)))
    kept = (IndexRange(part, Const(PARTS)), *problem.kept)
    at = tuple(index.ref for index in kept)
    local = replace(first, value=Reduce("sum", (within,), inside, span=first.value.span))
    store = Store(parts, at, local.ref, span=first.span)
    summed = replace(
        problem,
        kept=kept,
        reduced=(IndexRange(within, height),),
        steps=(local,),
        row_outputs=(store,),
    )
    again = replace(first, value=Reduce("sum", (part,), Load(parts, at), span=first.value.span))
    added = replace(problem, reduced=(IndexRange(part, Const(PARTS)),), steps=(again, *rest))
    return summed, added, parts


def _index(name: str) -> Expr:
    return Ref(name, RefKind.index)
