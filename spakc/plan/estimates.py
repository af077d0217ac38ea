"""What decides between the variants that admit a call: their times by the cost model, at its sizes and on its
device, and what their schedules would rather have."""

from __future__ import annotations

from collections.abc import Sequence

from spak_runtime.manifest import Expression
from spakc.ir.constraint import Env, evaluate, implication
from spakc.ir.module import Prefer
from spakc.plan.cost_model import ProductShape, product_time
from spakc.plan.guards import runtime_expression
from spakc.plan.launch import Config, Signature
from spakc.plan.problem import ProductProblem
from spakc.plan.select import REFERENCE_SHAPES
from spakc.plan.template import Template
from spakc.plan.templates_product import size
from spakc.plan.terms import Amount, Term, expression_of
from spakc.target import Target

PlannedProduct = tuple[ProductProblem, Template, Config]
"""A launch that computes a product, its template and its knobs."""


def at_a_call(
    products: Sequence[PlannedProduct], signature: Signature, known: Target, correction: float
) -> Expression | None:
    """Seconds of all products of a call, over its sizes and the multiprocessors of its device; None without
    products. The other launches of a variant cost the same whatever computes the products."""
    times: list[Amount] = []
    for problem, template, config in products:
        rows, columns, depth, batch = (
            Term(extent) if isinstance(extent, list) else extent
            for extent in map(size, (problem.rows, problem.columns, problem.reduced, problem.batch))
        )
        shape = ProductShape(rows, columns, depth, batch=batch, sms=Term(["fact", "sms"]))
        resources = template.resources(problem, signature, config)
        times.append(product_time(template, config, resources, shape, known).seconds)
    return expression_of(sum(times[1:], times[0]) * correction) if times else None


def at_references(
    products: Sequence[PlannedProduct], signature: Signature, known: Target, correction: float
) -> tuple[float, ...]:
    """The same, with every product of each of the reference shapes."""
    found = []
    for shape in REFERENCE_SHAPES:
        total = 0.0
        for problem, template, config in products:
            resources = template.resources(problem, signature, config)
            seconds = product_time(template, config, resources, shape, known).seconds
            assert not isinstance(seconds, Term), "the sizes of reference shapes are known"
            total += seconds
        found.append(total * correction)
    return tuple(found)


def preferences(prefers: Sequence[Prefer], config: Config) -> tuple[Expression, ...]:
    """The `prefer` statements that are not true of this config whatever the call, as conditions of a call."""
    found = []
    for prefer in prefers:
        if evaluate(prefer.proposition, Env().knobs(config)) is not True:
            wanted = runtime_expression(implication(prefer.proposition, prefer.when))
            if wanted is not None:
                found.append(wanted)
    return tuple(found)
