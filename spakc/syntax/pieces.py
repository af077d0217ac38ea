"""The text of a file as a sequence of tokens and comments, each with what the formatter has to know of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from spakc.syntax.parse import lark_parser
from spakc.syntax.scan import without_mark

STATEMENTS = frozenset(
    (
        *("version", "use", "targets", "intent", "law", "let", "claim", "device", "setting", "roles", "role"),
        *("kernel", "dim", "tensor", "option", "math", "equation", "accumulate", "gradient", "schedule"),
        *("knob", "config", "prefer", "verify", "tolerance", "values", "shapes", "cases", "implement"),
        *("model", "hyper", "uses", "part", "forward", "assign", "repeat", "loop", "halting", "supervise"),
        *("dataset", "sample", "text", "loss", "answer", "split", "split_fraction"),
        *("protocol", "gate", "gate_train", "require", "show", "experiment", "of_model", "of_data"),
        *("of_protocol", "train", "optimizer", "lr", "vary", "profile"),
    )
)
"""The rules of the grammar that are statements: a test compares them with the grammar."""

_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|(#[^\n]*)')
_QUANTITY = re.compile(r"([0-9.])(?=[A-Za-z])")
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


@dataclass(slots=True)
class Piece:
    """A token or a comment. `lines` and `blanks` count the line feeds before it and what else is between it and the one
    before. `statement` is the rule of the
    statement that begins with it; `block` holds for the braces of a block, `own` for a bracket that follows no
    name and for a minus in front of an operand, `apart` for `..` between longer ends."""

    kind: str
    text: str
    lines: int
    start: int
    statement: str = ""
    block: bool = False
    own: bool = False
    apart: bool = False
    blanks: int = 0

    @property
    def comment(self) -> bool:
        return self.kind == "#"


def pieces(tree: Any, text: str) -> list[Piece]:
    """What a text that `parse` has read consists of, in order."""
    text = without_mark(text)
    found = [Piece(_kind(t), str(t), 0, t.start_pos) for t in _tokens(text)]
    found += [Piece("#", m[1].rstrip(), 0, m.start(1)) for m in _COMMENT.finditer(text) if m[1]]
    found.sort(key=lambda piece: piece.start)
    end = 0
    for piece in found:
        piece.lines = text.count("\n", end, piece.start)
        piece.blanks = piece.start - end
        end = piece.start + len(piece.text)
        if piece.kind == "QUANTITY":
            piece.text = _QUANTITY.sub(r"\1 ", piece.text.replace(" ", ""), count=1)
    _mark(tree, {piece.start: piece for piece in found if not piece.comment})
    _match_blocks(found)
    return found


def gap(before: Piece, piece: Piece) -> str:
    """The blanks between two tokens of one statement that stand on one line."""
    if before.kind in _OPENING and not before.block:
        return ""
    if piece.kind in _CLOSING and not piece.block:
        return ""
    if before.block and piece.block and before.text == "{":
        return ""
    if piece.text in (",", ":", ".") or before.text == ".":
        return ""
    if piece.text == ".." or before.text == "..":
        return " " if (piece if piece.text == ".." else before).apart else ""
    if before.text == "-" and before.own:
        return ""
    if piece.text in ("layout", "optional") and piece.kind == piece.text:
        return "  "  # the parts of a tensor
    if piece.text in ("(", "[") and not piece.own:
        return ""
    return " "


def _tokens(text: str) -> Any:
    return lark_parser().parse_interactive(text).iter_parse()


def _kind(token: Any) -> str:
    """The class of a token; what the grammar writes itself is its own class."""
    text = str(token)
    return token.type if token.type in ("STRING", "QUANTITY", "NAME") else text


def _mark(tree: Any, at: dict[int, Piece]) -> None:
    """Notes at the tokens what the rules around them say."""
    sets: set[int] = set()
    stack = [tree]
    while stack:
        node = stack.pop()
        start = node.start_pos
        if node.data in STATEMENTS:
            at[start].statement = str(node.data)
        elif node.data in ("group", "tuple", "shape", "neg") or (
            node.data == "binder" and at[start].text == "("
        ):
            at[start].own = True
        elif node.data == "set":
            sets.add(start)
        elif node.data == "range":
            _mark_range(node, at)
        stack += [child for child in node.children if child is not None and not isinstance(child, str)]
    for start, piece in at.items():
        piece.block = piece.text == "{" and start not in sets


def _mark_range(node: Any, at: dict[int, Piece]) -> None:
    first, last = node.children[:2]
    end = first.end_pos
    sign = next(at[i] for i in range(end, node.end_pos) if i in at)
    sign.apart = not (isinstance(first, str) and isinstance(last, str))


def _match_blocks(found: list[Piece]) -> None:
    """A closing brace belongs to a block if its opening one does."""
    open_: list[Piece] = []
    for piece in found:
        if piece.text == "{" and not piece.comment:
            open_.append(piece)
        elif piece.text == "}" and not piece.comment:
            piece.block = open_.pop().block
