"""The parser of grammar/spak.lark, and its LALR tables as JSON text.

Building the tables costs a third of a second, reading them back about a twentieth. They are plain JSON and
never a pickle: a cache file cannot run code, and a damaged one is not loaded. Imports nothing of the
compiler: the wheel's build hook loads this file by its path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from lark import Lark
from lark import __version__ as lark_version
from lark.grammar import Rule
from lark.lark import PostLex
from lark.lexer import TerminalDef, Token

_OPTIONS: dict[str, Any] = {
    "parser": "lalr",
    "lexer": "contextual",
    "propagate_positions": True,
    "maybe_placeholders": True,
}


class _NamesEverywhere(PostLex):
    """Lets the lexer see a name wherever one is written, also where none may stand. Without this `lawful`
    would read as `law ful` there; with it a word of the language ends where the word ends."""

    always_accept = ("NAME",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


def tables_key(grammar: str) -> str:
    """Names the tables of this grammar under this release of Lark; both decide what they hold."""
    text = "\0".join((lark_version, json.dumps(_OPTIONS, sort_keys=True), grammar))
    return hashlib.sha256(text.encode()).hexdigest()


def build_parser(grammar: str) -> Lark:
    """The parser, from the grammar's text."""
    return Lark(grammar, postlex=_NamesEverywhere(), **_OPTIONS)


def save_tables(parser: Lark, key: str) -> str:
    """The tables of a parser as JSON text that `load_tables` reads; the same grammar gives the same text."""
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"] = {name: value for name, value in data["options"].items() if name != "postlex"}
    data["parser"]["parser"] = _in_order(data["parser"]["parser"])
    body = json.dumps({"data": data, "memo": memo}, separators=(",", ":"))
    return f"{_digest(key, body)}\n{body}"


def load_tables(text: str, key: str) -> Lark:
    """The parser that `save_tables` wrote. Raises ValueError for any other text or another key."""
    digest, _, body = text.partition("\n")
    if digest != _digest(key, body):
        raise ValueError("the tables of another grammar or of another release of Lark, or a damaged file")
    saved = json.loads(body)
    data = saved["data"]
    table = data["parser"]["parser"]
    table["tokens"] = _integer_keys(table["tokens"])
    table["states"] = {int(state): _integer_keys(actions) for state, actions in table["states"].items()}
    data["options"]["postlex"] = _NamesEverywhere()
    parser: Lark = Lark.load({"data": data, "memo": _integer_keys(saved["memo"])})
    return parser


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
