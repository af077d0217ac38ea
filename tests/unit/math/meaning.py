"""A recognised problem turned back into a kernel, so that the oracle can say whether it means the same."""

from __future__ import annotations

from dataclasses import replace as with_fields

from spakc.ir.inline import replace
from spakc.ir.module import Equation, Kernel
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import MINUS_INFINITY, mul
from spakc.plan.problem import (
    AttentionProblem,
    ChainProblem,
    ElementwiseProblem,
    IndexRange,
    Problem,
    ProductProblem,
    RowsProblem,
    Store,
)


def as_kernel(problem: Problem, kernel: Kernel) -> Kernel:
    """The kernel that computes what the problem says, from the problem alone."""
    if isinstance(problem, ChainProblem):
        equations = [e for stage in problem.stages for e in as_kernel(stage, kernel).math]
        return with_fields(kernel, math=tuple(equations))
    lines = _Lines(kernel)
    match problem:
        case ProductProblem():
            lines.local(
                problem.accumulator,
                (*problem.batch, *problem.rows, *problem.columns),
                Reduce(
                    "sum", tuple(r.name for r in problem.reduced), mul(problem.left.load, problem.right.load)
                ),
            )
            lines.stores(problem.outputs)
        case RowsProblem():
            for step in problem.steps:
                lines.local(step.name, problem.kept, step.value)
            lines.stores((*problem.row_outputs, *problem.element_outputs))
        case ElementwiseProblem():
            for local in problem.locals:
                lines.local(local.name, problem.space, local.value)
            lines.stores(problem.outputs)
        case AttentionProblem():
            _attention(lines, problem)
    return with_fields(kernel, math=tuple(lines.equations))


def _attention(lines: _Lines, problem: AttentionProblem) -> None:
    rows = (*problem.batch, problem.query)
    key = (problem.key.name,)
    product = mul(problem.query_operand.load, problem.key_operand.load)
    lines.local(problem.dot, (*rows, problem.key), Reduce("sum", (problem.depth.name,), product))
    logit = problem.score
    if problem.mask is not None:
        logit = Apply("where", (problem.mask, logit, MINUS_INFINITY))
    lines.local("the_logit", (*rows, problem.key), logit)
    read = Ref("the_logit", RefKind.local)
    lines.local(problem.lse, rows, Reduce("logsumexp", key, read))
    lines.local("the_weight", (*rows, problem.key), Reduce("softmax", key, read))
    weighted = mul(Ref("the_weight", RefKind.local), problem.value_operand.load)
    lines.local(problem.accumulator, (*rows, problem.value_depth), Reduce("sum", key, weighted))
    lines.stores((*problem.outputs, *problem.row_outputs))


class _Lines:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.equations: list[Equation] = []
        self.where: dict[str, tuple[Expr, ...]] = {}

    def local(self, name: str, ranges: tuple[IndexRange, ...], value: Expr) -> None:
        indices = tuple(r.ref for r in ranges)
        self.equations.append(Equation(f"on_chip_{name}", indices, self._read(value), span=self.kernel.span))
        self.where[name] = indices

    def stores(self, stores: tuple[Store, ...]) -> None:
        for store in stores:
            self.equations.append(
                Equation(store.tensor, store.indices, self._read(store.value), span=self.kernel.span)
            )

    def _read(self, value: Expr) -> Expr:
        def change(node: Expr) -> Expr | None:
            if isinstance(node, Ref) and node.kind is RefKind.local:
                return Load(f"on_chip_{node.name}", self.where[node.name])
            return None

        return replace(value, change)
