"""Claims of the syntax tree to `ir.experiment.Claim`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, Unknown, evaluate, members
from spakc.ir.experiment import Claim
from spakc.ir.ops import Domain, Members, RefKind, Tuple
from spakc.ir.queries import Place
from spakc.lower.const_eval import MOST_VALUES, constant_domain
from spakc.lower.expressions import base_value, lower_domain, lower_expression
from spakc.lower.files import declarations
from spakc.lower.program import Program
from spakc.lower.propositions import lower_devices
from spakc.lower.resolve import Scope, report_twice
from spakc.syntax import nodes


def lower_claims(program: Program, scope: Scope, sink: Sink) -> Mapping[str, Claim]:
    """Every claim of every file, by qualified name.

    Needs `scope.files`. Guarantees: names are resolved; what `for every` binds is a parameter; `on` names
    devices. Reports names twice or unknown. Leaves units and the means of establishing a claim alone."""
    claims: dict[str, Claim] = {}
    for node, file in declarations(program, scope, nodes.Claim):
        claim = _lower(node, file, sink)
        first = claims.setdefault(claim.name, claim)
        if first is not claim and first.span.source is not claim.span.source:
            report_twice(claim.name, claim.span, first.span, "a claim", sink)
    return claims


def _check_values(domain: Members, binder: nodes.Binder, sink: Sink) -> None:
    """A claim for every value of nothing would be vacuous; each value has a part for every name."""
    span, names = binder.domain.span, len(binder.names)
    if not domain.items:
        sink.report("SPAK305", "a claim for every value of an empty set says nothing", span, "empty")
    for item in domain.items:
        parts = item.items if isinstance(item, Tuple) else (item,)
        if len(parts) != names:
            message = f"{names} name{'s' if names > 1 else ''} and {len(parts)} value{'s' if len(parts) > 1 else ''}"
            sink.report("SPAK305", message, item.span or span, "one value for each name")
        for part in parts:
            if isinstance(evaluate(part, Env()), Unknown):
                message = "a claim runs over numbers, sizes, splits and other words of its queries"
                sink.report("SPAK305", message, part.span or span, "this is none")


def _size(domain: Domain) -> int:
    if isinstance(domain, Members):
        return len(domain.items)
    values = members(domain, Env(), MOST_VALUES)
    return len(values) if isinstance(values, tuple) else 0


def _lower(node: nodes.Claim, file_scope: Scope, sink: Sink) -> Claim:
    scope = file_scope.child(Place.claim, title=f"claim {node.name.text}")
    quantifier: list[tuple[tuple[str, ...], Domain]] = []
    for binder in node.quantifier:
        domain = lower_domain(binder.domain, scope, sink, open_words=True)
        if isinstance(domain, Members):
            _check_values(domain, binder, sink)
        else:
            domain = constant_domain(domain, sink, f"what `{binder.names[0].text}` runs over")
            if len(binder.names) > 1:
                message = f"{len(binder.names)} names and a range of single numbers"
                sink.report("SPAK305", message, binder.domain.span, "one value for each name")
        for name in binder.names:
            scope.add(name, "a quantified name", RefKind.parameter, sink)
        quantifier.append((tuple(name.text for name in binder.names), domain))
    points = math.prod(_size(domain) for _, domain in quantifier)
    if points > MOST_VALUES:
        message = f"a claim for every one of {points} points"
        sink.report("SPAK305", message, node.quantifier[0].domain.span, f"more than {MOST_VALUES}")
    confidence = None if node.confidence is None else float(base_value(node.confidence)[0])
    if confidence is not None and not 0 < confidence < 1:
        assert node.confidence is not None
        sink.report(
            "SPAK540",
            "a confidence lies between 0% and 100%, both excluded",
            node.confidence.span,
            "no such interval",
        )
    return Claim(
        file_scope.qualify(node.name.text),
        lower_devices(node.on, scope, sink),
        lower_expression(node.proposition, scope, sink),
        confidence,
        tuple(quantifier),
        node.because,
        span=node.name.span,
    )
