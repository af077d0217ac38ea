"""What the templates of attention see: roles as C++ text, the mathematics of a score as code on one element."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spakc.emit.expressions import Scope, as_float, expression, identifier
from spakc.emit.groups import index_group, mapped, origin_code, store_statement, with_indices
from spakc.emit.operations import Code
from spakc.emit.source_map import from_math
from spakc.emit.tile_mask import is_uniform, limits, tile_truth
from spakc.ir.inline import replace
from spakc.ir.ops import Apply, Const, Expr, Load, Ref, RefKind
from spakc.ir.simplify import TRUE, factors_of, mul, simplify
from spakc.ir.visit import walk
from spakc.plan.problem import AttentionProblem, IndexRange, Operand, Store

_MOST_CONDITIONS = 2
"""Conditions that hold or not for a whole launch and split its code: each doubles what is emitted."""

_LOG2_E = Const(math.log2(math.e))


def attention_context(problem: AttentionProblem, scope: Scope) -> dict[str, Any]:
    """Needs locals and index variables in no scope yet."""
    tile = (problem.query, problem.key, problem.depth, problem.value_depth)
    dot, lse, accumulator = (
        Code(identifier("v", name), "f32") for name in (problem.dot, problem.lse, problem.accumulator)
    )
    inner = with_indices(scope, (*problem.batch, *tile)).with_locals(
        {problem.dot: dot, problem.lse: lse, problem.accumulator: accumulator}
    )
    query, key, value = (
        as_float(expression(operand.load, inner))
        for operand in (problem.query_operand, problem.key_operand, problem.value_operand)
    )
    multiply = f"{dot.text} = fma_f32({query}, {key}, {dot.text});"
    accumulate = f"sum = fma_f32(shared_weight, {value}, sum);"
    context: dict[str, Any] = {
        "query_count": expression(problem.query.extent, scope).text,
        "key_count": expression(problem.key.extent, scope).text,
        "depth": expression(problem.depth.extent, scope).text,
        "value_depth": expression(problem.value_depth.extent, scope).text,
        "query_index": _index(problem.query),
        "key_index": _index(problem.key),
        "depth_index": _index(problem.depth),
        "value_index": _index(problem.value_depth),
        "dot": dot.text,
        "lse": lse.text,
        "accumulator": accumulator.text,
        "query": _operand(0, problem.query_operand, problem.query, problem.depth, inner),
        "key": _operand(1, problem.key_operand, problem.key, problem.depth, inner),
        "value": _operand(2, problem.value_operand, problem.value_depth, problem.key, inner),
        "multiply": from_math(multiply, problem.query_operand.span or problem.span, 8),
        "accumulate": from_math(accumulate, problem.value_operand.span or problem.span, 14),
        "score": _return(problem.score, inner, problem, 6),
        "outputs": [_output(role, store, problem, inner) for role, store in enumerate(problem.outputs, 3)],
        "row_outputs": [{"write": store_statement(store, inner, 6)} for store in problem.row_outputs],
    }
    context |= score_code(problem, inner)
    context["batch"] = index_group(problem.batch, scope, texts(context))
    sides = [context[side] for side in ("query", "key", "value")]
    parts = {
        "limits": texts([asdict(limit) for limit in context["limits"] or ()]),
        "score": [context["mask"], *texts(context["cases"])],
        "load": [side["coordinates"] for side in sides],
        "row": texts(context["row_outputs"]),
        "store": texts(context["outputs"]),
    }
    context["batch_of"] = {name: index_group(problem.batch, scope, code) for name, code in parts.items()}
    return context


def score_code(problem: AttentionProblem, inner: Scope) -> dict[str, Any]:
    """The mask, by element and by tile, and the score in units of log2, one for each case of what does not
    change within a launch."""
    mask = problem.mask if problem.mask is not None else TRUE
    conditions = uniform_conditions((problem.score,))
    cases = []
    for choice in itertools.product((True, False), repeat=len(conditions)):
        chosen = dict(zip(conditions, choice, strict=True))
        logit = in_log2(under(problem.score, chosen))
        cases.append(
            {
                "condition": condition_code(chosen, inner),
                "logit": _return(logit, inner, problem, 10),
                "factor": factor_of_dot(logit, problem.dot, inner),
            }
        )
    return {
        "mask": _return(mask, inner, problem, 4),
        "limits": limits(mask, problem.key.name, problem.query.name, inner),
        "tile_mask": tile_truth(mask, (problem.query.name, problem.key.name), inner),
        "cases": cases,
        "loads": any(isinstance(node, Load) for node in walk(problem.score)),
        "mask_loads": any(isinstance(node, Load) for node in walk(mask)),
        "clamped": reads_plainly((problem.score,)),
    }


def reads_plainly(exprs: Sequence[Expr]) -> bool:
    """Whether every load of these is at index variables alone: then one of an element inside of the tensors, whether it
    counts or not, may always be made."""
    indices = [
        index for expr in exprs for node in walk(expr) if isinstance(node, Load) for index in node.indices
    ]
    return all(isinstance(index, Ref) and index.kind is RefKind.index for index in indices)


def factor_of_dot(logit: Expr, dot: str, scope: Scope) -> str:
    """What the dot product is multiplied by where a logit is nothing more; else empty."""
    match logit:
        case Apply("mul", (factor, Ref(name, RefKind.local))) if name == dot:
            return expression(factor, scope).text
    return ""


def in_log2(score: Expr) -> Expr:
    """score * log2 e. What is the same for every element is multiplied first, so that it is done once."""
    factors = factors_of(simplify(score))
    single = [factor for factor in factors if is_uniform(factor)]
    rest = [factor for factor in factors if not is_uniform(factor)]
    scale: Expr = _LOG2_E
    for factor in single:
        scale = Apply("mul", (scale, factor))
    return Apply("mul", (scale, mul(*rest)), span=score.span) if rest else scale


def uniform_conditions(exprs: Sequence[Expr]) -> list[Expr]:
    """Conditions of `where` that have one value in a whole launch; the first few."""
    found = [
        node.args[0]
        for expr in exprs
        for node in walk(expr)
        if isinstance(node, Apply) and node.op == "where" and is_uniform(node.args[0])
    ]
    return list(dict.fromkeys(found))[:_MOST_CONDITIONS]


def under(expr: Expr, chosen: dict[Expr, bool]) -> Expr:
    """The expression where these conditions are known."""

    def change(node: Expr) -> Expr | None:
        if isinstance(node, Apply) and node.op == "where" and node.args[0] in chosen:
            return replace(node.args[1] if chosen[node.args[0]] else node.args[2], change)
        return None

    return replace(expr, change)


def condition_code(chosen: dict[Expr, bool], scope: Scope) -> str:
    texts = [
        expression(condition if holds else Apply("not", (condition,)), scope).text
        for condition, holds in chosen.items()
    ]
    return " && ".join(texts) or "true"


def operand_rows(operand: Operand, outer: IndexRange, reduced: IndexRange, scope: Scope) -> dict[str, str]:
    """Type, first element and strides of the matrix that an operand is at this block's batch."""
    axes = (operand.axis_of(outer.name), operand.axis_of(reduced.name))
    stride = f"params.{identifier('s', operand.tensor)}"
    return {
        "type": identifier("T", operand.tensor),
        "origin": origin_code(operand, axes, scope),
        "stride_outer": f"{stride}_{axes[0]}",
        "stride_k": f"{stride}_{axes[1]}",
    }


