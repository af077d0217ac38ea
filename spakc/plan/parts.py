"""A product of a long sum as two launches: parts of each sum by blocks of their own, then the sums of the parts.

A product whose outputs are few tiles leaves most of a device idle however long its sums are. No atomics: the parts are
added in one fixed order, so equal inputs give equal bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spak_runtime.manifest import Guard
from spakc.ir.inline import fresh
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.types import DType
from spakc.plan.launch import lower, product
from spakc.plan.problem import IndexRange, Local, ProductProblem, RowsProblem, Store

SHORTEST = 3
"""Steps of a part, at least."""

MOST = 64
"""Parts of a sum, at most."""

_LARGEST = 2**31 - 1


def in_parts(
    problem: ProductProblem, taken: Iterable[str]
) -> tuple[ProductProblem, RowsProblem, str, Guard] | None:
    """The launch that computes the parts, the one that adds them, the name of what lies between, and what they ask of a
    call; None where matrices are no plain ones. `taken` are names not to use."""
    single = len(problem.rows) == len(problem.columns) == len(problem.reduced) == 1
    if problem.batch or not single or problem.accumulate is not DType.f32:
        return None
    row, column, reduced = problem.rows[0], problem.columns[0], problem.reduced[0]
    names = {*taken, row.name, column.name, reduced.name}
    part = IndexRange(fresh("part", names), _count(row, column, reduced))
    handed = fresh("parts", {*names, part.name})
    at = part.ref, row.ref, column.ref
    total = Local(problem.accumulator, Reduce("sum", (part.name,), Load(handed, at)))
    summed = replace(
        problem, batch=(part,), outputs=(Store(handed, at, total.ref, span=problem.span),), parts=part
    )
    added = RowsProblem(
        problem.kernel, (row, column), (part,), (total,), problem.outputs, (), problem.accumulate, False
    )
    elements = product((lower(row.extent), lower(column.extent)))
    return summed, added, handed, Guard("elements", ["le", elements, _LARGEST], "an index has 32 bits")


def _count(row: IndexRange, column: IndexRange, reduced: IndexRange) -> Expr:
    """As many parts as blocks that the tiles leave multiprocessors for, of a few steps at least. The cost model's
    `parts_of` is the same."""
    cluster = _knob("cluster")
    high = Apply("ceil_div", (row.extent, Apply("mul", (_knob("tile_m"), cluster))))
    tiles = Apply(
        "max", (Apply("mul", (high, Apply("ceil_div", (column.extent, _knob("tile_n"))))), Const(1))
    )
    places = Apply("floordiv", (Ref("sms", RefKind.fact), cluster))
    steps = Apply("ceil_div", (reduced.extent, _knob("tile_k")))
    most = Apply("min", (Apply("floordiv", (places, tiles)), Apply("floordiv", (steps, Const(SHORTEST)))))
    return Apply("max", (Apply("min", (most, Const(MOST))), Const(1)))


def _knob(name: str) -> Ref:
    return Ref(name, RefKind.knob)
