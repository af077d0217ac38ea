"""The parser of grammar/spak.lark, and its LALR tables as JSON text.

Building the tables costs a third of a second, reading them back a fortieth. They are plain JSON and never a
pickle: a cache file cannot run code, and a damaged one is not loaded. Imports nothing of the compiler: the
wheel's build hook loads this file by its path.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from lark import Lark, Token
from lark import __version__ as lark_version
from lark.common import LexerConf
from lark.exceptions import UnexpectedCharacters
from lark.grammar import Rule
from lark.lexer import Lexer, TerminalDef

_OPTIONS: dict[str, Any] = {"parser": "lalr", "propagate_positions": True, "maybe_placeholders": True}


def tables_key(grammar: str) -> str:
    """Names the tables of this grammar under this release of Lark; both decide what they hold."""
    text = "\0".join((lark_version, json.dumps(_OPTIONS, sort_keys=True), grammar))
    return hashlib.sha256(text.encode()).hexdigest()


def build_tables(grammar: str) -> str:
    """The tables of a grammar as JSON text that `load_tables` reads; the same grammar gives the same text."""
    data, memo = Lark(grammar, **_OPTIONS).memo_serialize([TerminalDef, Rule])
    data["parser"]["parser"] = _in_order(data["parser"]["parser"])
    body = json.dumps({"data": data, "memo": memo}, separators=(",", ":"))
    return f"{_digest(tables_key(grammar), body)}\n{body}"


def load_tables(text: str, key: str) -> Lark:
    """The parser that `build_tables` wrote. Raises ValueError for any other text or another key."""
    digest, _, body = text.partition("\n")
    if digest != _digest(key, body):
        raise ValueError("the tables of another grammar or of another release of Lark, or a damaged file")
    saved = json.loads(body)
    data = saved["data"]
    table = data["parser"]["parser"]
    table["tokens"] = _integer_keys(table["tokens"])
    table["states"] = {int(state): _integer_keys(actions) for state, actions in table["states"].items()}
    data["options"]["lexer"] = data["parser"]["lexer_conf"]["lexer_type"] = WordLexer
    parser: Lark = Lark.load({"data": data, "memo": _integer_keys(saved["memo"])})
    return parser


class WordLexer(Lexer):
    """The lexer of the language: one pattern for every place.

    What the grammar writes as a word or sign of its own is that where the parser accepts it, else what its
    pattern says: `step` is a name where no range can go on, `-` an operator where no operand can begin.
    A word is always read whole, so `lawful` is never `law ful`. Tokens carry offsets, no lines.
    """

    __future_interface__ = 2  # asks Lark for the parser's state

    def __init__(self, conf: LexerConf) -> None:
        patterns = {t.name: t.pattern.to_regexp() for t in conf.terminals if t.pattern.type == "re"}
        priorities = {t.name: t.priority for t in conf.terminals}
        self._literals = {t.pattern.value: t.name for t in conf.terminals if t.pattern.type == "str"}
        signs = {name: re.escape(text) for text, name in self._literals.items() if not text.isalpha()}
        longer = [name for text, name in self._literals.items() if name in signs and len(text) > 1]
        classes = sorted(patterns, key=lambda name: (-priorities[name], name))
        order = [*longer, *classes, *(name for name in signs if name not in longer)]
        self._next = re.compile("|".join(f"(?P<{name}>{(patterns | signs)[name]})" for name in order)).match
        self._ignored = frozenset(conf.ignore)

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        text = str(getattr(lexer_state.text, "text", lexer_state.text))
        states = parser_state.parse_conf.states
        offset = 0
        while offset < len(text):
            match = self._next(text, offset)
            if match is None:
                raise UnexpectedCharacters(text, offset, 0, 0)  # type: ignore[no-untyped-call]
            start, offset = offset, match.end()
            kind = match.lastgroup
            if kind not in self._ignored:
                literal = self._literals.get(match.group())
                kind = literal if literal in states[parser_state.position] else kind
                yield Token(kind, match.group(), start_pos=start, end_pos=offset)  # type: ignore[arg-type]


def _digest(key: str, body: str) -> str:
    return hashlib.sha256(f"{key}\0{body}".encode(errors="replace")).hexdigest()


def _integer_keys(mapping: dict[str, Any]) -> dict[int, Any]:
    """JSON makes every key a string; Lark counts its states, tokens and rules with integers."""
    return {int(key): value for key, value in mapping.items()}


def _in_order(table: dict[str, Any]) -> dict[str, Any]:
    """The parse table with its tokens in alphabetical order and its states in the order in which these reach
    them. Lark numbers both as its sets happen to lie in memory."""
    names = sorted(table["tokens"].values())
    (start,) = table["start_states"].values()
    numbers = {start: 0}
    rows = {}
    for state in (order := [start]):  # grows on the way
        actions = {table["tokens"][token]: action for token, action in table["states"][state].items()}
        row = {}
        for i, name in enumerate(names):
            if name in actions:
                is_reduction, argument = actions[name]
                if not is_reduction and argument not in numbers:
                    numbers[argument] = len(order)
                    order.append(argument)
                row[i] = (is_reduction, argument if is_reduction else numbers[argument])
        rows[numbers[state]] = row
    return {
        **table,
        "tokens": dict(enumerate(names)),
        "states": rows,
        "start_states": {name: numbers[state] for name, state in table["start_states"].items()},
        "end_states": {name: numbers[state] for name, state in table["end_states"].items()},
    }
