"""The pass from text to text of one shape: `spakc fmt`.

Line breaks are the author's, as far as they say something: what stands on one line stays there, and statements on
one line as far apart as they were, for lines of several may be a table. Indentation, all other blanks, columns
and empty lines are the formatter's. The shape is a fixed point: formatted once more, a text stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spakc.syntax.pieces import Piece, gap, pieces

INDENT = 2
CONTINUED = 4
LEAST_APART = 2
"""Blanks between two statements on a line."""
LONGEST = 1_000
"""A line that is longer is broken wherever it reaches this: no line may leave the limits of the language."""

_WIDEST_COLUMN = 24
"""Lines of which one needs so many blanks more than another are not put in columns."""

_TENSORS = ("dim", "tensor", "option")
_CELLS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_TENSORS, ("", "[", "layout", "optional")),
    "knob": ("in",),
    "let": ("=",),
    **dict.fromkeys(("setting", "equation", "assign"), ("=",)),
}
"""Before which signs of a statement a column begins; "" is the end of its first word."""

_CLASS = {
    **dict.fromkeys(_TENSORS, "tensor"),
    **{name: name for name in ("knob", "let")},
    **dict.fromkeys(("setting", "equation", "assign"), "="),
}


@dataclass(slots=True)
class _Line:
    """A line to be. `cells` are the places in `text` at which columns begin, by their sign. Lines of one
    `kind` that follow each other are put in columns."""

    indent: int
    text: str = ""
    comment: str = ""
    empty_before: bool = False
    kind: str = ""
    cells: dict[str, int] = field(default_factory=dict)


def format_text(tree: Any, text: str) -> str:
    """A text that `parse` has read into `tree`, in the one shape. Comments and everything it means stay."""
    found = pieces(tree, text)
    while True:
        lines = _Layout(found).lines()
        if not _break_long_lines(found, lines):
            break
    _align(lines)
    return "".join(_shown(line) for line in lines)


class _Layout:
    """Walks over the pieces once and puts each on a line."""

    def __init__(self, found: list[Piece]) -> None:
        self.found = found
        self.broken = _broken_blocks(found)
        self.after = _tokens_after(found)
        self.done: list[_Line] = []
        self.blocks: list[bool] = []  # of every open block: is it broken over lines?
        self.brackets = 0

    def lines(self) -> list[_Line]:
        before: Piece | None = None
        for i, piece in enumerate(self.found):
            self._leave(piece)
            if before is None:
                self._new_line(piece, None, i)
                self._put(piece, "")
            elif piece.comment and piece.lines == 0:
                self.done[-1].comment = piece.text
            elif self._breaks(before, piece, i):
                self._new_line(piece, before, i)
                self._put(piece, "")
            else:
                apart = piece.statement and not before.block
                self._put(piece, " " * max(piece.blanks, LEAST_APART) if apart else gap(before, piece))
            self._enter(piece)
            before = piece
        return self.done

    def _leave(self, piece: Piece) -> None:
        if piece.comment:
            return
        if piece.text == "}" and piece.block:
            self.closes_broken = self.blocks.pop()
        elif piece.text in (")", "]", "}"):
            self.brackets -= 1

    def _enter(self, piece: Piece) -> None:
        if piece.comment:
            return
        if piece.text == "{" and piece.block:
            self.blocks.append(piece.start in self.broken)
        elif piece.text in ("(", "[", "{"):
            self.brackets += 1

    def _breaks(self, before: Piece, piece: Piece, i: int) -> bool:
        if before.comment:
            return True
        if piece.comment:
            return True  # one that follows its token on the same line is no line of its own
        if piece.block and piece.text == "{":
            return False
        if piece.block:
            return self.closes_broken
        if before.block and before.text == "{":
            return before.start in self.broken
        if piece.statement and (not self.blocks or (before.block and before.start in self.broken)):
            return True
        if piece.statement and self.blocks[-1] and self._holds_lines(i):
            return True
        return piece.lines > 0

    def _holds_lines(self, i: int) -> bool:
        """Whether the statement that begins here has a block of several lines."""
        depth = 0
        for piece in self.found[i:]:
            if piece.block and piece.text == "{":
                if piece.start in self.broken:
                    return True
                depth += 1
            elif piece.block:
                depth -= 1
            if depth < 0 or (depth == 0 and piece.statement and piece is not self.found[i]):
                return False
        return False

    def _new_line(self, piece: Piece, before: Piece | None, i: int) -> None:
        closes = piece.block and piece.text == "}"
        depth = sum(self.blocks)
        between = piece.statement or closes or self._comment_between(piece, i)
        inside = self.brackets > 0 and not piece.comment
        closing = piece.text in (")", "]", "}") and self.brackets == 0
        indent = INDENT * depth + (0 if (between and not inside) or closing else CONTINUED)
        empty = piece.lines > 1 and bool(between) and not closes
        opened = before is not None and before.block and before.text == "{"
        self.done.append(_Line(indent, empty_before=empty and before is not None and not opened))
        statement = piece.statement
        if statement:
            self.done[-1].kind = _CLASS.get(statement, "")

    def _comment_between(self, piece: Piece, i: int) -> bool:
        """Whether a comment on a line of its own stands between statements, not inside of one."""
        after = self.after[i]
        ends = after is None or bool(after.statement) or (after.block and after.text == "}")
        return piece.comment and ends

    def _put(self, piece: Piece, blanks: str) -> None:
        line = self.done[-1]
        if piece.comment:
            line.comment = piece.text
            return
        if piece.statement and line.text:
            line.kind = ""  # several statements on a line stand in no column
        if line.kind and self.brackets == 0:
            sign = piece.text
            first_word_ends = bool(line.text) and " " not in line.text and line.kind == "tensor"
            if first_word_ends:
                line.cells[""] = len(line.text) + 1
            elif sign in _COLUMNS[line.kind] and sign not in line.cells and (sign != "[" or piece.own):
                line.cells[sign] = len(line.text) + len(blanks)
        line.text += blanks + piece.text


_COLUMNS = {_CLASS[name]: _CELLS[name] for name in _CELLS}


def _tokens_after(found: list[Piece]) -> list[Piece | None]:
    """The first token from each piece on."""
    after: list[Piece | None] = []
    last = None
    for piece in reversed(found):
        last = last if piece.comment else piece
        after.append(last)
    return after[::-1]


def _broken_blocks(found: list[Piece]) -> set[int]:
    """The opening braces of blocks that hold a line feed or a comment."""
    broken: set[int] = set()
    open_: list[Piece] = []
    for piece in found:
        if piece.lines or piece.comment:
            broken.update(other.start for other in open_)
        if piece.block and piece.text == "{":
            open_.append(piece)
        elif piece.block:
            open_.pop()
    return broken


def _break_long_lines(found: list[Piece], lines: list[_Line]) -> bool:
    """Asks for a line feed in every line that is too long; says whether there was one."""
    pieces_of_line = iter(found)
    asked = False
    for line in lines:
        width, text = line.indent, line.text
        if line.indent + len(text) <= LONGEST:
            for _ in _take(pieces_of_line, text, line.comment):
                pass
            continue
        first = True
        for piece in _take(pieces_of_line, text, line.comment):
            width += len(piece.text) + 1
            if width > LONGEST and not first and not piece.comment and piece.lines == 0:
                piece.lines = 1
                asked = True
                width = CONTINUED + len(piece.text)
            first = False
    return asked


def _take(found: Any, text: str, comment: str) -> Any:
    """The pieces that make up a line."""
    left = len("".join(text.split())) + len("".join(comment.split()))
    while left > 0:
        piece = next(found)
        left -= len("".join(piece.text.split()))
        yield piece


def _align(lines: list[_Line]) -> None:
    """Puts lines that belong together in columns, and the comments behind lines that follow each other."""
    for run in _runs(lines, lambda line: (line.kind, line.indent) if line.kind else None):
        for sign in _COLUMNS[run[0].kind]:
            _align_column([line for line in run if sign in line.cells], sign)
    for run in _runs(lines, lambda line: line.indent if line.comment and line.text else None):
        widths = [line.indent + len(line.text) for line in run]
        widest = max(widths)
        if widest - min(widths) <= 2 * _WIDEST_COLUMN:
            for line, width in zip(run, widths, strict=True):
                line.text += " " * (widest - width)


def _align_column(run: list[_Line], sign: str) -> None:
    if not run:
        return
    places = [line.cells[sign] for line in run]
    widest = max(places)
    if widest - min(places) > _WIDEST_COLUMN:
        return
    for line, place in zip(run, places, strict=True):
        line.text = line.text[:place] + " " * (widest - place) + line.text[place:]
        for other, at in line.cells.items():
            if at >= place:
                line.cells[other] = at + widest - place


def _runs(lines: list[_Line], key: Any) -> list[list[_Line]]:
    """Stretches of lines with one key, without an empty line between; lines of key None are in none."""
    runs: list[list[_Line]] = []
    last = None
    for line in lines:
        this = key(line)
        if this is not None:
            if this == last and not line.empty_before:
                runs[-1].append(line)
            else:
                runs.append([line])
        last = this
    return runs


def _shown(line: _Line) -> str:
    comment = ("  " if line.text else "") + line.comment if line.comment else ""
    return ("\n" if line.empty_before else "") + (" " * line.indent + line.text + comment).rstrip() + "\n"
