"""What decides between the variants that admit a call: their times by the cost model, at its sizes and on its
device, and what their schedules would rather have."""

from __future__ import annotations

from collections.abc import Sequence

from spak_runtime.manifest import Expression
from spakc.ir.constraint import Env, evaluate, implication
from spakc.ir.module import Prefer
from spakc.plan.cost_model import AttentionShape, Estimate, ProductShape, attention_time, product_time
from spakc.plan.guards import runtime_expression
from spakc.plan.launch import Config, Signature, product, stored_shape
from spakc.plan.problem import AttentionProblem, IndexRange, PanelProblem, ProductProblem
from spakc.plan.select import REFERENCE_SHAPES
from spakc.plan.template import Template
from spakc.plan.templates_product import size
from spakc.plan.terms import Amount, Term, expression_of
from spakc.target import Target

PlannedStep = tuple[ProductProblem | AttentionProblem | PanelProblem, Template, Config]
"""A launch that computes a product or attention, its template and its knobs."""

HANDED_ON = 2e-6
"""Seconds that another launch costs, beside the bytes that it gets from the one before it."""

REFERENCE_ATTENTIONS = (
    AttentionShape(64, 4096, 4096, 128, 128),
    AttentionShape(256, 1024, 1024, 64, 64),
    AttentionShape(768, 1024, 1024, 64, 64),
    AttentionShape(16, 16_384, 16_384, 128, 128),
    AttentionShape(2048, 64, 64, 64, 64),
)
"""Sizes at which ways to compute attention are compared when nothing was measured."""


def at_a_call(
    steps: Sequence[PlannedStep], signature: Signature, known: Target, correction: float
) -> Expression | None:
    """Seconds of all products and attention of a call, over its sizes and the multiprocessors of its device;
    None without any. The other launches of a variant cost the same whatever computes these."""
    times: list[Amount] = []
    for problem, template, config in steps:
        groups: tuple[tuple[IndexRange, ...], ...]
        if isinstance(problem, AttentionProblem):
            groups = (
                problem.batch,
                (problem.query,),
                (problem.key,),
                (problem.depth,),
                (problem.value_depth,),
            )
        else:
            whole = problem.product if isinstance(problem, PanelProblem) else problem
            groups = (whole.rows, whole.columns, whole.reduced, whole.batch)
        sizes = [Term(extent) if isinstance(extent, list) else extent for extent in map(size, groups)]
        sms = Term(["fact", "sms"])
        shape: ProductShape | AttentionShape
        if isinstance(problem, AttentionProblem):
            shape = AttentionShape(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sms)
        else:
            shape = ProductShape(sizes[0], sizes[1], sizes[2], batch=sizes[3], sms=sms)
        times.append(_time(problem, template, config, shape, signature, known).seconds)
    if not times:
        return None
    total = sum(times[1:], times[0])
    for name, tensor in signature.carried.items():
        elements = product(stored_shape(tensor))
        moved = (
            (Term(elements) if isinstance(elements, list) else elements) * 2 * signature.largest_element(name)
        )
        total = total + (moved / known.bandwidth + HANDED_ON)
    return expression_of(total * correction)


def at_references(
    steps: Sequence[PlannedStep], signature: Signature, known: Target, correction: float
) -> tuple[float, ...]:
    """The same, with every product, or where there is any all attention, of each of the reference shapes."""
    attention = [step for step in steps if isinstance(step[0], AttentionProblem)]
    shapes = REFERENCE_ATTENTIONS if attention else REFERENCE_SHAPES
    found = []
    for shape in shapes:
        total = 0.0
        for problem, template, config in attention or steps:
            seconds = _time(problem, template, config, shape, signature, known).seconds
            assert not isinstance(seconds, Term), "the sizes of reference shapes are known"
            total += seconds
        if isinstance(shape, ProductShape):
            total += len(signature.carried) * (shape.handed_on / known.bandwidth + HANDED_ON)
        found.append(total * correction)
    return tuple(found)


def _time(
    problem: ProductProblem | AttentionProblem | PanelProblem,
    template: Template,
    config: Config,
    shape: ProductShape | AttentionShape,
    signature: Signature,
    known: Target,
) -> Estimate:
    resources = template.resources(problem, signature, config)
    if isinstance(shape, AttentionShape):
        return attention_time(template, config, resources, shape, known)
    return product_time(template, config, resources, shape, known)


def preferences(prefers: Sequence[Prefer], config: Config) -> tuple[Expression, ...]:
    """The `prefer` statements that are not true of this config whatever the call, as conditions of a call."""
    found = []
    for prefer in prefers:
        if evaluate(prefer.proposition, Env().knobs(config)) is not True:
            wanted = runtime_expression(implication(prefer.proposition, prefer.when))
            if wanted is not None:
                found.append(wanted)
    return tuple(found)
