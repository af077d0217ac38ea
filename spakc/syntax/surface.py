"""What the grammar says about words, asked of its tables: which words there are and where statements
begin."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lark import Lark

UNUSABLE_NAMES = frozenset(
    ("and", "or", "not", "in", "step", "then", "true", "false", "inf", "repeat", "loop")
)
"""Where a statement may begin with a name, these words mean something else: after an expression they continue
it, or they begin an operand or a statement of their own. A value of such a name could be declared but not
assigned, configured or defined. A test derives the set from the parse tables."""

TOP_LEVEL = ""
"""The key of `Surface.statements` for the file itself."""

_OPERAND_SIGNS = frozenset(("NAME", "INT", "FLOAT", "QUANTITY", "PERCENT", "STRING"))
_OPERAND_WORDS = frozenset(("(", "{", "-", "not", "true", "false", "inf"))
_OPERATORS = frozenset(("ADD", "MUL", "COMPARE"))
_OPERATOR_WORDS = frozenset(("and", "or", "in", "(", "[", "."))
_VARIED_SIGNS = frozenset(("+", "-", "*", "/", "//", "%", "<=", ">=", "==", "!=", "<", ">"))  # of _OPERATORS
_CLASSES = {
    "NAME": "a name",
    "INT": "a whole number",
    "FLOAT": "a number",
    "QUANTITY": "a number with its unit",
    "PERCENT": "a percentage such as `95%`",
    "STRING": "a text in double quotes",
    "COMPARE": "a comparison",
    "ADD": "`+` or `-`",
    "MUL": "`*` or `/`",
}


@functools.lru_cache(2)
def surface_of(parser: Lark) -> Surface:
    """The surface of a parser's grammar, read once."""
    return Surface(parser)


class Surface:
    """`literals`: the text of each terminal that is one word or sign. `words`: those that are words.
    `statements`: for each word that heads a block, the words that begin a statement in it."""

    def __init__(self, parser: Lark) -> None:
        self.literals: dict[str, str] = {
            terminal.name: terminal.pattern.value
            for terminal in parser.terminals
            if terminal.pattern.type == "str"
        }
        self.words = frozenset(text for text in self.literals.values() if text.isalpha())
        self.signs = frozenset(self.literals.values()) - self.words | _VARIED_SIGNS
        self._expansions: dict[str, list[list[str]]] = {}
        for rule in parser.rules:
            self._expansions.setdefault(str(rule.origin.name), []).append([s.name for s in rule.expansion])
        self._names_too = {  # words that are alternatives to a name somewhere: said by "a name"
            symbol
            for expansions in self._expansions.values()
            if ["NAME"] in expansions
            for expansion in expansions
            for symbol in expansion
            if len(expansion) == 1 and symbol != "NAME"
        }
        self.statements = self._blocks()

    def homes(self, word: str) -> list[str]:
        """The blocks in which a statement begins with this word."""
        return sorted(head for head, words in self.statements.items() if word in words)

    def expected(self, accepts: Iterable[str], block: str) -> str:
        """What could stand at a place, in words: "an expression", "a name", "`in`", "the next statement"."""
        left = set(accepts)
        parts = []
        if {"INT", "STRING", "LPAR"} <= left:
            parts.append("an expression")
            left = {t for t in left if t not in _OPERAND_SIGNS and self.literals.get(t) not in _OPERAND_WORDS}
        if left >= _OPERATORS:
            parts.append("an operator")
            left = {t for t in left if t not in _OPERATORS and self.literals.get(t) not in _OPERATOR_WORDS}
        if "NAME" in left:
            left = {t for t in left if t not in self._names_too}
        statements = {t for t in left if self.literals.get(t) in self.statements.get(block, ())}
        next_statement = len(statements) > 3
        if next_statement:
            left -= statements
        parts += sorted(_CLASSES[terminal] for terminal in left if terminal in _CLASSES)
        parts += sorted(f"`{self.literals[terminal]}`" for terminal in left if terminal in self.literals)
        if next_statement:
            parts.append("a statement" if block == TOP_LEVEL else f"a statement of `{block}`")
        if "$END" in left:
            parts.append("the end of the file")
        return ", ".join(parts[:-1]) + (" or " if len(parts) > 1 else "") + parts[-1]

    def _blocks(self) -> dict[str, frozenset[str]]:
        blocks: dict[str, set[str]] = {TOP_LEVEL: set()}
        for expansion in self._expansions["start"]:
            for symbol in expansion[1:]:  # what comes behind the version
                blocks[TOP_LEVEL] |= self._first(symbol, set())
        for origin, expansions in self._expansions.items():
            for expansion in expansions:
                if "LBRACE" in expansion:
                    inside = self._first(expansion[expansion.index("LBRACE") + 1], set())
                    for head in self._heads(origin, expansion):
                        blocks.setdefault(head, set()).update(inside)
        return {head: frozenset(words) for head, words in blocks.items()}

    def _heads(self, origin: str, expansion: list[str]) -> list[str]:
        """The words that head a block: its own first one, or those of the rules that hold it (`body`)."""
        if expansion[0] != "LBRACE":
            return [self.literals[expansion[0]]]
        users = [e for es in self._expansions.values() for e in es if origin in e]
        return [self.literals[user[0]] for user in users if self.literals.get(user[0]) in self.words]

    def _first(self, symbol: str, seen: set[str]) -> set[str]:
        """The words that a symbol may begin with. A rule that may be a mere name (`key`) begins with none:
        its words stand for names there."""
        if symbol in self.literals:
            return {self.literals[symbol]} & self.words
        expansions = self._expansions.get(symbol, [])
        if symbol in seen or ["NAME"] in expansions:
            return set()
        seen.add(symbol)
        return {word for expansion in expansions for word in self._first(expansion[0], seen)}
