"""Where parsing stopped, and what the parser knew there. The material of syntax_errors.py."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spakc.record import record
from spakc.source import SourceFile, Span
from spakc.syntax.scan import CLOSING, OPENING, Lexeme, lexeme_at, lexemes, without_mark
from spakc.syntax.surface import TOP_LEVEL, Surface, surface_of

if TYPE_CHECKING:
    from lark import Lark
    from lark.exceptions import UnexpectedInput

_TARGET_SIGNS = frozenset(("EQUAL", "LSQB", "DOT"))


@record
class Opening:
    """An opening bracket without its partner; `head` is the word that heads its block, None in an "
    "expression."""

    bracket: Lexeme
    head: str | None


@dataclass(frozen=True)
class Place:
    """`found` is None at the end of the file; `before` are the lexemes in front of it; `accepts` are the
    terminals that could stand there; `statement` is the word that the unfinished statement begins with."""

    source: SourceFile
    surface: Surface
    found: Lexeme | None
    before: tuple[Lexeme, ...]
    accepts: frozenset[str]
    open: tuple[Opening, ...]
    statement: Lexeme | None

    @property
    def text(self) -> str:
        return "" if self.found is None else self.found.text

    @property
    def span(self) -> Span:
        """What was found; behind the last lexeme at the end of the file."""
        if self.found is not None:
            return self.span_of(self.found)
        end = self.before[-1].end if self.before else 0
        return Span(self.source, end, end)

    def span_of(self, lexeme: Lexeme) -> Span:
        return Span(self.source, lexeme.start, lexeme.end)

    def previous(self, count: int = 1) -> Lexeme | None:
        return self.before[-count] if len(self.before) >= count else None

    @cached_property
    def next(self) -> Lexeme | None:
        """The lexeme behind what was found."""
        if self.found is None:
            return None
        return next(lexemes(self.source.text, self.found.end), None)

    @property
    def block(self) -> str:
        """The head of the innermost block."""
        return next((o.head for o in reversed(self.open) if o.head is not None), TOP_LEVEL)

    @property
    def expected(self) -> str:
        return self.surface.expected(self.accepts, self.block)

    @property
    def accepted_words(self) -> list[str]:
        literals = self.surface.literals
        return sorted(literals[t] for t in self.accepts if literals.get(t) in self.surface.words)

    @property
    def after_expression(self) -> bool:
        return self.accepts >= {"ADD", "MUL"}

    @property
    def statement_may_begin(self) -> bool:
        """Whether the statement before is complete: the block, or the file, could end here."""
        return bool(self.accepts & {"RBRACE", "$END"})

    @property
    def statement_word(self) -> Lexeme | None:
        """The word that was meant to begin a statement here: the refused one, or the one before it when the
        parser took that for the name of something to be set."""
        if self.accepts <= _TARGET_SIGNS:
            previous = self.previous()
            return previous if previous is not None and previous.kind == "word" else None
        return self.found if self.found is not None and self.found.kind == "word" else None

    def stands_left_of(self, word: Lexeme, opening: Opening) -> bool:
        """Whether a word is the first on its line and not indented more than the line of an opening "
        "bracket."""
        first_of_line = self._line_start(word)
        return first_of_line == word.start and self._indent(word) <= self._indent(opening.bracket)

    def _line_start(self, lexeme: Lexeme) -> int:
        """The offset of the first character on a lexeme's line that is not blank."""
        start = self.source.text.rfind("\n", 0, lexeme.start) + 1
        while self.source.text[start] in " \t":
            start += 1
        return start

    def _indent(self, lexeme: Lexeme) -> int:
        return self.source.position(self._line_start(lexeme))[1]


def place_of(error: UnexpectedInput, parser: Lark, source: SourceFile) -> Place:
    """Where and in what situation `parser` refused the text of `source` with `error`."""
    text = source.text
    token = getattr(error, "token", None)
    at_end = token is not None and token.type == "$END"
    start = len(text) if at_end else min(error.pos_in_stream or 0, len(text))
    surface = surface_of(parser)
    accepts, opened, statement = _replay(parser, surface, text, start)
    found = None if at_end else lexeme_at(text, start)
    return Place(source, surface, found, tuple(lexemes(text, 0, start)), accepts, opened, statement)


def _replay(
    parser: Lark, surface: Surface, text: str, end: int
) -> tuple[frozenset[str], tuple[Opening, ...], Lexeme | None]:
    """The terminals that could stand at a place, the open brackets, the first word of the unfinished
    statement.

    Parses once more up to there: the refused token has already made the first parser reduce what it could. On
    the parser's stack the tokens are what is unfinished; what is finished has become a tree.
    """
    from lark.exceptions import UnexpectedInput

    again: Any = parser.parse_interactive(without_mark(text))
    state = again.parser_state
    with contextlib.suppress(UnexpectedInput):  # the refused text itself
        for token in again.lexer_thread.lex(state):
            if token.start_pos >= end:
                break
            again.feed_token(token)
    opened: list[Opening] = []
    words: list[Lexeme] = []  # the words of the language since the innermost open block
    for token, number in zip(state.value_stack, state.state_stack[1:], strict=True):
        if not isinstance(token, str):
            continue
        lexeme = Lexeme("sign", str(token), token.start_pos)  # type: ignore[attr-defined]
        literal = surface.literals.get(token.type)  # type: ignore[attr-defined]
        if literal in OPENING:
            # A block cannot begin with a number, a bracket of an expression always can.
            in_expression = literal != "{" or "INT" in state.parse_conf.states[number]
            heads = [word.text for word in words if word.text in surface.statements]
            opened.append(Opening(lexeme, heads[0] if heads and not in_expression else None))
            words = words if in_expression else []
        elif literal in CLOSING:
            opened.pop()
        elif literal in surface.words:
            words.append(lexeme)
    return frozenset(again.accepts()), tuple(opened), words[0] if words else None
