"""One mistake gives one diagnostic: its code, its place, and a hint that mends it."""

from __future__ import annotations

import pytest

from spakc.diagnostics import Diagnostic, Sink
from spakc.diagnostics.codes import CODES
from spakc.source import SourceFile
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import parse

SYNTAX_CODES = [code for code in sorted(CODES) if "SPAK101" <= code <= "SPAK119"]


def diagnostics(text: str) -> list[Diagnostic]:
    source, sink = SourceFile("test.spak", text), Sink()
    tree = parse(source, sink)
    assert (tree is None) == sink.has_errors
    if tree is not None:
        build_ast(tree, source, sink)
    return sink.diagnostics


def mistake(text: str) -> Diagnostic:
    (only,) = diagnostics("spak 1\n" + text)
    assert only.severity == "error"
    return only


@pytest.mark.parametrize("code", SYNTAX_CODES)
def test_entry_of_the_table(code: str) -> None:
    assert [d.code for d in diagnostics(CODES[code].wrong)] == [code]
    assert diagnostics(CODES[code].right) == []


@pytest.mark.parametrize(
    ("text", "code", "place", "hint"),
    [
        # signs and characters of other languages
        ("law a: b && c", "SPAK111", "&&", "`and`"),
        ("law a: b & c", "SPAK111", "&", "`and`"),
        ("law a: b || c", "SPAK111", "||", "`or`"),
        ("law a: !b", "SPAK111", "!", "`not`"),
        ("let a = b ** 2", "SPAK111", "**", "`pow(x, y)`"),
        ("let a = b ^ 2", "SPAK111", "^", "`pow(x, y)`"),
        ("let a = b ? c : d", "SPAK111", "?", "`where(condition, a, b)`"),
        ("law a: b === c", "SPAK111", "===", "`==`"),
        ("law a: b <> c", "SPAK111", "<>", "`!=`"),
        ("law a: b => c", "SPAK111", "=>", "`>=`"),
        ("let a := b", "SPAK111", ":=", "`=`"),
        ("device d { a += 1 }", "SPAK111", "+=", "`new = old + …`"),
        ("let a = b;", "SPAK111", ";", "leave it out"),
        ("// comment", "SPAK111", "//", "`#`"),
        ("/* comment */", "SPAK111", "/*", "`#`"),
        ("let a = b // a comment", "SPAK101", "comment", "`#`"),
        ("law a: b ≠ c", "SPAK102", "≠", "`!=`"),
        ("law größe: 1 == 1", "SPAK102", "ö", ""),
        ("law a: 'b' == c", "SPAK102", "'", '`"`'),
        ("let a\u00a0= 1", "SPAK102", "\u00a0", "delete it"),
        ("let a = $b", "SPAK102", "$", ""),
        # comparisons and values
        ("law a: b = c", "SPAK110", "=", "`==`"),
        ("law a: b == c when d = e", "SPAK110", "=", "`==`"),
        ("protocol p { gate g { require a = b } }", "SPAK110", "=", "`==`"),
        ("let a == 1", "SPAK101", "==", ""),
        ("kernel k: rows { math { y[i] == x[i] } }", "SPAK101", "==", ""),
        # numbers, units, percentages, texts
        ("device d { a = 227 KB b = 1 }", "SPAK109", "KB", "`KiB`"),
        ("device d { a = 227KB b = 1 }", "SPAK109", "KB", "`KiB`"),
        ("device d { a = 3 kib }", "SPAK109", "kib", "`KiB`"),
        ("device d { a = 1 s b = 1 }", "SPAK109", "s", "`sec`"),
        ("device d { a = 1 GB/h b = 1 }", "SPAK109", "GB", "`GB/s`"),
        ("claim c: speed(k) >= 800 TFLOPS", "SPAK109", "TFLOPS", "`TFLOP/s`"),
        ("let a = 12abc", "SPAK109", "abc", "a blank"),
        ("let a = 1_", "SPAK101", "1_", ""),
        ("let a = .5", "SPAK101", ".", "`0.5`"),
        ("law a: 5. < b", "SPAK101", ".", "`5.0`"),
        ("device d { a = 5. b = 1 }", "SPAK101", ".", "`5.0`"),
        ("law a: 7%n == 1", "SPAK117", "7%", "`7 % …`"),
        ("law a: 7%(n) == 1", "SPAK117", "7%", "`7 % …`"),
        ('intent "abc', "SPAK112", '"abc', ""),
        ('intent "abc\\"', "SPAK112", '"abc\\"', ""),
        ('intent "a\\\\\\d"', "SPAK112", "\\d", "`\\n`"),
        # words
        ("kernal k: rows { }", "SPAK116", "kernal", "`kernel`"),
        ("Kernel k: rows { }", "SPAK116", "Kernel", "`kernel`"),
        ("import std.devices", "SPAK116", "import", "`use`"),
        ("kernel k: rows { shedule s { } }", "SPAK116", "shedule", "`schedule`"),
        ("kernel k: rows { schedule s { knobs a in {1} } }", "SPAK116", "knobs", "`knob`"),
        ("model m { forward(x: []) -> y: [] { lop l in 1..2 carry a = b { } } }", "SPAK116", "lop", "`loop`"),
        ('law a: b becuase "c"', "SPAK116", "becuase", "`because`"),
        ("claim c: a > b with confidance 95%", "SPAK116", "confidance", "`confidence`"),
        ("lawful: a", "SPAK101", "lawful", ""),
        ("experiment e { trian(steps = 1) }", "SPAK116", "trian", "`train`"),
        ("let loop = 1", "SPAK115", "loop", "`loop_`"),
        ("kernel k: rows { math { y[i] = x[i] step[i] = y[i] } }", "SPAK115", "step", "`step_`"),
        ("kernel k: rows { schedule s { config c { a = 1 step = 2 } } }", "SPAK115", "step", "`step_`"),
        ("model m { forward(x: []) -> y: [] { repeat = x } }", "SPAK115", "repeat", "`repeat_`"),
        # anything else
        ("let a = [1, 2]", "SPAK101", "[", ""),
        ("law a b", "SPAK101", "b", ""),
        ("experiment e { train(steps = 1,) }", "SPAK101", ")", ""),
    ],
)
def test_slip(text: str, code: str, place: str, hint: str) -> None:
    found = mistake(text)
    assert (found.code, found.labels[0].span.text) == (code, place)
    assert any(hint in help for help in found.help) if hint else not found.help


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "expected a statement or the end of the file"),
        ("kernel { }", "expected a name"),
        ("let a == 1", "expected `=`"),
        ("kernel k { }", "expected `:`"),
        ("kernel k: rows { dim A B }", "expected `,`, `in`, `}` or a statement of `kernel`"),
        ("claim c: a > b with confidence 95", "expected a percentage such as `95%`"),
        ("law a: b +", "expected an expression"),
        ("kernel k: rows { math { y = x[i] } }", "expected `[`"),
        ("kernel k: rows { verify { cases many } }", "expected a whole number"),
        ("dataset d { loss after x }", "expected a text in double quotes"),
        ("law a: x y", "expected an operator, `because`, `when`, a statement or the end of the file"),
    ],
)
def test_what_could_stand_there(text: str, expected: str) -> None:
    found = mistake(text)
    assert found.labels[0].text == expected


