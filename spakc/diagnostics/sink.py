"""Collects diagnostics, so that one run reports every mistake it can see."""

from __future__ import annotations

from collections.abc import Iterable

from spakc.diagnostics.diagnostic import Diagnostic, Label, Repair, Severity, SpakError
from spakc.source import Span


class Sink:
    """Passes report here and go on; the driver calls `stop_if_errors` between stages."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []

    def report(
        self,
        code: str,
        message: str,
        span: Span | None,
        label: str = "",
        *,
        also: Iterable[tuple[Span, str]] = (),
        notes: Iterable[str] = (),
        help: Iterable[str] = (),
        severity: Severity = "error",
        repairs: Iterable[Repair] = (),
    ) -> None:
        """Records one diagnostic. `also` are the other places it is about, each with what to say there."""
        from spakc.diagnostics.codes import CODES

        assert code in CODES, f"{code} is not in the code table"
        labels = ([Label(span, label)] if span is not None else []) + [Label(s, t) for s, t in also]
        diagnostic = Diagnostic(
            code, message, tuple(labels), tuple(notes), tuple(help), severity, tuple(repairs)
        )
        if diagnostic not in self.diagnostics:
            self.diagnostics.append(diagnostic)

    def has(self, code: str, span: Span | None) -> bool:
        """Whether something of this code was reported at this place: a mistake that several readers of a statement
        meet is told once."""
        return any(d.code == code and d.labels and d.labels[0].span == span for d in self.diagnostics)

    @property
    def has_errors(self) -> bool:
        return any(d.severity == "error" for d in self.diagnostics)

    def stop_if_errors(self) -> None:
        """Raises `SpakError` with everything collected so far if any of it is an error."""
        if self.has_errors:
            raise SpakError(*self.diagnostics)
