"""Collects diagnostics, so that one run reports every mistake it can see."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from spakc.diagnostics.diagnostic import Diagnostic, Label, Repair, Severity, SpakError
from spakc.source import Span

MOST_SUGGESTED = 100
"""Mistakes of one run for which a name that is close is looked for, which goes through all names there are."""


class Sink:
    """Passes report here and go on; the driver calls `stop_if_errors` between stages."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._indexed = 0
        self._last: Diagnostic | None = None
        self._by_place: dict[tuple[str, Span | None], list[Diagnostic]] = {}

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
        if diagnostic not in self._at(code, diagnostic.labels[0].span if diagnostic.labels else None):
            self.diagnostics.append(diagnostic)

    def has(self, code: str, span: Span | None) -> bool:
        """Whether something of this code was reported at this place: a mistake that several readers of a statement
        meet is told once."""
        return span is not None and bool(self._at(code, span))

    def _at(self, code: str, span: Span | None) -> list[Diagnostic]:
        """What was reported of this code at this place. Others write to `diagnostics`, too: what is new there is
        indexed here, and everything if something was taken out."""
        if self._indexed and self.diagnostics[self._indexed - 1 : self._indexed] != [self._last]:
            self._indexed = 0
            self._by_place.clear()
        for each in self.diagnostics[self._indexed :]:
            place = each.labels[0].span if each.labels else None
            self._by_place.setdefault((each.code, place), []).append(each)
        self._indexed = len(self.diagnostics)
        self._last = self.diagnostics[-1] if self.diagnostics else None
        return self._by_place.get((code, span), [])

    @property
    def suggests(self) -> bool:
        """Whether a mistake that is found now is told with the name that may have been meant."""
        return len(self.diagnostics) < MOST_SUGGESTED

    @property
    def has_errors(self) -> bool:
        return any(d.severity == "error" for d in self.diagnostics)

    def stop_if_errors(self, but: Collection[str] = ()) -> None:
        """Raises `SpakError` with everything collected so far if any of it is an error, but for codes in `but`."""
        if any(d.severity == "error" and d.code not in but for d in self.diagnostics):
            raise SpakError(*self.diagnostics)
