"""Nothing that a file may say makes a later stage slow, deep or infinite; what is allowed passes."""

from __future__ import annotations

import pytest

from spakc.diagnostics import Sink
from spakc.source import SourceFile
from spakc.syntax.build_ast import build_ast
from spakc.syntax.limits import MAX_BYTES, MAX_DEPTH, MAX_LINE, MAX_OPERATORS
from spakc.syntax.parse import parse
from tests.clock import assert_within


def codes(text: str) -> list[str]:
    source, sink = SourceFile("test.spak", text), Sink()
    tree = parse(source, sink)
    assert (tree is None) == sink.has_errors
    if tree is not None:
        build_ast(tree, source, sink)
    return [d.code for d in sink.diagnostics]


def value(text: str) -> list[str]:
    return codes(f"spak 1\nlet x = {text}\n")


def test_size() -> None:
    head = "spak 1\n"
    assert codes(head + "\n" * (MAX_BYTES - len(head))) == []
    assert codes(head + "\n" * (MAX_BYTES - len(head) + 1)) == ["SPAK003"]
    wide = "#" + "é" * (MAX_LINE // 2) + "\n"
    assert codes(head + wide * (MAX_BYTES // (MAX_LINE + 2) + 1)) == ["SPAK003"], (
        "bytes count, not characters"
    )


def test_line() -> None:
    assert codes("spak 1\n#" + "x" * (MAX_LINE - 1) + "\n") == []
    assert codes("spak 1\n#" + "x" * MAX_LINE + "\n") == ["SPAK114"]


@pytest.mark.parametrize("char", ["\0", "\x07", "\x1b", "\x7f", "\x0c", "\r", "\u202e", "\u2066", "\ud800"])
def test_invisible_characters(char: str) -> None:
    for text in (f'spak 1\nintent "a{char}b"\n', f"spak 1\n# a{char}b\n", f"spak 1\nlet a{char} = 1\n"):
        assert codes(text) == ["SPAK113"]


def test_line_ends_and_byte_order_mark() -> None:
    assert codes("\ufeffspak 1\r\n# comment\r\nlet x = 1\r\n") == []
    assert codes("spak 1\nlet \ufeffx = 1\n") == ["SPAK102"], "a mark that marks nothing"


@pytest.mark.parametrize(
    ("number", "allowed"),
    [
        ("9" * 18, True),
        ("9" * 19, False),
        ("1" + "_000" * 5, True),
        ("1" + "_000" * 6, False),
        ("9" * 19 + " KiB", False),
        ("9" * 19 + "%", False),
        ("1.7e308", True),
        ("1e309", False),
        ("9" * 400 + ".0", False),
        ("1e-300", True),
        ("1e-400", False),
        ("0.000", True),
        ("0e999", True),
        ("0." + "0" * 400 + "1", False),
    ],
)
def test_numbers(number: str, allowed: bool) -> None:
    assert value(number) == ([] if allowed else ["SPAK108"])


def test_numbers_in_texts_comments_and_names_are_none() -> None:
    assert value('f("1e999", b1e999, ' + "x" + "9" * 30 + ")  # 1e999") == []


@pytest.mark.parametrize(
    ("deep", "level"),
    [
        (lambda n: "(" * n + "1" + ")" * n, 1),
        (lambda n: "f(" * n + "1" + ")" * n, 1),
        (lambda n: "{" * n + "}" * n, 1),
        (lambda n: "a[" * n + "1" + "]" * n, 1),
        (lambda n: "- " * n + "1", 1),
        (lambda n: "not " * n + "true", 1),
        (lambda n: "a" + ".a" * n, 1),
        (lambda n: "a" + "()" * n, 1),
        (lambda n: "1 + f(" * n + "1" + ")" * n, 2),
        (lambda n: "f(" * n + "1" + ") + 1" * n, 2),
    ],
)
def test_depth(deep, level) -> None:  # type: ignore[no-untyped-def]
    assert value(deep(MAX_DEPTH // level - 4)) == []
    assert value(deep(MAX_DEPTH + 1)) == ["SPAK107"]
    assert value(deep(1_000)) == ["SPAK107"]


@pytest.mark.parametrize("operator", ["+", "*", "and", "or"])
def test_a_chain_is_long_and_not_deep(operator: str) -> None:
    def chain(n: int, operand: str = "a", first: str = "a") -> str:
        return first + f" {operator} {operand}" * n

    assert value(chain(MAX_OPERATORS)) == []
    assert value(chain(MAX_OPERATORS + 1)) == value(chain(1_500)) == ["SPAK107"]
    assert value(chain(MAX_OPERATORS // 2, first=f"({chain(MAX_OPERATORS // 2)})")) == []
    assert value(chain(MAX_OPERATORS, first=f"({chain(1)})")) == ["SPAK107"]
    assert value(chain(MAX_OPERATORS - 2, operand="(b - c / 2)")) == []
    assert value(chain(MAX_OPERATORS, operand="(b - c / 2)")) == ["SPAK107"]


def test_a_chain_is_not_deep_where_it_is_flat() -> None:
    assert value("{" + ", ".join("a + b" for _ in range(500)) + "}") == []
    assert value("a" + " < a" * 500) == []
    assert codes("spak 1\n" + "law a: b == 1\n" * 2000) == []


def test_blocks_nest_as_deep_as_brackets() -> None:
    body = "spak 1\nmodel m { forward(x: []) -> y: [] { " + "repeat 2 { " * 20 + "y = x " + "}" * 20 + "} }"
    assert codes(body) == []
    deep = "spak 1\nmodel m { forward(x: []) -> y: [] { " + "repeat 2 { " * 3000 + "}" * 3000 + "} }"
    assert codes(deep) in (["SPAK107"], ["SPAK114"])


@pytest.mark.parametrize("unit", ["(", "[1", "- ", "not ", '"', "1 + ", "a.", "}", "x = ", "law a: 1 ", "a "])
def test_a_hostile_file_is_answered_soon(unit: str) -> None:
    line = (unit * (MAX_LINE // len(unit)))[: MAX_LINE - 1] + "\n"
    text = "spak 1\nlet x = \n" + line * (MAX_BYTES // 32 // len(line)) + "1"
    assert len(codes(text)) == 1
    assert_within(5, lambda: codes(text))
