"""Matches maths against the family `attention`: a softmax over keys of scores from a dot product, weighting
values; the scores between the two may be anything element-wise."""

from __future__ import annotations

from collections.abc import Sequence

from spakc.ir.inline import free_indices, index_name, reductions, replace, same_up_to_indices
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import (
    TRUE,
    ZERO,
    add,
    conjunction,
    factors_of,
    is_minus_infinity,
    mul,
    negation,
    simplify,
)
from spakc.plan.match_product import operand, split_product, top_reductions
from spakc.plan.mismatch import Mismatch, Output, outputs_of
from spakc.plan.naming import ValueNames, rename_output
from spakc.plan.problem import AttentionProblem, Store
from spakc.record import record

_FORM = "sum[k](softmax[k](scores) * V[…, k, d])"
_SCORES = "an expression of one sum[d](Q[…, q, d] * K[…, k, d]), k the index of the softmax"


@record
class _Core:
    """The nodes of the one output that weights values."""

    weighted: Reduce
    softmax: Reduce
    value: Load
    outside: tuple[Expr, ...]
    dot: Reduce
    query: Load
    key: Load
    dot_outside: tuple[Expr, ...]

    @property
    def lse(self) -> Reduce:
        return Reduce("logsumexp", self.softmax.axes, self.softmax.body, span=self.softmax.span)


def match_attention(kernel: Kernel) -> AttentionProblem:
    """Needs checked shapes. Raises Mismatch at the first node that does not fit."""
    outputs = outputs_of(kernel)
    main, core = _find_core(outputs)
    names = ValueNames(kernel)
    dot, lse, accumulator = (
        names.name(core.dot, "dot"),
        names.name(core.lse, "lse"),
        names.name(core.weighted, "accumulator"),
    )
    query, value_depth, batch = _index_roles(main, core)
    score, mask = split_mask(_over_dot(core, dot))
    locals_ = {
        core.weighted: mul(*core.outside, Ref(accumulator, RefKind.local, span=core.weighted.span)),
        core.lse: Ref(lse, RefKind.local, span=core.softmax.span),
    }
    elements: list[Store] = []
    rows: list[Store] = []
    for output in outputs:
        store, per_row = _store(main, core, output, locals_, value_depth)
        (rows if per_row else elements).append(store)
    return AttentionProblem(
        kernel.name,
        main.ranges(batch),
        main.range(query),
        main.range(core.softmax.axes[0]),
        main.range(core.dot.axes[0]),
        main.range(value_depth),
        operand(core.query),
        operand(core.key),
        operand(core.value),
        dot,
        score,
        _linear_scale(score, dot),
        mask,
        lse,
        accumulator,
        tuple(elements),
        tuple(rows),
        kernel.accumulate,
        core.softmax.span,
    )


def _find_core(outputs: Sequence[Output]) -> tuple[Output, _Core]:
    for output in outputs:
        for node in top_reductions(output.value):
            if node.op == "sum" and any(inner.op == "softmax" for inner in reductions(node.body)):
                return output, _core(output, node)
    first = outputs[0]
    raise Mismatch("SPAK411", "no output weights values by a softmax", first.equation.span, _FORM)


def _core(output: Output, weighted: Reduce) -> _Core:
    span = weighted.span or output.equation.span
    outside: list[Expr] = []
    inside: list[Expr] = []
    for factor in factors_of(weighted.body):
        touched = set(free_indices(factor)) & set(weighted.axes)
        (inside if touched else outside).append(factor)
    softmaxes = [f for f in inside if isinstance(f, Reduce) and f.op == "softmax"]
    values = [f for f in inside if isinstance(f, Load)]
    others = [f for f in inside if f not in softmaxes and f not in values]
    if len(softmaxes) != 1 or len(values) != 1 or others:
        wrong = next(iter(others), next(iter(values[1:]), next(iter(softmaxes[1:]), weighted)))
        raise Mismatch(
            "SPAK412", "the weighted sum is not one softmax times one element", wrong.span or span, _FORM
        )
    softmax = softmaxes[0]
    if softmax.axes != weighted.axes or len(softmax.axes) != 1:
        raise Mismatch(
            "SPAK412",
            "the softmax runs along another index than the weighted sum",
            softmax.span or span,
            _FORM,
            [(span, "the weighted sum")],
        )
    dots = top_reductions(softmax.body)
    if len(dots) != 1 or dots[0].op != "sum" or len(dots[0].axes) != 1:
        wrong = dots[1] if len(dots) > 1 else (dots[0] if dots else softmax)
        raise Mismatch(
            "SPAK413", "the scores are not computed from one dot product", wrong.span or span, _SCORES
        )
    try:
        dot_outside, one, two = split_product(dots[0])
    except Mismatch as error:
        raise Mismatch("SPAK413", error.message, error.span, _SCORES) from None
    key = softmax.axes[0]
    if (key in free_indices(one)) == (key in free_indices(two)):
        raise Mismatch(
            "SPAK413",
            f"exactly one side of the dot product has the index {key}",
            dots[0].span or span,
            _SCORES,
        )
    query, keys = (two, one) if key in free_indices(one) else (one, two)
    return _Core(weighted, softmax, values[0], tuple(outside), dots[0], query, keys, tuple(dot_outside))


