"""Claims of the syntax tree to `ir.experiment.Claim`."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.diagnostics import Sink
from spakc.ir.experiment import Claim
from spakc.ir.ops import Domain, RefKind
from spakc.ir.queries import Place
from spakc.lower.expressions import base_value, lower_domain, lower_expression
from spakc.lower.program import Program
from spakc.lower.resolve import Scope, report_unknown
from spakc.syntax import nodes


def lower_claims(program: Program, scope: Scope, sink: Sink) -> Mapping[str, Claim]:
    """Every claim of every file, by qualified name.

    Needs `scope.files`. Guarantees: names are resolved; what `for every` binds is a parameter; `on` names devices.
    Reports names twice or unknown. Leaves units and the means of establishing a claim alone."""
    claims: dict[str, Claim] = {}
    first: dict[str, nodes.Claim] = {}
    for path, file in program.files.items():
        for node in file.items:
            if not isinstance(node, nodes.Claim):
                continue
            claim = _lower(node, scope.files[path], sink)
            if claim.name in first:
                sink.report(
                    "SPAK122",
                    f"`{node.name.text}` is declared twice",
                    node.name.span,
                    "declared again here",
                    also=[(first[claim.name].name.span, "first declared here, as a claim")],
                )
            first.setdefault(claim.name, node)
            claims.setdefault(claim.name, claim)
    return claims


def _lower(node: nodes.Claim, file_scope: Scope, sink: Sink) -> Claim:
    scope = file_scope.child(Place.claim, title=f"claim {node.name.text}")
    devices = []
    for device in node.on:
        entry = scope.find(device.text)
        if entry is None:
            report_unknown(device.text, device.span, scope, sink)
        elif entry.what != "a device":
            sink.report(
                "SPAK540",
                f"`{device.text}` is {entry.what}, no device",
                device.span,
                "a claim is `on` devices",
                also=[(entry.span, "declared here")] if entry.span else (),
            )
        else:
            devices.append(entry.ref)
    quantifier: list[tuple[tuple[str, ...], Domain]] = []
    for binder in node.quantifier:
        domain = lower_domain(binder.domain, scope, sink, open_words=True)
        for name in binder.names:
            scope.add(name, "a quantified name", RefKind.parameter, sink)
        quantifier.append((tuple(name.text for name in binder.names), domain))
    confidence = None if node.confidence is None else float(base_value(node.confidence)[0])
    if confidence is not None and not 0 < confidence < 1:
        assert node.confidence is not None
        sink.report(
            "SPAK541",
            "a confidence lies between 0% and 100%, both excluded",
            node.confidence.span,
            "no such interval",
        )
    return Claim(
        file_scope.qualify(node.name.text),
        tuple(devices),
        lower_expression(node.proposition, scope, sink),
        confidence,
        tuple(quantifier),
        node.because,
        span=node.name.span,
    )
