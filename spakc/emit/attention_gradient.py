"""What the template of attention's gradient sees: roles as C++ text, the score and its derivative as code on one
element."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

from spakc.emit.attention import (
    condition_code,
    factor_of_dot,
    in_log2,
    operand_rows,
    reads_plainly,
    texts,
    under,
    uniform_conditions,
)
from spakc.emit.expressions import Scope, as_float, expression, identifier
from spakc.emit.groups import Group, index_group, mapped, store_statement, with_indices
from spakc.emit.operations import Code
from spakc.emit.source_map import from_math
from spakc.emit.tile_mask import is_uniform, limits, tile_truth
from spakc.ir.ops import Expr, Load
from spakc.ir.simplify import TRUE
from spakc.ir.visit import walk
from spakc.plan.problem import AttentionGradientProblem, IndexRange, Operand, Store, WholeGradientProblem


def attention_gradient_context(problem: AttentionGradientProblem, scope: Scope) -> dict[str, Any]:
    """Needs locals and index variables in no scope yet."""
    tile = (problem.query, problem.key, problem.depth, problem.value_depth)
    sums = [Code(identifier("v", name), "f32") for name in problem.accumulators]
    dot = Code(identifier("v", problem.dot), "f32")
    inner = with_indices(scope, (*problem.batch, *problem.space, *tile))
    inner = inner.with_locals({problem.dot: dot, **dict(zip(problem.accumulators, sums, strict=True))})
    own, other = problem.own, problem.other
    (own_key, own_value), (other_key, other_value) = problem.owned, problem.passed
    mask = problem.mask if problem.mask is not None else TRUE
    context: dict[str, Any] = {
        "by_keys": problem.by_keys,
        "query_count": expression(problem.query.extent, scope).text,
        "key_count": expression(problem.key.extent, scope).text,
        "depth": expression(problem.depth.extent, scope).text,
        "value_depth": expression(problem.value_depth.extent, scope).text,
        "query_index": _index(problem.query),
        "key_index": _index(problem.key),
        "depth_index": _index(problem.depth),
        "value_index": _index(problem.value_depth),
        "dot": dot.text,
        "sums": [code.text for code in sums],
        "own_dots": _rows(0, own_key, own, problem.depth, inner),
        "own_others": _rows(1, own_value, own, problem.value_depth, inner),
        "passing_dots": _rows(2, other_key, other, problem.depth, inner),
        "passing_others": _rows(3, other_value, other, problem.value_depth, inner),
        "lse": _along(problem.lse, problem.query, inner),
        "delta": _along(problem.delta, problem.query, inner),
        "mask": from_math(f"return {expression(mask, inner).text};", mask.span or problem.span, 4),
        "tile_mask": tile_truth(mask, (problem.query.name, problem.key.name), inner),
        "limits": _limits(mask, problem, inner),
        "condition": " && ".join(
            f"{expression(ref, inner).text} == {expression(expr, inner).text}"
            for ref, expr in problem.conditions
        ),
        "cases": _cases(problem, inner),
        "loads": any(isinstance(n, Load) for e in (problem.score, problem.slope) for n in walk(e)),
        "mask_loads": any(isinstance(n, Load) for n in walk(mask)),
        "outputs": [_output(role, store, problem, inner) for role, store in enumerate(problem.outputs, 4)],
    }
    if problem.added is not None:
        target = Operand(problem.added.tensor, problem.added.indices)
        role = 4 + len(problem.outputs)
        context["added"] = _rows(role, target, problem.query, problem.depth, inner)
    code = texts(context)
    context["space"] = index_group(problem.space, scope, code)
    context["passing"] = _unused_too(index_group(problem.passing, scope, code))
    return context


def whole_gradient_context(problem: WholeGradientProblem, scope: Scope) -> dict[str, Any]:
    """The same for a gradient in one launch: `query_outputs` are in registers like those of keys, `score_writes` are
    statements on one element."""
    part = problem.by_keys
    tile = (part.query, part.key, part.depth, part.value_depth)
    names = (part.dot, problem.slope, *part.accumulators)
    inner = with_indices(scope, (*part.batch, *part.space, *tile)).with_locals(
        {name: Code(identifier("v", name), "f32") for name in names}
    )
    context = attention_gradient_context(part, scope)
    context["slope"] = identifier("v", problem.slope)
    context["result"] = operand_rows(problem.result_operand, part.query, part.value_depth, inner)
    context["query_outputs"] = [
        _output(role, store, part, inner, part.query)
        for role, store in enumerate(problem.query_outputs, 4 + len(part.outputs))
    ]
    context["score_writes"] = [store_statement(store, inner, 10) for store in problem.score_outputs]
    context["passes"] = bool(part.passing)
    context["clamped"] = reads_plainly((part.score, part.slope))
    code = texts(
        {name: value for name, value in context.items() if name not in ("space", "passing", "delta")}
    )
    context["space"] = index_group(part.space, scope, code)
    context["passing"] = _unused_too(index_group(part.passing, scope, code))
    return context


def _rows(role: int, operand: Operand, outer: IndexRange, along: IndexRange, scope: Scope) -> dict[str, str]:
    """As `operand_rows`, and its tensor map where a template has one."""
    axes = (operand.axis_of(outer.name), operand.axis_of(along.name))
    return operand_rows(operand, outer, along, scope) | mapped(role, operand, axes, scope)


def _limits(mask: Expr, problem: AttentionGradientProblem, scope: Scope) -> list[dict[str, Any]] | None:
    """The mask as limits of the rows that pass by, for each of those that stay; None where it is not of that form."""
    found = limits(mask, problem.other.name, problem.own.name, scope)
    return None if found is None else [asdict(limit) for limit in found]


def _unused_too(group: Group) -> dict[str, str]:
    """The same indices, declared in several places of which not all use each."""
    return {
        "size": group.size,
        "declared": group.decode("head").replace("const i32", "[[maybe_unused]] const i32"),
    }


def _along(load: Load, row: IndexRange, scope: Scope) -> dict[str, str]:
    """Where the first of a row of numbers is, and how far the next."""
    operand = Operand(load.tensor, load.indices)
    axis = operand.axis_of(row.name)
    rows = operand_rows(operand, row, row, scope)
    return {"origin": rows["origin"], "stride": f"params.{identifier('s', load.tensor)}_{axis}"}


def _cases(problem: AttentionGradientProblem, scope: Scope) -> list[dict[str, str]]:
    """The score in units of log2 and its derivative, for each case of what does not change within a launch."""
    conditions = uniform_conditions((problem.score, problem.slope))
    cases = []
    for choice in itertools.product((True, False), repeat=len(conditions)):
        chosen: dict[Expr, bool] = dict(zip(conditions, choice, strict=True))
        logit, slope = in_log2(under(problem.score, chosen)), under(problem.slope, chosen)
        cases.append(
            {
                "condition": condition_code(chosen, scope),
                "factor": factor_of_dot(logit, problem.dot, scope) if is_uniform(slope) else "",
                "slope_factor": as_float(expression(slope, scope)) if is_uniform(slope) else "",
                "logit": from_math(
                    f"const f32 logit = {as_float(expression(logit, scope))};",
                    problem.score.span or problem.span,
                    10,
                ),
                "slope": from_math(
                    f"const f32 slope = {as_float(expression(slope, scope))};",
                    problem.score.span or problem.span,
                    10,
                ),
            }
        )
    return cases


def _output(
    role: int, store: Store, problem: AttentionGradientProblem, scope: Scope, row: IndexRange | None = None
) -> dict[str, str]:
    """`row`: the index along the rows, where it is not that of what the problem keeps."""
    weighted = problem.of_weights(store)
    along = problem.value_depth if weighted else problem.depth
    rows = _rows(role, Operand(store.tensor, store.indices), row or problem.own, along, scope)
    return {
        "type": rows["type"],
        "of_weights": "true" if weighted else "",
        "value": from_math(f"return {as_float(expression(store.value, scope))};", store.span, 6),
        "origin": rows["origin"],
        "stride_row": rows["stride_outer"],
        "stride_column": rows["stride_k"],
        "map": rows["map"],
        "coordinates": rows["coordinates"],
    }


def _index(index: IndexRange) -> str:
    return identifier("i", index.name)
