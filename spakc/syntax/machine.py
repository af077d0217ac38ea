"""The parser at work: a table of states, run over words. Imports nothing but the standard library, since it runs at
every start of `spakc`; `tables.py` makes the table, with Lark, out of grammar/spak.lark.

It builds the trees that Lark would (a test compares them), and says no more of a text that is not of the language than
that it is not: what is wrong with it is found by Lark itself (syntax_errors.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

FORMAT = 1
"""Of the table. Another number for any change of what a table holds or how it is read."""


def key_of(grammar: str) -> str:
    """Names the table of a grammar."""
    return hashlib.sha256(f"{FORMAT}\0{grammar}".encode()).hexdigest()


def seal(table: dict[str, Any], key: str) -> str:
    """The text of a table, that `read` takes under this key."""
    body = json.dumps(table, separators=(",", ":"))
    return f"{_digest(key, body)}\n{body}"


def read(text: str, key: str) -> Machine:
    """The parser of a sealed table. Raises ValueError for any other text or another key: it is JSON and never a
    pickle, so a file in a cache cannot run code, and a damaged one is not used."""
    digest, _, body = text.partition("\n")
    if digest != _digest(key, body):
        raise ValueError("the table of another grammar, or a damaged file")
    return Machine(json.loads(body))


def _digest(key: str, body: str) -> str:
    return hashlib.sha256(f"{key}\0{body}".encode(errors="replace")).hexdigest()


class Token(str):
    """A word of the text: itself, the terminal it stands for, and where it stands."""

    __slots__ = ("end_pos", "start_pos", "type")
    type: str
    start_pos: int
    end_pos: int


class Tree:
    """What a rule made of a stretch of text. Children are trees, tokens, and None for what was left out in `[…]`.

    The outer positions include what the rule takes up in the text and the tree does not show, such as the
    parentheses around an expression: the tree around it begins and ends there.
    """

    __slots__ = ("children", "data", "end_pos", "outer_end", "outer_start", "start_pos")

    def __init__(self, data: str, children: list[Any]) -> None:
        self.data = data
        self.children = children
        self.start_pos = self.end_pos = self.outer_start = self.outer_end = -1


class Rule(NamedTuple):
    """A reduction. `kept` says for each child that stays its place, whether its own children stand for it, and how
    many None come before it; `left_out` how many come last. A rule that `is_transparent` is its only child."""

    origin: str
    size: int
    name: str
    is_transparent: bool
    kept: tuple[tuple[int, bool, int], ...]
    left_out: int

    def reduce(self, parts: list[Any]) -> Any:
        """The tree of these parts."""
        children: list[Any] = []
        for place, is_spliced, nones in self.kept:
            if nones:
                children += [None] * nones
            if is_spliced:
                children = [*children, *parts[place].children] if children else parts[place].children
            else:
                children.append(parts[place])
        if self.left_out:
            children += [None] * self.left_out
        if self.is_transparent and len(children) == 1:
            if not isinstance(children[0], Tree):
                return children[0]
            made = children[0]
        else:
            made = Tree(self.name, children)
        _place(made, parts)
        return made


class Machine:
    """The parser that a table describes (see `tables.machine_table`)."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._next = re.compile(table["pattern"]).match
        self._literals: dict[str, str] = table["literals"]
        self._ignored = frozenset(table["ignored"])
        self._states: list[dict[str, int]] = table["states"]
        self._start, self._end = table["start"], table["end"]
        self._rules = [
            Rule(origin, size, name, transparent, tuple(map(tuple, kept)), left_out)
            for origin, size, name, transparent, kept, left_out in table["rules"]
        ]

    def parse(self, text: str) -> Tree | None:
        """The tree of a text, or None for one that is not of the language.

        What the grammar writes as a word or sign of its own is that where the parser accepts it, else what its
        pattern says: `step` is a name where no range can go on, `-` an operator where no operand can begin. A state
        that would end the same rule for both leaves the question to the next one: `loss` behind an equation is the
        name of another one, behind the `text` of a dataset it is a word.
        """
        states, match, literals, ignored = self._states, self._next, self._literals, self._ignored
        stack, values = [self._start], []  # type: tuple[list[int], list[Any]]
        offset, length = 0, len(text)
        while offset < length:
            found = match(text, offset)
            if found is None:
                return None
            start, offset = offset, found.end()
            kind = found.lastgroup
            assert kind is not None, "every alternative of the pattern has a name"
            if kind in ignored:
                continue
            word = found.group()
            literal = literals.get(word)
            while literal is not None and (action := states[stack[-1]].get(literal)) is not None:
                if action >= 0 or states[stack[-1]].get(kind) != action:
                    kind = literal
                    break
                self._reduce_once(stack, values, action)  # whichever it is; then it is asked again
            token = Token(word)
            token.type, token.start_pos, token.end_pos = kind, start, offset
            shift = self._reduce(stack, values, kind)
            if shift is None:
                return None
            stack.append(shift)
            values.append(token)
        self._reduce(stack, values, "$END")
        return values[-1] if stack[-1] == self._end else None

    def _reduce(self, stack: list[int], values: list[Any], kind: str) -> int | None:
        """Reduces until a token of this kind can be shifted, and says to which state; None where it cannot."""
        states = self._states
        while True:
            action = states[stack[-1]].get(kind)
            if action is None or action >= 0:
                return action
            self._reduce_once(stack, values, action)

    def _reduce_once(self, stack: list[int], values: list[Any], action: int) -> None:
        rule = self._rules[-1 - action]
        parts = values[len(values) - rule.size :]
        del stack[len(stack) - rule.size :], values[len(values) - rule.size :]
        stack.append(self._states[stack[-1]][rule.origin])
        values.append(rule.reduce(parts))


def _place(made: Tree, parts: list[Any]) -> None:
    """From the first part that takes up text to the last. A tree that has its place only gets outer positions."""
    start = end = -1
    for part in parts:
        start = part.outer_start if isinstance(part, Tree) else part.start_pos
        if start >= 0:
            break
    else:
        return
    for part in reversed(parts):
        end = part.outer_end if isinstance(part, Tree) else part.end_pos
        if end >= 0:
            break
    made.outer_start, made.outer_end = start, end
    if made.start_pos < 0:
        made.start_pos, made.end_pos = start, end
