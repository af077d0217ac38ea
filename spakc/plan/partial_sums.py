"""A sum down the columns of a matrix as two launches: parts of each column first, then the parts.

There are as many columns as neighbouring results, and that is rarely enough to fill a device. No atomics: the
parts are added in one fixed order, so equal inputs give equal bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spakc.ir.inline import fresh
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.visit import references, substitute
from spakc.plan.problem import IndexRange, RowsProblem, Store

PARTS = 64
"""Parts of a column. Short columns have empty ones, which are zero."""


def partial_sums(
    problem: RowsProblem, taken: Iterable[str]
) -> tuple[RowsProblem, RowsProblem, tuple[str, ...]] | None:
    """The launch that sums the parts, the one that adds them, and the names of what lies between, one for each
    sum; None if the problem is no sums down columns. `taken` are names not to use."""
    if problem.reduced_is_contiguous or len(problem.reduced) != 1 or problem.element_outputs:
        return None
    sums = [step for step in problem.steps if isinstance(step.value, Reduce)]
    if any(isinstance(s.value, Reduce) and (s.value.op != "sum" or _reads_steps(s.value.body)) for s in sums):
        return None
    (row,) = problem.reduced
    names = {*taken, row.name, *(index.name for index in problem.kept)}
    part, within = (fresh(name, names) for name in ("part", "within"))
    height = Apply("ceil_div", (row.extent, Const(PARTS)))
    position = Apply("add", (Apply("mul", (_index(part), height)), _index(within)))
    kept = (IndexRange(part, Const(PARTS)), *problem.kept)
    at = tuple(index.ref for index in kept)
    handed: dict[str, str] = {}
    local, stores = [], []
    for step in sums:
        assert isinstance(step.value, Reduce)
        handed[step.name] = fresh("parts", {*names, *handed.values()})
        body = substitute(step.value.body, {(RefKind.index, row.name): position})
        inside = Apply("where", (Apply("lt", (position, row.extent)), body, Const(0.0)))
        local.append(replace(step, value=Reduce("sum", (within,), inside, span=step.value.span)))
        stores.append(Store(handed[step.name], at, step.ref, span=step.span))
    summed = replace(
        problem,
        kept=kept,
        reduced=(IndexRange(within, height),),
        steps=tuple(local),
        row_outputs=tuple(stores),
    )
    again = tuple(
        replace(step, value=Reduce("sum", (part,), Load(handed[step.name], at), span=step.value.span))
        if isinstance(step.value, Reduce)
        else step
        for step in problem.steps
    )
    added = replace(problem, reduced=(IndexRange(part, Const(PARTS)),), steps=again)
    return summed, added, tuple(handed.values())


def _reads_steps(body: Expr) -> bool:
    return bool(references(body, RefKind.local))


def _index(name: str) -> Expr:
    return Ref(name, RefKind.index)