def test_the_statement_that_is_not_finished_is_shown() -> None:
    found = mistake("kernel k: rows {\n  law a: (b\n    +) == c\n}")
    assert [(label.span.text, label.text) for label in found.labels] == [
        (")", "expected an expression"),
        ("law", "in this `law`"),
    ]


# ---- brackets and blocks --------------------------------------------------------------------------------


def shown(found: Diagnostic) -> list[tuple[int, int, str]]:
    return [(label.span.line, label.span.column, label.span.text) for label in found.labels]


def test_unclosed_block_at_the_end_of_the_file() -> None:
    found = mistake("kernel k: rows {\n  math {\n    y[i] = x[i]\n  }\n")
    assert (found.code, shown(found)) == ("SPAK105", [(2, 16, "{")])


def test_unclosed_block_before_a_statement_left_of_it() -> None:
    found = mistake("kernel k: rows {\n  dim N\n\nkernel j: rows { }\n")
    assert (found.code, shown(found)) == ("SPAK105", [(2, 16, "{"), (5, 1, "kernel")])


def test_unclosed_block_whose_successor_reads_as_a_name() -> None:
    found = mistake("kernel k: rows {\n  math {\n    y[i] = x[i]\n  verify { cases 3 }\n}\n")
    assert (found.code, shown(found)) == ("SPAK105", [(3, 8, "{"), (5, 3, "verify")])


def test_unclosed_bracket_before_a_statement_or_another_bracket() -> None:
    assert shown(mistake("law a: (b + c\nlaw d: e")) == [(2, 8, "("), (3, 1, "law")]
    found = mistake("kernel k: rows { law a: f(b }")
    assert (found.code, shown(found)) == ("SPAK105", [(2, 26, "("), (2, 29, "}")])


def test_bracket_that_closes_nothing() -> None:
    assert (mistake("law a: b)").code, shown(mistake("law a: b)"))) == ("SPAK106", [(2, 9, ")")])
    found = mistake("law a: f(b]")
    assert (found.code, shown(found)) == ("SPAK106", [(2, 11, "]"), (2, 9, "(")])


@pytest.mark.parametrize(
    ("text", "word", "belongs"),
    [
        ("knob a in {1}", "knob", "into `schedule`"),
        ("kernel k: rows { knob a in {1} }", "knob", "into `schedule`"),
        ("kernel k: rows { schedule s { verify { } } }", "verify", "into `kernel`"),
        ("model m { sample a: f(n) }", "sample", "into `dataset`"),
        ("kernel k: rows { kernel j: rows { } }", "kernel", "to the top level"),
        ("let a = 1\nuse std.devices", "use", "to the beginning of the file, behind its version"),
        ("let a = 1\ntargets h100", "targets", "to the beginning of the file, behind its version"),
        ("repeat 3 { }", "repeat", "into `forward` or `loop` or `part` or `repeat`"),
    ],
)
def test_statement_of_another_block(text: str, word: str, belongs: str) -> None:
    found = mistake(text)
    assert (found.code, found.labels[0].span.text) == ("SPAK118", word)
    assert found.labels[0].text == f"it belongs {belongs}"


# ---- the head of a file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only a comment", "spak", "spak one", "spake 1", "kernel k: rows { }"]
)
def test_version_is_missing(text: str) -> None:
    assert [d.code for d in diagnostics(text)] == ["SPAK103"]


@pytest.mark.parametrize("version", ["0", "2", "1.5", "10", "1_0"])
def test_version_is_unknown(version: str) -> None:
    (found,) = diagnostics(f"# a comment\nspak {version}\nnothing that this compiler could read\n")
    assert (found.code, found.labels[0].span.text) == ("SPAK104", version)
