"""The grammar's promises: no conflict, whole words, and tables that hold what other files repeat of it."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lark import Lark

from spakc.resources import grammar_text
from spakc.syntax import build_ast, build_expr, tables
from spakc.syntax.parse import lark_parser
from spakc.syntax.slips import FOREIGN_SIGNS, FOREIGN_WORDS, UNIT_SLIPS, UNITS
from spakc.syntax.surface import TOP_LEVEL, UNUSABLE_NAMES, Surface

DANGLING = """
start: "if" NAME start | "if" NAME start "else" start | NAME
NAME: /[a-z]+/
%ignore " "
"""


def conflicts(grammar: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="lark"):
        Lark(grammar, parser="lalr")
    return [r.getMessage() for r in caplog.records if "onflict" in r.getMessage()]


def test_no_conflict_is_left_to_chance(caplog: pytest.LogCaptureFixture) -> None:
    assert conflicts(DANGLING, caplog), "the parser generator says when it guesses"
    assert conflicts(grammar_text(), caplog) == []


def test_every_rule_is_built() -> None:
    """A rule that makes a tree has a method, or is read by the method of the rule that holds it."""
    made = set()
    for rule in lark_parser().rules:
        kept = [symbol for symbol in rule.expansion if not (symbol.is_term and symbol.filter_out)]
        if rule.alias or not rule.options.expand1 or len(kept) > 1:
            made.add(str(rule.alias or rule.origin.name))
    inside = {
        "start", "version", "use", "targets", "path", "because", "quantifier", "binder", "role",
        "one_dim", "type", "types", "shape", "alternatives", "direction", "equation", "at_launch",
        "params", "param", "body", "setting", "key", "exprs", "args", "names", "named",
    }  # fmt: skip
    made = {name for name in made if not name.startswith("_")}
    assert made == inside | set(build_ast._STATEMENTS) | set(build_expr._RULES)


def test_unusable_names_are_those_the_tables_refuse() -> None:
    """Where the parser does one thing on a name and another on a word of the language, the word wins. Values
    cannot have such a name; a setting may begin with the words that a profile overrides; `fraction` ends a
    `split`."""
    surface = Surface(lark_parser())
    clashing = {
        surface.literals[terminal]
        for actions in lark_parser().parser.parser._parse_table.states.values()
        if "NAME" in actions
        for terminal, action in actions.items()
        if surface.literals.get(terminal) in surface.words and action != actions["NAME"]
    }
    assert clashing - {"model", "train", "data", "optimizer", "lr", "fraction"} == UNUSABLE_NAMES


def test_units_are_those_of_the_grammar() -> None:
    pattern = re.search(r"^QUANTITY.*?\[ \]\?\((.*?)\)\(", grammar_text(), re.MULTILINE)
    assert pattern is not None
    assert sorted(pattern[1].replace("\\/", "/").split("|")) == sorted(UNITS)


def test_slips_are_no_part_of_the_language() -> None:
    surface = Surface(lark_parser())
    assert not set(FOREIGN_WORDS) & surface.words
    assert set(FOREIGN_WORDS.values()) <= surface.words
    assert not set(UNIT_SLIPS) & set(UNITS)
    assert set(FOREIGN_SIGNS) & surface.signs == {"//"}, "the only sign that means something else here"


def test_statements_of_a_block_come_from_the_grammar() -> None:
    surface = Surface(lark_parser())
    assert surface.homes("knob") == ["schedule"]
    assert surface.homes("use") == [TOP_LEVEL]
    assert {"repeat", "loop"} == surface.statements["forward"] == surface.statements["loop"]
    assert surface.statements["config"] == set(), "settings begin with names"


def test_tables_refuse_another_key_and_damage() -> None:
    grammar = 'start: "a" NAME\nNAME: /[a-z]+/\n%ignore " "\n'
    key = tables.tables_key(grammar)
    text = tables.build_tables(grammar)
    assert tables.load_tables(text, key).parse("a b") == Lark(grammar, parser="lalr").parse("a b")
    assert tables.tables_key(grammar + " ") != key
    for damaged in ("", "{}", "null", text[:-5], text[1:], text.replace("NAME", "NAMF", 1)):
        with pytest.raises(ValueError):
            tables.load_tables(damaged, key)
    with pytest.raises(ValueError):
        tables.load_tables(text, "another key")


def test_tables_are_the_same_whatever_the_hash_seed() -> None:
    program = (
        "import hashlib; from spakc.resources import grammar_text; from spakc.syntax import tables; "
        "text = tables.build_tables(grammar_text()); "
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    root = Path(__file__).parents[3]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_saved_tables_spare_the_building(monkeypatch: pytest.MonkeyPatch) -> None:
    lark_parser()  # kept from now on
    lark_parser.cache_clear()
    monkeypatch.setattr(tables, "build_tables", None)
    assert lark_parser().parse("spak 1").data == "start"
