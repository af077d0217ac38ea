"""Diagnostics that differ by target only are one diagnostic that names the targets."""

from __future__ import annotations

from dataclasses import dataclass, field

from spakc.diagnostics import Severity, Sink
from spakc.record import record
from spakc.source import Span


@record
class Finding:
    """A diagnostic in waiting; `message` has `{on}` where the targets go."""

    code: str
    message: str
    span: Span
    label: str = ""
    also: tuple[tuple[Span, str], ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    severity: Severity = "error"


@dataclass(slots=True)
class Findings:
    """Collects per target, reports once."""

    _targets: dict[Finding, list[str]] = field(default_factory=dict)

    def add(self, finding: Finding, target: str = "") -> None:
        targets = self._targets.setdefault(finding, [])
        if target and target not in targets:
            targets.append(target)

    def report(self, sink: Sink) -> None:
        """Hands everything to the sink, in the order found."""
        for finding, targets in self._targets.items():
            on = f" on {', '.join(targets)}" if targets else ""
            sink.report(
                finding.code,
                finding.message.replace("{on}", on),
                finding.span,
                finding.label,
                also=finding.also,
                notes=finding.notes,
                help=finding.help,
                severity=finding.severity,
            )
