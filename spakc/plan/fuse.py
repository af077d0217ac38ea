"""Joins stages of a chain on chip, where a template can: a pass over rows with the product that reads its result."""

from __future__ import annotations

from spakc.ir.types import DType
from spakc.ir.visit import loads
from spakc.plan.problem import (
    ChainProblem,
    ElementwiseProblem,
    Operand,
    PanelProblem,
    Problem,
    ProductProblem,
    RowsProblem,
    StageProblem,
)


def fused(problem: Problem) -> PanelProblem | None:
    """The chain as one launch whose intermediate stays on chip, or None where its stages need launches of their own.

    Rows (or single elements) come first and hand on one intermediate, indexed by their row and position alone; a
    product without a batch reads it as its left operand. Changes nothing."""
    if not isinstance(problem, ChainProblem) or len(problem.stages) != 2:
        return None
    first, product = problem.stages
    carried = [name for names in problem.carried for name in names]
    if not isinstance(product, ProductProblem) or len(carried) != 1 or product.batch:
        return None
    rows = _as_rows(first, product.accumulate)
    if rows is None:
        return None
    (panel,) = carried
    single = (rows.kept, rows.reduced, product.rows, product.columns, product.reduced)
    written = [store.tensor for store in rows.element_outputs]
    if any(len(group) != 1 for group in single) or written != [panel] or product.right.tensor == panel:
        return None
    stored = Operand(panel, rows.element_outputs[0].indices)
    places = [stored.axis_of(group[0].name) for group in (rows.kept, rows.reduced)]
    wanted = [product.left.axis_of(group[0].name) for group in (product.rows, product.reduced)]
    if product.left.tensor != panel or places != wanted or None in places:
        return None
    values = [one.value for one in rows.steps] + [one.value for one in rows.element_outputs]
    read = {load.tensor for value in values for load in loads(value)}
    if read & {store.tensor for store in product.outputs}:  # other blocks may have overwritten it
        return None
    return PanelProblem(problem.kernel, rows, product, panel)


def _as_rows(problem: StageProblem, accumulate: DType) -> RowsProblem | None:
    """Rows as they are; single elements as rows of which nothing is reduced."""
    if isinstance(problem, RowsProblem):
        return problem if problem.reduced_is_contiguous else None
    if not isinstance(problem, ElementwiseProblem) or len(problem.space) != 2 or problem.locals:
        return None
    row, position = problem.space
    return RowsProblem(problem.kernel, (row,), (position,), (), (), problem.outputs, accumulate, True)
