"""What decides between the variants that admit a call: their times by the cost model, at its sizes and on its
device, and what their schedules would rather have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from spak_runtime.manifest import Expression
from spakc.ir.constraint import Env, evaluate, implication
from spakc.ir.module import Prefer, Tensor
from spakc.ir.ops import Apply
from spakc.plan.cost_model import (
    AttentionShape,
    Estimate,
    ProductShape,
    attention_time,
    product_time,
    rows_time,
)
from spakc.plan.guards import runtime_expression
from spakc.plan.launch import Config, Signature, product, stored_shape
from spakc.plan.problem import (
    AttentionGradientProblem,
    AttentionProblem,
    IndexRange,
    Operand,
    PanelProblem,
    ProductProblem,
    WholeGradientProblem,
)
from spakc.plan.select import REFERENCE_SHAPES, all_references
from spakc.plan.template import Template
from spakc.plan.templates_product import size
from spakc.plan.terms import Amount, Term, expression_of
from spakc.target import Target

TimedAttention = AttentionProblem | AttentionGradientProblem | WholeGradientProblem
TimedProblem = ProductProblem | PanelProblem | TimedAttention
PlannedStep = tuple[TimedProblem, Template, Config]
"""A launch that computes a product or attention, its template and its knobs."""

HANDED_ON = 2e-6
"""Seconds that another launch costs, beside the bytes that it gets from the one before it."""

REFERENCE_ATTENTIONS = (
    (64, 4096, 4096, 128),
    (256, 1024, 1024, 64),
    (768, 1024, 1024, 64),
    (16, 16_384, 16_384, 128),
    (2048, 64, 64, 64),
)
"""Batch, queries, keys and depth at which ways to compute attention are compared when nothing was measured."""


def at_a_call(
    steps: Sequence[PlannedStep], signature: Signature, known: Target, correction: float
) -> Expression | None:
    """Seconds of all products and attention of a call, over its sizes and the multiprocessors of its device;
    None without any. The other launches of a variant cost the same whatever computes these."""
    times: list[Amount] = []
    sms = Term(["fact", "sms"])
    for problem, template, config in steps:
        shape: ProductShape | AttentionShape
        if isinstance(problem, ProductProblem | PanelProblem):
            whole = problem.product if isinstance(problem, PanelProblem) else problem
            batch_of = () if whole.parts is not None else whole.batch
            rows, columns, depth, batch = map(_amount, (whole.rows, whole.columns, whole.reduced, batch_of))
            right = whole.right
            across = right.axis_of(whole.columns[0].name)
            shape = ProductShape(
                rows,
                columns,
                depth,
                batch=batch,
                sms=sms,
                ragged=(_ragged(whole.left, signature), _ragged(right, signature)),
                across=0
                if across is None or right.tensor not in signature.tensors
                else Term(["eq", signature.stride(right.tensor, across), 1]),
            )
        else:
            part = problem.by_keys if isinstance(problem, WholeGradientProblem) else problem
            groups = (part.batch, (part.query,), (part.key,), (part.depth,), (part.value_depth,))
            batch, queries, keys, depth, value_depth = map(_amount, groups)
            shape = _attention(part, batch, queries, keys, depth, value_depth, sms, _masked(part))
        times.append(_time(problem, template, config, shape, signature, known).seconds)
    if not times:
        return None
    total = sum(times[1:], times[0])
    for name, tensor in _handed_on(steps, signature).items():
        elements = product(stored_shape(tensor))
        moved = (
            (Term(elements) if isinstance(elements, list) else elements) * 2 * signature.largest_element(name)
        )
        total = total + (moved / known.bandwidth + HANDED_ON)
    return expression_of(total * correction)


def at_references(
    steps: Sequence[PlannedStep], signature: Signature, known: Target, correction: float
) -> tuple[float, ...]:
    """The same, with all attention, or every product where there is none, of each of the reference shapes."""
    attention = [s for s in steps if isinstance(s[0], TimedAttention)]
    total: Amount = 0.0
    for problem, template, config in attention or steps:
        at: ProductShape | AttentionShape = all_references()
        if isinstance(problem, TimedAttention):
            part = problem.by_keys if isinstance(problem, WholeGradientProblem) else problem
            batch, queries, keys, depth = np.array(REFERENCE_ATTENTIONS, float).T
            at = _attention(part, batch, queries, keys, depth, depth, None)
        total = total + _time(problem, template, config, at, signature, known).seconds
    if not attention:
        total = total + len(_handed_on(steps, signature)) * (
            all_references().handed_on / known.bandwidth + HANDED_ON
        )
    count = len(REFERENCE_ATTENTIONS if attention else REFERENCE_SHAPES)
    return tuple(np.broadcast_to(np.asarray(total) * correction, count).tolist())


def _handed_on(steps: Sequence[PlannedStep], signature: Signature) -> Mapping[str, Tensor]:
    """What lies between launches, but for what is in the time of a product already."""
    return {} if any(template.in_parts for _, template, _ in steps) else signature.carried


def _amount(group: tuple[IndexRange, ...]) -> Amount:
    extent = size(group)
    if isinstance(extent, list):
        return Term(extent)
    assert isinstance(extent, int | float)
    return extent


def _ragged(operand: Operand, signature: Signature) -> Amount:
    """1 if not all rows of a matrix in memory begin at multiples of 128 bytes: the longer stride of its two last axes
    is what they are apart."""
    last = len(operand.indices)
    if last < 2 or operand.tensor not in signature.tensors:  # on chip, or rows that the compiler lays out
        return 0
    apart: Expression = ["max", *(signature.stride(operand.tensor, axis) for axis in (last - 2, last - 1))]
    bytes_apart = product((apart, signature.element_bytes(operand.tensor)))
    return Term(["ne", ["mod", bytes_apart, 128], 0])


def _attention(
    problem: AttentionProblem | AttentionGradientProblem,
    batch: Amount,
    queries: Amount,
    keys: Amount,
    depth: Amount,
    value_depth: Amount,
    sms: Amount | None,
    masked: Amount = 0,
) -> AttentionShape:
    """Dot products and weighted sums; a gradient has one or two more of them."""
    columns = depth + value_depth
    if isinstance(problem, AttentionGradientProblem):
        columns = columns + depth + (value_depth if problem.by_keys else 0)
        columns = columns + (depth if problem.added is not None else 0)
        if problem.by_keys:
            return AttentionShape(batch, keys, queries, columns, sms, masked)
    return AttentionShape(batch, queries, keys, columns, sms, masked)


def _masked(problem: AttentionProblem | AttentionGradientProblem) -> Amount:
    """1 if the mask leaves out keys, as far as options and dims say; else 0."""
    whole: Expression = True
    parts = [] if problem.mask is None else [problem.mask]
    while parts:
        part = parts.pop()
        if isinstance(part, Apply) and part.op == "and":
            parts += part.args
            continue
        sides = part.args if isinstance(part, Apply) and part.op == "or" else (part,)
        known = [side for side in map(runtime_expression, sides) if side is not None]
        if not known:
            return 1
        whole = (
            ["and", whole, known[0] if len(known) == 1 else ["or", *known]] if whole is not True else known[0]
        )
    return 0 if whole is True else Term(["where", whole, 0, 1])


def _time(
    problem: TimedProblem,
    template: Template,
    config: Config,
    shape: ProductShape | AttentionShape,
    signature: Signature,
    known: Target,
) -> Estimate:
    resources = template.resources(problem, signature, config)
    if isinstance(shape, AttentionShape):
        return attention_time(template, config, resources, shape, known)
    estimate = product_time(template, config, resources, shape, known)
    if isinstance(problem, PanelProblem):
        rows = rows_time(config, resources, shape, known)
        return replace(estimate, seconds=estimate.seconds + rows)
    return estimate


def preferences(prefers: Sequence[Prefer], config: Config) -> tuple[Expression, ...]:
    """The `prefer` statements that are not true of this config whatever the call, as conditions of a call."""
    found = []
    for prefer in prefers:
        if evaluate(prefer.proposition, Env().knobs(config)) is not True:
            wanted = runtime_expression(implication(prefer.proposition, prefer.when))
            if wanted is not None:
                found.append(wanted)
    return tuple(found)
