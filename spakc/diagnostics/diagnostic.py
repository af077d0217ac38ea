"""A diagnostic is data: a code, one sentence, the places it is about, and what to do."""

from __future__ import annotations

from typing import Literal

from spakc.record import record
from spakc.source import Span

Severity = Literal["error", "warning", "note"]


@record
class Label:
    """A place in the source and what is to be said about it. Two things that disagree get two labels."""

    span: Span
    text: str = ""


@record
class Repair:
    """A text in the place of another that does away with the mistake: what whoever reports it knows exactly. One that
    `renames` is a name that what is declared there is to have wherever it is used."""

    span: Span
    text: str
    renames: bool = False


@record
class Diagnostic:
    """`labels[0]` is the primary place (drawn with ^), the others are context (drawn with -). Each one of `repairs`
    will do."""

    code: str
    message: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    severity: Severity = "error"
    repairs: tuple[Repair, ...] = ()


class SpakError(Exception):
    """Carries the diagnostics that stopped a stage. The only exception that a user's mistake may raise."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in diagnostics))
        self.diagnostics: tuple[Diagnostic, ...] = diagnostics
