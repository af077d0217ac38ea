"""A coarse look at source text before and beside the parser: comments, texts, numbers, words, signs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from spakc.record import record

Kind = Literal["string", "number", "word", "sign"]

OPENING = {"(": ")", "[": "]", "{": "}"}
CLOSING = {close: open_ for open_, close in OPENING.items()}

_LEXEME = re.compile(
    r"""
      \#[^\n]*                                                        # a comment ends with its line
    | (?P<string> "(?:\\.|[^"\\\n])*"? )                              # so does a text that is not closed
    | (?P<number> [0-9][0-9_]* (?:\.[0-9]+)? (?:[eE][+-]?[0-9]+)? )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
    | (?P<sign>   [<>=!]= | // | \.\. | -> | [^\s\w"\#] )
    """,
    re.VERBOSE | re.DOTALL,
)


@record
class Lexeme:
    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def lexemes(text: str, start: int = 0, end: int | None = None) -> Iterator[Lexeme]:
    """The lexemes of a part of a text, without comments and blanks. `start` must not lie inside of a "
    "lexeme."""
    for match in _LEXEME.finditer(text, start, len(text) if end is None else end):
        if match.lastgroup is not None:
            yield Lexeme(match.lastgroup, match.group(), match.start())  # type: ignore[arg-type]


def lexeme_at(text: str, offset: int) -> Lexeme:
    """The lexeme that begins at an offset; a character that begins none is a sign of its own."""
    match = _LEXEME.match(text, offset)
    if match is None or match.lastgroup is None:
        return Lexeme("sign", text[offset : offset + 1], offset)
    return Lexeme(match.lastgroup, match.group(), offset)  # type: ignore[arg-type]


def without_mark(text: str) -> str:
    """The text with a blank for a byte order mark at its beginning: every offset stays."""
    return " " + text[1:] if text.startswith("\ufeff") else text