def _index_roles(main: Output, core: _Core) -> tuple[str, str, tuple[str, ...]]:
    """The query index, the index along the values, the rest. Raises Mismatch."""
    of_query, of_key, of_value = (set(free_indices(x)) for x in (core.query, core.key, core.value))
    queries = [n for n in main.variables if n in of_query and n not in of_key | of_value]
    depths = [n for n in main.variables if n in of_value and n not in of_query | of_key]
    span = main.equation.span
    if len(queries) != 1 or len(depths) != 1:
        raise Mismatch(
            "SPAK412" if len(depths) != 1 else "SPAK413",
            f"{main.equation.target} needs one index that only queries have and one that only values have",
            span,
            "O[…, q, d] = " + _FORM,
        )
    wanted = (
        (core.query, (queries[0], core.dot.axes[0])),
        (core.key, (core.softmax.axes[0], core.dot.axes[0])),
        (core.value, (core.softmax.axes[0], depths[0])),
    )
    for load, needed in wanted:
        plain = {index_name(index) for index in load.indices}
        for name in needed:
            if name not in plain:
                raise Mismatch(
                    "SPAK413",
                    f"{load.tensor} is not indexed by {name} alone",
                    load.span or span,
                    f"{name} as an index",
                )
    batch = tuple(n for n in main.variables if n not in (queries[0], depths[0]))
    return queries[0], depths[0], batch


def _over_dot(core: _Core, dot: str) -> Expr:
    product = mul(*core.dot_outside, Ref(dot, RefKind.local, span=core.dot.span))
    return simplify(replace(core.softmax.body, lambda node: product if node == core.dot else None))


def split_mask(logit: Expr) -> tuple[Expr, Expr | None]:
    """`(score, mask)` with logit == where(mask, score, -inf); mask None if nothing is masked."""
    mask: Expr = TRUE
    while True:
        match logit:
            case Apply("where", (condition, kept, dropped)) if is_minus_infinity(dropped):
                mask, logit = conjunction(mask, condition), kept
            case Apply("where", (condition, dropped, kept)) if is_minus_infinity(dropped):
                mask, logit = conjunction(mask, negation(condition)), kept
            case Apply("add", (one, two)) if (found := _additive_mask(one, two)) is not None:
                mask, logit = conjunction(mask, found[0]), found[1]
            case _:
                return logit, None if mask == TRUE else mask


def _additive_mask(one: Expr, two: Expr) -> tuple[Expr, Expr] | None:
    """`x + where(c, y, -inf)` is x + y where c holds."""
    for masked, rest in ((one, two), (two, one)):
        match masked:
            case Apply("where", (condition, kept, dropped)) if is_minus_infinity(dropped):
                return condition, rest if kept == ZERO else add(rest, kept)
            case Apply("where", (condition, dropped, kept)) if is_minus_infinity(dropped):
                return negation(condition), rest if kept == ZERO else add(rest, kept)
    return None


def _linear_scale(score: Expr, dot: str) -> Expr | None:
    local = Ref(dot, RefKind.local)
    rest = [factor for factor in factors_of(score) if factor != local]
    if len(rest) + 1 != len(factors_of(score)) or any(_varies(factor, local) for factor in rest):
        return None
    return simplify(mul(*rest))


def _varies(factor: Expr, local: Ref) -> bool:
    found: list[Expr] = []
    replace(factor, lambda node: found.append(node) if isinstance(node, Load) or node == local else None)
    return bool(found) or bool(free_indices(factor))


def _store(
    main: Output, core: _Core, output: Output, locals_: dict[Reduce, Expr], value_depth: str
) -> tuple[Store, bool]:
    """The output over accumulator and lse, and whether it is written once a row."""
    aligned = _aligned(main, core, output)
    value = replace(aligned.value, lambda n: locals_.get(n) if isinstance(n, Reduce) else None)
    left = reductions(value)
    per_row = value_depth not in aligned.variables
    expected = set(main.variables) - ({value_depth} if per_row else set())
    if left or set(aligned.variables) != expected:
        raise Mismatch(
            "SPAK414",
            f"{output.equation.target} is neither computed from the weighted sum nor from the logsumexp",
            (left[0].span if left else None) or output.equation.span,
            "an element-wise expression of the weighted sum, or of logsumexp over the same scores",
            [(core.softmax.span, "the scores")] if core.softmax.span else [],
        )
    return Store(output.equation.target, aligned.indices, simplify(value), output.equation.span), per_row


def _aligned(main: Output, core: _Core, output: Output) -> Output:
    """`output` with its indices named as in the main one, judged by its first reduction."""
    if output is main:
        return output
    for node in top_reductions(output.value):
        for wanted in (core.weighted, core.lse):
            renaming = same_up_to_indices(wanted, node)
            if renaming is not None:
                missing = [n for n in output.variables if n not in renaming]
                free = set(main.variables) - set(renaming.values())
                if len(missing) == 1 == len(free):
                    renaming[missing[0]] = free.pop()
                return _renamed_for(output, renaming, wanted)
    return output


def _renamed_for(output: Output, renaming: dict[str, str], wanted: Reduce) -> Output:
    """Bound names may still differ after renaming: a reduction equal to the wanted one but for them is it."""
    renamed = rename_output(output, renaming, ())

    def change(node: Expr) -> Expr | None:
        found = same_up_to_indices(wanted, node) if isinstance(node, Reduce) else None
        return wanted if found is not None and all(a == b for a, b in found.items()) else None

    return Output(renamed.equation, renamed.written, replace(renamed.value, change), renamed.extents)
