"""docs/language.md is whole: every form of the grammar stands in a block of it that parses, and every word that has a
meaning of its own without being declared is named there as code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from lark import Lark, Tree
from lark.exceptions import UnexpectedInput

from spakc.check.check_model import HALTING
from spakc.check.check_settings import GATE_KEYS, TRAIN_KEYS, WORDS
from spakc.ir.facts import FACTS
from spakc.ir.ops import ACTIVATIONS, OPS, REDUCTIONS
from spakc.ir.queries import BASELINES, NAMESPACES, QUERIES
from spakc.ir.types import TYPE_NAMES, UNITS
from spakc.lower.applications import operation
from spakc.lower.lower_data import ANSWERS
from spakc.lower.lower_kernel import FAMILIES, SETTINGS, VALUES
from spakc.lower.lower_model import OPERATIONS, SIZES
from spakc.lower.lower_tensor import LAYOUTS
from spakc.syntax.parse import lark_parser
from spakc.syntax.surface import surface_of

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
BLOCK = re.compile(r"^```spak[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
COMMENT = re.compile(r"#[^\n]*")


def blocks() -> list[str]:
    return [COMMENT.sub("", block) for block in BLOCK.findall(PAGE.read_text("utf-8"))]


def code() -> str:
    """All that the page shows as code, without comments."""
    prose = BLOCK.sub("", PAGE.read_text("utf-8"))
    inline = [span for paragraph in prose.split("\n\n") for span in INLINE.findall(paragraph)]
    return "\n".join((*blocks(), *inline))


def forms(parser: Lark) -> set[str]:
    """The names that trees of the grammar have: one for each statement and each kind of expression."""
    return {
        str(rule.alias or rule.origin.name)
        for rule in parser.rules
        if not rule.origin.name.startswith("_")
        and (rule.alias or not rule.options.expand1 or len(rule.expansion) > 1)
    }


def read(parser: Lark, text: str) -> tuple[set[str], set[str]]:
    """The forms and the words of the grammar in a text; nothing of one that does not parse."""
    reading = parser.parse_interactive(text)
    try:
        tokens = {str(token.type) for token in reading.iter_parse()}
        tree: Tree[object] = reading.feed_eof()
    except UnexpectedInput:
        return set(), set()
    literals = surface_of(parser).literals
    return {str(each.data) for each in tree.iter_subtrees()}, {literals[t] for t in tokens if t in literals}


def test_every_form_of_the_grammar_stands_in_a_block() -> None:
    parser = lark_parser()
    found = [read(parser, block) for block in blocks()]
    assert forms(parser) - set().union(*(names for names, _ in found)) == set()
    assert surface_of(parser).words - set().union(*(words for _, words in found)) == set()


def built_in() -> Iterator[tuple[str, Iterable[str]]]:
    yield "functions of later stages", QUERIES
    parameters = [p for spec in QUERIES.values() for p in (*spec.positional, *spec.named)]
    yield "arguments", (p.name for spec in QUERIES.values() for p in spec.named)
    yield "words as arguments", (word for p in parameters for word in p.words)
    yield "element-wise functions", filter(operation, OPS)
    yield "reductions and activations", (*REDUCTIONS, *ACTIVATIONS)
    yield "types and units", (*TYPE_NAMES, *UNITS)
    yield "facts of a device", FACTS
    yield "names with members", NAMESPACES
    yield "operations of a library", BASELINES
    yield "words of kernels", (*FAMILIES, *VALUES, *LAYOUTS, *SETTINGS)
    yield "words of models", (*OPERATIONS, *SIZES, *HALTING)
    yield "words of training", (*TRAIN_KEYS, *GATE_KEYS, *(w for words in WORDS.values() for w in words))
    yield "words of data", (*ANSWERS, "end")


@pytest.mark.parametrize(("what", "names"), [(what, sorted(set(names))) for what, names in built_in()])
def test_every_name_of_the_language_is_on_the_page(what: str, names: list[str]) -> None:
    assert names, what
    text = code()
    missing = [n for n in names if not re.search(rf"(?<!\w)(?<!\w\.){re.escape(n)}(?!\w)", text)]
    assert missing == []


def test_functions_are_shown_as_they_are_called() -> None:
    text = code()
    called = [spec.name for spec in QUERIES.values() if not spec.bare]
    assert [name for name in called if not re.search(rf"(?<!\w)(?<!\w\.){re.escape(name)}\(", text)] == []
