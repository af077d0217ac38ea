"""Every example says the same whatever its line ends, and as the grammar says without help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lark import Lark

from spakc.diagnostics import Sink
from spakc.resources import grammar_text, resource
from spakc.source import SourceFile
from spakc.syntax import nodes
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import lark_parser, parse

TORTURE = Path(__file__).parents[2] / "spec" / "torture.spak"
FILES = [*sorted(resource("examples").rglob("*.spak")), TORTURE]


def ast_of(name: str, text: str) -> tuple[nodes.File, list[str]]:
    source, sink = SourceFile(name, text), Sink()
    tree = parse(source, sink)
    assert tree is not None, sink.diagnostics
    return build_ast(tree, source, sink), [d.code for d in sink.diagnostics]


def on_one_line(text: str) -> str:
    """The text without comments and with a blank for every line end."""
    return re.sub(r'("(?:\\.|[^"\\\n])*")|#[^\n]*|\n', lambda m: m[1] or " ", text.replace("\r\n", "\n"))


def one_word_a_line(text: str) -> str:
    """The text without comments and with a line end for every blank outside of numbers and texts."""
    return re.sub(r'("(?:\\.|[^"\\\n])*"|[0-9] [A-Za-z]+(?:/s)?)|#[^\n]*| ', lambda m: m[1] or "\n", text)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_line_ends_mean_nothing(path: Path) -> None:
    text = path.read_text()
    written, codes = ast_of(path.name, text)
    assert written.items
    assert set(codes) <= ({"SPAK115"} if path == TORTURE else set())
    for other in (on_one_line(text), one_word_a_line(text), "\ufeff" + text.replace("\n", "\r\n")):
        assert other != text
        assert ast_of(path.name, other) == (written, codes)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_lexer_agrees_with_larks_own(path: Path) -> None:
    text = path.read_text()
    plain = Lark(grammar_text(), parser="lalr", lexer="contextual", maybe_placeholders=True)
    assert lark_parser().parse(text) == plain.parse(text)


def test_the_examples_are_found() -> None:
    assert len(FILES) > 6


def test_torture_file_keeps_its_traps() -> None:
    file, codes = ast_of("torture.spak", TORTURE.read_text())
    assert codes == ["SPAK115", "SPAK115"], "`step` is declared as a dim and as a knob"
    kernel, dataset = file.items[1], file.items[2]
    assert isinstance(kernel, nodes.Kernel) and isinstance(dataset, nodes.Dataset)
    math = next(item for item in kernel.items if isinstance(item, nodes.Math))
    assert [equation.target.text for equation in math.equations] == ["data", "z", "on1"]
    first = math.equations[0].value
    assert isinstance(first, nodes.Binary) and first.op == "-", "the minus of the next line continues the sum"
    text = next(item for item in dataset.items if isinstance(item, nodes.Text))
    assert text.pieces[1] == nodes.String("#not a comment", span=file.span)
