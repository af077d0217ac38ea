"""A coarse look at source text before and beside the parser: comments, texts, numbers, words, signs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class Lexeme:
    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def lexemes(text: str, end: int | None = None) -> Iterator[Lexeme]:
    """The lexemes of a text up to an offset, without comments, blanks and characters that no lexeme has."""
    for match in _LEXEME.finditer(text, 0, len(text) if end is None else end):
        if match.lastgroup is not None:
            yield Lexeme(match.lastgroup, match.group(), match.start())  # type: ignore[arg-type]
