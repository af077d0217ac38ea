"""What Lark makes of grammar/spak.lark: the table of `machine.py`, and its own LALR tables as JSON text.

Building the tables costs a third of a second, reading them back a fortieth. They are plain JSON and never a
pickle: a cache file cannot run code, and a damaged one is not loaded. Imports nothing of the compiler: the
wheel's build hook loads this file by its path.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator
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
        self._literals = _literals(conf.terminals)
        self._next = re.compile(_pattern(conf.terminals)).match
        self._ignored = frozenset(conf.ignore)

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        text = str(getattr(lexer_state.text, "text", lexer_state.text))
        offset = 0
        while offset < len(text):
            match = self._next(text, offset)
            if match is None:
                raise UnexpectedCharacters(text, offset, 0, 0)  # type: ignore[no-untyped-call]
            start, offset = offset, match.end()
            kind = match.lastgroup
            if kind not in self._ignored:
                literal = self._literals.get(match.group())
                if literal is not None and kind is not None and _is_literal(parser_state, literal, kind):
                    kind = literal
                yield Token(kind, match.group(), start_pos=start, end_pos=offset)  # type: ignore[arg-type]


def _is_literal(parser_state: Any, literal: str, kind: str) -> bool:
    """As `machine.Machine.parse` decides it."""
    states, stack = parser_state.parse_conf.states, list(parser_state.state_stack)
    while (entry := states[stack[-1]].get(literal)) is not None:
        _, rule = entry
        if not isinstance(rule, Rule) or states[stack[-1]].get(kind) != entry:
            return True
        del stack[len(stack) - len(rule.expansion) :]
        stack.append(states[stack[-1]][rule.origin.name][1])
    return False


def machine_table(grammar: str) -> dict[str, Any]:
    """The table of `machine.Machine`: a shift is the number of a state, a reduction -1 less the number of a rule."""
    lark = Lark(grammar, **_OPTIONS)
    data, memo = lark.memo_serialize([TerminalDef, Rule])
    table = _in_order(data["parser"]["parser"])
    names, (start,), (end,) = table["tokens"], table["start_states"].values(), table["end_states"].values()
    numbers: dict[int, int] = {}  # of the rules, in the order in which states name them

    def action(is_reduction: int, argument: Any) -> int:
        return -1 - numbers.setdefault(argument["@"], len(numbers)) if is_reduction else argument

    states = [
        {names[token]: action(*entry) for token, entry in table["states"][number].items()}
        for number in range(len(table["states"]))
    ]
    return {
        "pattern": _pattern(lark.terminals),
        "literals": _literals(lark.terminals),
        "ignored": sorted(lark.ignore_tokens),
        "start": start,
        "end": end,
        "states": states,
        "rules": [_rule(memo[number]) for number in numbers],
    }


def _rule(rule: Any) -> list[Any]:
    """As Lark's tree builder reads it: what stands between quotes is left out, `_names` give way to their children,
    `[…]` leaves a None for each part that could stand in it."""
    options, expansion = rule["options"], rule["expansion"]
    empty = options["empty_indices"] or [False] * len(expansion)
    missing = [len(run) for run in "".join("1" if nothing else "0" for nothing in empty).split("0")]
    kept, nones = [], 0
    for place, symbol in enumerate(expansion):
        nones += missing[place]
        if options["keep_all_tokens"] or not symbol.get("filter_out"):
            kept.append(
                [place, symbol["__type__"] == "NonTerminal" and symbol["name"].startswith("_"), nones]
            )
            nones = 0
    origin, alias = str(rule["origin"]["name"]), rule["alias"]
    is_transparent = bool(options["expand1"]) and not alias
    return [origin, len(expansion), alias or origin, is_transparent, kept, nones + missing[len(expansion)]]


def _literals(terminals: Collection[TerminalDef]) -> dict[str, str]:
    """The name of each terminal that is one word or sign, by that."""
    return {t.pattern.value: t.name for t in terminals if t.pattern.type == "str"}


def _pattern(terminals: Collection[TerminalDef]) -> str:
    """One pattern for every place: longer signs, classes of words by priority, single signs."""
    patterns = {t.name: t.pattern.to_regexp() for t in terminals if t.pattern.type == "re"}
    priorities = {t.name: t.priority for t in terminals}
    literals = _literals(terminals)
    signs = {name: re.escape(text) for text, name in literals.items() if not text.isalpha()}
    longer = [name for text, name in literals.items() if name in signs and len(text) > 1]
    classes = sorted(patterns, key=lambda name: (-priorities[name], name))
    order = [*longer, *classes, *(name for name in signs if name not in longer)]
    return "|".join(f"(?P<{name}>{(patterns | signs)[name]})" for name in order)


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
