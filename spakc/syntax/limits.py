"""What a file may not exceed, so that no later stage can be made slow, overflow or recurse without end."""

from __future__ import annotations

import math
import re
from typing import Any

from spakc.diagnostics import Sink
from spakc.source import SourceFile, Span
from spakc.syntax.machine import Tree
from spakc.syntax.scan import CLOSING, OPENING, Lexeme, lexemes

MAX_BYTES = 1 << 20
MAX_LINE = 10_000
MAX_DEPTH = 64
MAX_OPERATORS = 256
"""Of chains, one inside of the other, above one operand."""
MAX_DIGITS = 18  # every whole number fits into 64 bits, and so does the sum of a few

# Control characters, a carriage return that ends no line (it would hide what follows a comment), characters
# that reorder what a reader sees, and halves of surrogate pairs.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)
_LINE = re.compile(r"[^\n]+")


def text_within_limits(source: SourceFile, sink: Sink) -> bool:
    """Size, characters, brackets, numbers and line length of the text; reports the first that is exceeded."""
    return (
        _size(source, sink)
        and _characters(source, sink)
        and _brackets_and_numbers(source, sink)
        and _lines(source, sink)
    )


def tree_within_limits(tree: Tree, source: SourceFile, sink: Sink) -> bool:
    """The depth of what was parsed: brackets, blocks, signs and chains of operators each count one level. And how many
    operators stand above an operand: a chain is read from the left, so that its first one lies below all of them."""
    stack: list[tuple[Any, int, int]] = [(tree, 0, 0)]
    while stack:
        node, depth, above = stack.pop()
        per_operator = _CHAINS.get(node.data, 0)
        count = (len(node.children) - 1) // per_operator if per_operator else 0
        if depth > MAX_DEPTH:
            _too_deep(sink, Span(source, node.start_pos, node.end_pos))
            return False
        if above + count > MAX_OPERATORS:
            _too_long(sink, Span(source, node.start_pos, node.end_pos))
            return False
        below = depth + (node.data not in _FLAT)
        for i, child in enumerate(node.children):
            if child is not None and not isinstance(child, str):
                after_first = max(0, i // per_operator - 1) if per_operator else 0
                stack.append((child, below, above + count - after_first))
    return True


# Rules whose children are operands of a chain, with the number of children an operator adds; and rules that
# only hold a list.
_CHAINS = {"sum": 2, "product": 2, "or_": 1, "and_": 1}
_FLAT = frozenset(("exprs", "args", "names", "body", "params", "shape", "start"))


def _size(source: SourceFile, sink: Sink) -> bool:
    size = len(source.text)
    if size <= MAX_BYTES and (
        size <= MAX_BYTES // 4 or len(source.text.encode(errors="replace")) <= MAX_BYTES
    ):
        return True
    sink.report(
        "SPAK003",
        f"`{source.name}` is larger than {MAX_BYTES >> 20} MiB",
        Span(source, 0, 0),
        "a .spak file is written by people",
        help=["split it and join the parts by `use`"],
    )
    return False


def _characters(source: SourceFile, sink: Sink) -> bool:
    match = _FORBIDDEN.search(source.text)
    if match is None:
        return True
    sink.report(
        "SPAK113",
        f"the character U+{ord(match.group()):04X} cannot stand in a .spak file",
        Span(source, match.start(), match.end()),
        "an invisible character",
        help=["delete it; lines end with a line feed, with or without a carriage return before it"],
    )
    return False


def _lines(source: SourceFile, sink: Sink) -> bool:
    long = next((m for m in _LINE.finditer(source.text) if m.end() - m.start() > MAX_LINE), None)
    if long is None:
        return True
    at = long.start() + MAX_LINE
    sink.report(
        "SPAK114",
        f"a line has more than {MAX_LINE} characters",
        Span(source, at, at + 1),
        f"character {MAX_LINE + 1} of the line",
        help=["break the line anywhere between two words: line ends mean nothing"],
    )
    return False


def _brackets_and_numbers(source: SourceFile, sink: Sink) -> bool:
    depth = 0
    for lexeme in lexemes(source.text):
        if lexeme.text in OPENING:
            depth += 1
            if depth > MAX_DEPTH:
                _too_deep(sink, Span(source, lexeme.start, lexeme.end))
                return False
        elif lexeme.text in CLOSING:
            depth -= 1
        elif lexeme.kind == "number" and not _number(source, sink, lexeme):
            return False
    return True


def _number(source: SourceFile, sink: Sink, lexeme: Lexeme) -> bool:
    digits = lexeme.text.replace("_", "")
    span = Span(source, lexeme.start, lexeme.end)
    if digits.isdigit():
        if len(digits) <= MAX_DIGITS:
            return True
        sink.report(
            "SPAK108",
            f"a whole number has at most {MAX_DIGITS} digits",
            span,
            f"{len(digits)} digits",
            help=["write a rounded number with an exponent, such as `1e20`"],
        )
        return False
    value = float(digits)
    if math.isfinite(value) and (value != 0 or not re.match(r"[0.]*[1-9]", digits)):
        return True
    sink.report(
        "SPAK108",
        "the number does not fit into 64 bits",
        span,
        "this is infinite in floating point" if value else "this is zero in floating point",
        help=["write `inf` for infinity" if value else "write `0`"],
    )
    return False


def _too_deep(sink: Sink, span: Span) -> None:
    sink.report(
        "SPAK107",
        f"nested more than {MAX_DEPTH} levels deep",
        span,
        "too deep here",
        notes=["brackets, blocks, signs and chains of operators each count one level"],
        help=["name a part of it with `let`, or with an equation of its own"],
    )


def _too_long(sink: Sink, span: Span) -> None:
    sink.report(
        "SPAK107",
        f"a chain of more than {MAX_OPERATORS} operators",
        span,
        "too long here",
        notes=["operators of chains around it count, too"],
        help=["name a part of it with `let`, or with an equation of its own"],
    )
