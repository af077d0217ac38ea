"""Attention as three launches with the scores in memory: what computes it until a fused template does."""

from __future__ import annotations

from spakc.ir.inline import fresh
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.visit import references, transform
from spakc.plan.problem import (
    AttentionProblem,
    ChainProblem,
    Local,
    Operand,
    ProductProblem,
    RowsProblem,
    Store,
)

_MINUS_INFINITY = Const(float("-inf"))


def unfuse(problem: AttentionProblem, kernel: Kernel) -> ChainProblem:
    """Scores, then weights and row results, then the weighted sum of values. Rows without a key have
    weights of zero, as the problem says."""
    taken = {*kernel.tensors, *kernel.dims, *kernel.options, *(e.target for e in kernel.math)}
    scores, weights = fresh("scores", taken), fresh("weights", taken)
    row = tuple(index.ref for index in (*problem.batch, problem.query))
    handed_on: tuple[str, ...] = (weights,)
    lse = Ref(problem.lse, RefKind.local)
    row_outputs = problem.row_outputs
    kept = next((store for store in row_outputs if store.value == lse), None)
    if kept is None and any(
        problem.lse in references(store.value, RefKind.local) for store in problem.outputs
    ):
        kept = Store(fresh("normalisers", taken), row, lse, span=problem.span)
        row_outputs = (*row_outputs, kept)
        handed_on = (weights, kept.tensor)
    stages = (
        _scores(problem, kernel, scores),
        _softmax(problem, kernel, scores, weights, row_outputs),
        _values(problem, kernel, weights, kept),
    )
    return ChainProblem(kernel.name, stages, ((scores,), handed_on, ()))


def _at(problem: AttentionProblem) -> tuple[Ref, ...]:
    return tuple(index.ref for index in (*problem.batch, problem.query, problem.key))


def _scores(problem: AttentionProblem, kernel: Kernel, scores: str) -> ProductProblem:
    logit = problem.score
    if problem.mask is not None:
        logit = Apply("where", (problem.mask, logit, _MINUS_INFINITY), span=problem.span)
    return ProductProblem(
        kernel.name,
        problem.query_operand,
        problem.key_operand,
        problem.batch,
        (problem.query,),
        (problem.key,),
        (problem.depth,),
        problem.accumulate,
        problem.dot,
        (Store(scores, _at(problem), logit, span=problem.span),),
        span=problem.span,
    )


def _softmax(
    problem: AttentionProblem, kernel: Kernel, scores: str, weights: str, row_outputs: tuple[Store, ...]
) -> RowsProblem:
    score, lse = Load(scores, _at(problem)), Ref(problem.lse, RefKind.local)
    share = Apply("exp", (Apply("sub", (score, lse)),))
    weight = Apply("where", (Apply("eq", (lse, _MINUS_INFINITY)), Const(0.0), share))
    return RowsProblem(
        kernel.name,
        (*problem.batch, problem.query),
        (problem.key,),
        (Local(problem.lse, Reduce("logsumexp", (problem.key.name,), score), span=problem.span),),
        row_outputs,
        (Store(weights, _at(problem), weight, span=problem.span),),
        problem.accumulate,
        True,
    )


def _values(problem: AttentionProblem, kernel: Kernel, weights: str, kept: Store | None) -> ProductProblem:
    """The last product. Where its results need the row's normaliser, they read what the softmax stored."""
    lse = Ref(problem.lse, RefKind.local)

    def read_back(node: Expr) -> Expr:
        return Load(kept.tensor, kept.indices) if node == lse and kept is not None else node

    outputs = tuple(
        Store(s.tensor, s.indices, transform(s.value, read_back), span=s.span) for s in problem.outputs
    )
    return ProductProblem(
        kernel.name,
        Operand(weights, _at(problem), span=problem.span),
        problem.value_operand,
        problem.batch,
        (problem.query,),
        (problem.value_depth,),
        (problem.key,),
        problem.accumulate,
        problem.accumulator,
        outputs,
        span=problem.span,
    )
