"""A sum down the columns of rows that are computed anyway, in the same pass over them: each block adds up the
columns of its own rows, on the way, and a second launch adds the blocks' parts in one fixed order.

The backward of a norm is such a pair: the gradient of its input needs sums along each row, that of its weight sums down
the columns of the same tensors. One after the other, they read memory twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

from spakc.ir.inline import fresh
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.visit import loads, references, substitute, transform
from spakc.plan.launch import StepProblem, stores_of
from spakc.plan.problem import IndexRange, RowsProblem, Store

BLOCKS = 2
"""Blocks of a multiprocessor, and so parts of a column, at most."""

ROUND = 8
"""Rows of a block are a multiple of so many, which its warps compute at a time: then no few of them go on alone."""


def one_pass(
    steps: Sequence[StepProblem], taken: Iterable[str]
) -> tuple[tuple[StepProblem, ...], tuple[str, ...]] | None:
    """The same steps, where the first one also sums down columns what a later one would, and the names of what it hands
    on; None if there is no such pair. `taken` are names not to use."""
    first = steps[0]
    if not isinstance(first, RowsProblem) or not first.reduced_is_contiguous:
        return None
    for place, step in enumerate(steps[1:], 1):
        if isinstance(step, RowsProblem) and _is_down_columns(step, first):
            joined = _joined(first, step, steps[1:place], set(taken))
            if joined is not None:
                together, added, handed = joined
                return (together, *steps[1:place], added, *steps[place + 1 :]), handed
    return None


def _is_down_columns(step: RowsProblem, rows: RowsProblem) -> bool:
    """Whether a step only sums down the columns of these rows."""
    sums = [s.value for s in step.steps if isinstance(s.value, Reduce)]
    return (
        not step.element_outputs
        and [index.extent for index in step.kept] == [index.extent for index in rows.reduced]
        and [index.extent for index in step.reduced] == [index.extent for index in rows.kept]
        and all(one.op == "sum" and not references(one.body, RefKind.local) for one in sums)
    )


def _joined(
    rows: RowsProblem, columns: RowsProblem, between: Sequence[StepProblem], taken: set[str]
) -> tuple[RowsProblem, RowsProblem, tuple[str, ...]] | None:
    names = {*taken, *(r.name for r in (*rows.kept, *rows.reduced, *columns.kept, *columns.reduced))}
    part = IndexRange(fresh("part", names), _blocks(rows.kept))
    own = {
        (RefKind.index, theirs.name): ours.ref
        for theirs, ours in zip((*columns.reduced, *columns.kept), (*rows.kept, *rows.reduced), strict=True)
    }
    known = {store.tensor: store for store in (*rows.row_outputs, *rows.element_outputs)}
    unknown = {store.tensor for step in between for store in stores_of(step)}
    handed: dict[str, str] = {}
    stores = []
    for step in columns.steps:
        if not isinstance(step.value, Reduce):
            continue
        handed[step.name] = fresh("parts", {*names, *handed.values()})
        body = _with_row_values(substitute(step.value.body, own), known)
        if body is None or unknown & {load.tensor for load in loads(body)}:
            return None
        at = (part.ref, *(index.ref for index in rows.reduced))
        stores.append(Store(handed[step.name], at, body, span=step.span))
    again = tuple(
        replace(
            step,
            value=Reduce("sum", (part.name,), _part(handed[step.name], part, columns), span=step.value.span),
        )
        if isinstance(step.value, Reduce)
        else step
        for step in columns.steps
    )
    together = replace(rows, column_sums=tuple(stores), parts=part)
    return together, replace(columns, reduced=(part,), steps=again), tuple(handed.values())


def _blocks(kept: Sequence[IndexRange]) -> Expr:
    """As few blocks as still compute the rows in the number of rounds that all of them would need; one where there are
    no rows."""
    rows = reduce(lambda whole, index: Apply("mul", (whole, index.extent)), kept[1:], kept[0].extent)
    rows = Apply("max", (rows, Const(1)))
    most = Apply("mul", (Ref("sms", RefKind.fact), Const(BLOCKS)))
    rounds = Apply("ceil_div", (rows, Apply("mul", (most, Const(ROUND)))))
    return Apply("ceil_div", (rows, Apply("mul", (rounds, Const(ROUND)))))


def _part(name: str, part: IndexRange, columns: RowsProblem) -> Load:
    return Load(name, (part.ref, *(index.ref for index in columns.kept)))


def _with_row_values(body: Expr, known: dict[str, Store]) -> Expr | None:
    """The body over what each row has computed itself, instead of what it has written (which a later step reads
    only where that keeps all digits); None if it reads that of another row."""
    foreign = False

    def change(node: Expr) -> Expr:
        nonlocal foreign
        if not isinstance(node, Load) or node.tensor not in known:
            return node
        store = known[node.tensor]
        foreign |= node.indices != store.indices
        return store.value

    changed = transform(body, change)
    return None if foreign else changed