def _operand(
    role: int, operand: Operand, outer: IndexRange, reduced: IndexRange, scope: Scope
) -> dict[str, str]:
    """As `operand_rows`, and its tensor map where a template has one."""
    axes = (operand.axis_of(outer.name), operand.axis_of(reduced.name))
    return operand_rows(operand, outer, reduced, scope) | mapped(role, operand, axes, scope)


def _output(role: int, store: Store, problem: AttentionProblem, scope: Scope) -> dict[str, str]:
    rows = _operand(role, Operand(store.tensor, store.indices), problem.query, problem.value_depth, scope)
    return {
        "type": rows["type"],
        "write": store_statement(store, scope, 10),
        "value": from_math(f"return {as_float(expression(store.value, scope))};", store.span, 6),
        "origin": rows["origin"],
        "stride_row": rows["stride_outer"],
        "stride_column": rows["stride_k"],
        "map": rows["map"],
        "coordinates": rows["coordinates"],
    }


def _return(expr: Expr, scope: Scope, problem: AttentionProblem, indent: int) -> str:
    return from_math(f"return {expression(expr, scope).text};", expr.span or problem.span, indent)


def _index(index: IndexRange) -> str:
    return identifier("i", index.name)


def texts(value: Any) -> list[str]:
    """Every text in a context."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in texts(part)]
