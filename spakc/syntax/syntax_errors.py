"""Turns the parser's refusal into one diagnostic in the words of the language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spakc.diagnostics import Sink
from spakc.source import SourceFile, Span

if TYPE_CHECKING:
    from lark import Lark
    from lark.exceptions import UnexpectedInput


def report_syntax_error(error: UnexpectedInput, parser: Lark, source: SourceFile, sink: Sink) -> None:
    """Reports what was found and what could stand there."""
    start = min(error.pos_in_stream or 0, len(source.text))
    sink.report("SPAK101", "this cannot stand here", Span(source, start, min(start + 1, len(source.text))))
