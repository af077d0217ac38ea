"""Diagnostics as text for people and as JSON lines for programs. Pure: the caller prints."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

from spakc.diagnostics.codes import CODES
from spakc.diagnostics.diagnostic import Diagnostic, Label
from spakc.record import record
from spakc.source import SourceFile

SCHEMA = "spak-diagnostic/1"

_TAB = " " * 4
_WIDTH = 160  # columns of a source line that are shown
_BEFORE = 40  # of them in front of a mark that stands farther right

_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "note": "\x1b[1;36m",
    "frame": "\x1b[1;34m",
    "strong": "\x1b[1m",
}
_PLAIN = "\x1b[0m"


def render_json(diagnostic: Diagnostic) -> str:
    """One diagnostic as one line of JSON.

    Lines and columns count characters from 1; `end_line` and `end_column` name the first character behind the
    place. `title` is the entry of the code table, `message` what happened here. One label at most is primary.
    """
    fields = {
        "schema": SCHEMA,
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "title": CODES[diagnostic.code].title,
        "message": diagnostic.message,
        "labels": [_label_fields(label, primary=i == 0) for i, label in enumerate(diagnostic.labels)],
        "notes": list(diagnostic.notes),
        "help": list(diagnostic.help),
    }
    return json.dumps(fields)


def _label_fields(label: Label, primary: bool) -> dict[str, object]:
    source = label.span.source
    line, column = source.position(label.span.start)
    end_line, end_column = source.position(label.span.end)
    return {
        "file": source.shown_as,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "text": label.text,
        "primary": primary,
    }


def render_text(diagnostics: Sequence[Diagnostic], color: bool = False) -> str:
    """The diagnostics as a person reads them, a blank line between two; without a line feed at the end.

    The primary place is marked with ^, the others with -. Tabs, wide and invisible characters are drawn so
    that the marks stand under what they mark and no text can control the terminal. Long lines are cut around
    the marks.
    """
    return "\n\n".join("\n".join(_Renderer(diagnostic, color).lines()) for diagnostic in diagnostics)


@record
class _Mark:
    """The part of a label that lies on one line: characters `start` to `end` of it, counted from 0."""

    line: int
    start: int
    end: int
    text: str
    primary: bool


class _Renderer:
    """Renders one diagnostic."""

    def __init__(self, diagnostic: Diagnostic, color: bool) -> None:
        self.diagnostic = diagnostic
        self.color = color
        self.sources: list[SourceFile] = []  # the primary place's first
        self.marks: list[list[_Mark]] = []  # for each of them
        for i, label in enumerate(diagnostic.labels):
            if label.span.source not in self.sources:
                self.sources.append(label.span.source)
                self.marks.append([])
            self.marks[self.sources.index(label.span.source)] += _marks(label, primary=i == 0)
        numbers = [mark.line for marks in self.marks for mark in marks]
        self.gutter = len(str(max(numbers, default=0)))

    def lines(self) -> list[str]:
        diagnostic = self.diagnostic
        head = self._style(diagnostic.severity, f"{diagnostic.severity}[{diagnostic.code}]")
        lines = [head + self._style("strong", f": {_printable(diagnostic.message)}")]
        for i, (source, marks) in enumerate(zip(self.sources, self.marks, strict=True)):
            first = next(label.span for label in diagnostic.labels if label.span.source is source)
            line, column = source.position(first.start)
            arrow = self._style("frame", " " * self.gutter + ("--> " if i == 0 else "::: "))
            lines.append(f"{arrow}{_printable(source.shown_as)}:{line}:{column}")
            lines.append(self._framed("", "").rstrip())
            lines += self._excerpt(source, marks)
        for kind, texts in (("note", diagnostic.notes), ("help", diagnostic.help)):
            for text in texts:
                lines += self._footer(kind, text)
        return lines + self._footer("see", f" spakc explain {diagnostic.code}")

    def _excerpt(self, source: SourceFile, marks: list[_Mark]) -> list[str]:
        """The marked lines in order, each with one row of marks a label."""
        lines = []
        for number in sorted({mark.line for mark in marks}):
            on_line = sorted((m for m in marks if m.line == number), key=lambda m: (m.start, m.end))
            row = _Row(source.line_text(number), on_line[0].start)
            lines.append(self._framed(str(number), row.text).rstrip())
            for mark in on_line:
                start, end = row.columns(mark.start, mark.end)
                sign = "^" if mark.primary else "-"
                drawn = sign * (end - start) + (f" {_printable(mark.text)}" if mark.text else "")
                style = self.diagnostic.severity if mark.primary else "frame"
                lines.append(self._framed("", " " * start + self._style(style, drawn)))
        return lines

    def _framed(self, number: str, text: str) -> str:
        return self._style("frame", f"{number:>{self.gutter}} |") + " " + text

    def _footer(self, kind: str, text: str) -> list[str]:
        """`= note: …`; further lines of the text stand under its first."""
        first, *rest = _printable(text, keep="\n").split("\n")
        lead = self._style("frame", " " * self.gutter + " =") + " " + self._style("strong", f"{kind}:")
        indent = " " * (self.gutter + len(f" = {kind}: "))
        return [f"{lead} {first}", *(indent + line for line in rest)]

    def _style(self, style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}{_PLAIN}" if self.color and text else text


def _marks(label: Label, primary: bool) -> list[_Mark]:
    """The marks of a label: one; for a place of several lines one on its first and one on its last."""
    source, span = label.span.source, label.span
    line, column = source.position(span.start)
    last, end = source.position(max(span.start, span.end - 1))
    if line == last:
        return [_Mark(line, column - 1, column - 1 + span.end - span.start, label.text, primary)]
    first_end = len(source.line_text(line).rstrip())
    last_text = source.line_text(last)
    last_start = len(last_text) - len(last_text.lstrip())
    return [
        _Mark(line, column - 1, max(first_end, column), "from here", primary),
        _Mark(last, min(last_start, end - 1), end, label.text or "to here", primary),
    ]


class _Row:
    """A source line as it is shown: every character as wide as the terminal draws it, cut to a window."""

    def __init__(self, line: str, mark: int) -> None:
        whole = len(line)
        line = line[: mark + 2 * _WIDTH]
        drawn = [_drawn(char) for char in line]
        offsets = [0]
        for cell in drawn:
            offsets.append(offsets[-1] + _cells(cell))
        first = 0
        if offsets[-1] > _WIDTH and offsets[min(mark, len(line))] > _WIDTH - _BEFORE:
            first = next(i for i, at in enumerate(offsets) if at >= offsets[min(mark, len(line))] - _BEFORE)
        last = len(line)
        while offsets[last] - offsets[first] > _WIDTH:
            last -= 1
        self._offsets, self._first, self._last = offsets, first, last
        self._lead = "…" if first else ""
        self.text = self._lead + "".join(drawn[first:last]) + ("…" if last < whole else "")

    def columns(self, start: int, end: int) -> tuple[int, int]:
        """The columns of some characters of the line, at least one; what is cut off is marked at the cut."""
        low = self._column(start)
        return low, max(self._column(end), low + 1)

    def _column(self, index: int) -> int:
        if index > self._last:
            return self._offsets[self._last] - self._offsets[self._first] + len(self._lead) + 1
        return self._offsets[max(index, self._first)] - self._offsets[self._first] + len(self._lead)


def _drawn(char: str) -> str:
    """What is printed for a character of a source line."""
    return _TAB if char == "\t" else _printable(char)


def _cells(text: str) -> int:
    """How many columns a terminal needs for a text."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _printable(text: str, keep: str = "") -> str:
    """The text with pictures for control characters, and U+FFFD for all else that is invisible."""
    return "".join(_picture(char) if char not in keep else char for char in text)


def _picture(char: str) -> str:
    if char.isprintable():
        return char
    if ord(char) < 0x20:
        return chr(0x2400 + ord(char))
    return " " if unicodedata.category(char) == "Zs" else "\ufffd"
