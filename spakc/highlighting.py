"""How `.spak` is coloured, from its grammar: a TextMate grammar for editors, a lexer for Pygments.

`make docs` writes both; a test fails when a file is not what this makes of the grammar. Colours go by words alone: a
keyword that is used as a name is told from one by what stands behind it, so a few places are coloured wrongly.
"""

from __future__ import annotations

import json
from pathlib import Path

from spakc.ir.types import TYPE_NAMES
from spakc.record import record
from spakc.syntax.parse import lark_parser
from spakc.syntax.surface import Surface

ROOT = Path(__file__).parents[1]
TEXTMATE = ROOT / "editors" / "vscode" / "syntaxes" / "spak.tmLanguage.json"
LEXER = ROOT / "spakc" / "pygments_lexer.py"

_OPERATORS = ("and", "or", "not", "in")
_CONSTANTS = ("true", "false", "inf")
_NUMBERS = ("QUANTITY", "PERCENT", "FLOAT", "INT")
_NOT_A_NAME = r"(?!\s*[=.,:)\]|])"
"""Behind a word of the language that is none here: it is set, named, or an argument."""


@record
class Words:
    """What the grammar says: `declaring` words are followed by the name that they declare, `other` are the rest;
    `patterns` are the terminals that are classes of texts."""

    declaring: tuple[str, ...]
    other: tuple[str, ...]
    signs: tuple[str, ...]
    patterns: dict[str, str]


def words() -> Words:
    parser = lark_parser()
    surface = Surface(parser)
    declaring = {
        surface.literals[rule.expansion[0].name]
        for rule in parser.rules
        if len(rule.expansion) > 1
        and rule.expansion[0].name in surface.literals
        and rule.expansion[1].name == "NAME"
    }
    named = tuple(sorted(declaring & surface.words))
    rest = surface.words - declaring - {*_OPERATORS, *_CONSTANTS}
    patterns = {t.name: t.pattern.value for t in parser.terminals if t.pattern.type == "re"}
    signs = tuple(sorted((s for s in surface.signs if not s.isspace()), key=lambda s: (-len(s), s)))
    return Words(named, tuple(sorted(rest)), signs, patterns)


def textmate() -> str:
    """The text of the TextMate grammar."""
    found = words()
    named = "|".join(found.declaring)
    patterns = [
        {"name": "comment.line.number-sign.spak", "match": found.patterns["COMMENT"]},
        {"name": "string.quoted.double.spak", "match": found.patterns["STRING"]},
        *({"name": "constant.numeric.spak", "match": rf"\b{found.patterns[name]}"} for name in _NUMBERS),
        {
            "match": rf"\b({named})\s+([A-Za-z_][A-Za-z0-9_]*)",
            "captures": {"1": {"name": "keyword.declaration.spak"}, "2": {"name": "entity.name.spak"}},
        },
        {"name": "keyword.control.spak", "match": _any((*found.declaring, *found.other)) + _NOT_A_NAME},
        {"name": "keyword.operator.word.spak", "match": _any(_OPERATORS)},
        {"name": "constant.language.spak", "match": _any(_CONSTANTS)},
        {"name": "storage.type.spak", "match": _any(sorted(TYPE_NAMES))},
        {"name": "entity.name.function.spak", "match": r"\b[A-Za-z_][A-Za-z0-9_]*(?=[(\[])"},
        {"name": "keyword.operator.spak", "match": r"[-+*/%<>=!|]+|\.\."},
    ]
    grammar = {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "SPAK",
        "scopeName": "source.spak",
        "fileTypes": ["spak"],
        "comment": "Generated from grammar/spak.lark by `make docs`; do not edit.",
        "patterns": patterns,
    }
    return json.dumps(grammar, indent=2) + "\n"


def pygments_lexer() -> str:
    """The text of the module of the lexer for Pygments."""
    found = words()
    numbers = {"QUANTITY": "Number", "PERCENT": "Number", "FLOAT": "Number.Float", "INT": "Number.Integer"}
    rules = [
        ('r"\\s+"', "Whitespace"),
        (repr(found.patterns["COMMENT"]), "Comment.Single"),
        (repr(found.patterns["STRING"]), "String.Double"),
        *((repr(found.patterns[name]), numbers[name]) for name in _NUMBERS),
        (
            repr(rf"({'|'.join(found.declaring)})(\s+)([A-Za-z_][A-Za-z0-9_]*)"),
            "bygroups(Keyword.Declaration, Whitespace, Name.Class)",
        ),
        (repr(_any((*found.declaring, *found.other)) + _NOT_A_NAME), "Keyword"),
        (repr(_any(_OPERATORS)), "Operator.Word"),
        (repr(_any(_CONSTANTS)), "Keyword.Constant"),
        (repr(_any(sorted(TYPE_NAMES))), "Keyword.Type"),
        (repr(r"[A-Za-z_][A-Za-z0-9_]*(?=[(\[])"), "Name.Function"),
        (repr(found.patterns["NAME"]), "Name"),
        (repr("|".join(_escaped(s) for s in found.signs if s not in "(){}[],:")), "Operator"),
        (repr(r"[(){}\[\],:]"), "Punctuation"),
    ]
    lines = [f"            ({pattern}, {token})," for pattern, token in rules]
    return _LEXER_TEXT.format(rules="\n".join(lines))


_LEXER_TEXT = '''"""Colours for Pygments. Generated from grammar/spak.lark by `make docs`; do not edit."""

# ruff: noqa
# fmt: off
# mypy: ignore-errors
from __future__ import annotations

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace


class SpakLexer(RegexLexer):
    """`.spak` files."""

    name = "SPAK"
    aliases = ["spak"]
    filenames = ["*.spak"]

    tokens = {{
        "root": [
{rules}
        ]
    }}
'''


def _any(texts: object) -> str:
    return rf"\b(?:{'|'.join(texts)})\b"  # type: ignore[arg-type]


def _escaped(sign: str) -> str:
    return "".join(f"\\{char}" if char in "+*.|?()[]{}^$" else char for char in sign)


def main() -> None:
    """Writes both files."""
    TEXTMATE.write_text(textmate(), "utf-8")
    LEXER.write_text(pygments_lexer(), "utf-8")
