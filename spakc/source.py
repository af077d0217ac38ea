"""Source text and places in it. A leaf: imports nothing of the compiler."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from spakc.record import record


@dataclass(frozen=True, eq=False)
class SourceFile:
    """The text of one `.spak` file. `name` is its path relative to the root file's folder, so that everything
    derived from it is the same on every machine; `shown_as` is the path as the user would type it."""

    name: str
    text: str
    shown_as: str = ""
    _line_starts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = [0]
        starts.extend(i + 1 for i, char in enumerate(self.text) if char == "\n")
        object.__setattr__(self, "_line_starts", tuple(starts))
        object.__setattr__(self, "shown_as", self.shown_as or self.name)

    def position(self, offset: int) -> tuple[int, int]:
        """(line, column), both from 1, of a character offset."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a line (from 1), without its newline."""
        start = self._line_starts[line - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")


@record
class Span:
    """Half-open range of characters of a source file."""

    source: SourceFile
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    def to(self, other: Span) -> Span:
        """The range from the start of this one to the end of the other, in the same file."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.source.shown_as}:{self.line}:{self.column}"


def is_relative(path: str) -> bool:
    """Whether a path in a file is relative and means the same on every machine. It may still lead upwards."""
    return not (path.startswith("/") or any(sign in path for sign in ("\\", "://", "\0")))
