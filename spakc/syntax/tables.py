"""The parser of grammar/spak.lark, and its LALR tables as JSON text.

Building the tables costs a third of a second, reading them back about a twentieth. They are plain JSON and
never a pickle, so that a damaged or hostile cache file can at worst fail to load. Imports nothing of the
compiler: the wheel's build hook loads this file by its path.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from lark import Lark
from lark import __version__ as lark_version
from lark.grammar import Rule
from lark.lexer import PatternRE, PatternStr, TerminalDef

WORD_END = "(?![A-Za-z0-9_])"

_OPTIONS: dict[str, Any] = {
    "parser": "lalr",
    "lexer": "contextual",
    "propagate_positions": True,
    "maybe_placeholders": True,
}


def tables_key(grammar: str) -> str:
    """Names the tables of this grammar under this release of Lark; both decide what they hold."""
    text = "\0".join((lark_version, WORD_END, json.dumps(_OPTIONS, sort_keys=True), grammar))
    return hashlib.sha256(text.encode()).hexdigest()


def build_parser(grammar: str) -> Lark:
    """The parser, from the grammar's text."""
    return Lark(grammar, edit_terminals=_whole_word, **_OPTIONS)


def _whole_word(terminal: TerminalDef) -> None:
    """Lets a word of the language end where the word ends: without this, `lawful` reads as `law ful` wherever
    no name may stand. Where a name may, the word of the language goes before it."""
    if isinstance(terminal.pattern, PatternStr) and terminal.pattern.value.isalpha():
        terminal.pattern = PatternRE(terminal.pattern.value + WORD_END)
        terminal.priority = 1


def save_tables(parser: Lark, key: str) -> str:
    """The tables of a parser as JSON text that `load_tables` reads."""
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"] = {name: value for name, value in data["options"].items() if name != "edit_terminals"}
    return json.dumps({"key": key, "data": data, "memo": memo}, separators=(",", ":"))


def load_tables(text: str, key: str) -> Lark:
    """The parser that `save_tables` wrote. Raises ValueError for any other text or another key."""
    try:
        saved = json.loads(text)
        if saved["key"] != key:
            raise ValueError("tables of another grammar or another release of Lark")
        data = saved["data"]
        table = data["parser"]["parser"]
        table["tokens"] = _integer_keys(table["tokens"])
        table["states"] = {int(s): _integer_keys(actions) for s, actions in table["states"].items()}
        parser: Lark = Lark.load({"data": data, "memo": _integer_keys(saved["memo"])})
    except (KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"not a table file: {error!r}") from error
    return parser


def _integer_keys(mapping: dict[str, Any]) -> dict[int, Any]:
    """JSON makes every key a string; Lark counts its states, tokens and rules with integers."""
    return {int(key): value for key, value in mapping.items()}
