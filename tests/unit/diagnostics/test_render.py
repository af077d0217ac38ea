"""Diagnostics as people and programs see them, to the character."""

from __future__ import annotations

import json

import pytest

from spakc.diagnostics import Diagnostic, Label
from spakc.diagnostics.codes import CODES
from spakc.diagnostics.render import render_json, render_text
from spakc.source import SourceFile, Span


def at(source: SourceFile, text: str, label: str = "") -> Label:
    start = source.text.index(text)
    return Label(Span(source, start, start + len(text)), label)


def diagnostic(*labels: Label, **fields: object) -> Diagnostic:
    return Diagnostic("SPAK101", "this is wrong", labels, **fields)  # type: ignore[arg-type]


def text(*diagnostics: Diagnostic) -> str:
    rendered = render_text(diagnostics)
    assert not rendered.endswith("\n")
    return rendered + "\n"


def test_two_places_of_one_file_in_line_order() -> None:
    law = "    law fits: stages * tile <= 100"
    config = "    config big { tile = 64  stages = 8 }"
    source = SourceFile("model.spak", "\n" * 16 + law + "\n" * 25 + config + "\n")
    found = diagnostic(
        at(source, "stages = 8", "the largest lawful value here is 1"),
        at(source, "stages * tile <= 100", "512 <= 100 is false"),
        notes=("of 4320 points, 231 break this law alone",),
        help=("write `stages <= 1`",),
    )
    assert text(found) == (
        "error[SPAK101]: this is wrong\n"
        "  --> model.spak:42:29\n"
        "   |\n"
        "17 |     law fits: stages * tile <= 100\n"
        "   |               -------------------- 512 <= 100 is false\n"
        "42 |     config big { tile = 64  stages = 8 }\n"
        "   |                             ^^^^^^^^^^ the largest lawful value here is 1\n"
        "   = note: of 4320 points, 231 break this law alone\n"
        "   = help: write `stages <= 1`\n"
        "   = see:  spakc explain SPAK101\n"
    )


def test_places_of_two_files() -> None:
    here = SourceFile("a.spak", "spak 1\nlaw a: b\n", shown_as="work/a.spak")
    there = SourceFile("std/b.spak", "\n" * 99 + "let b = 1\n")
    assert text(diagnostic(at(here, "b", "used here"), at(there, "b", "declared here"))) == (
        "error[SPAK101]: this is wrong\n"
        "   --> work/a.spak:2:8\n"
        "    |\n"
        "  2 | law a: b\n"
        "    |        ^ used here\n"
        "   ::: std/b.spak:100:5\n"
        "    |\n"
        "100 | let b = 1\n"
        "    |     - declared here\n"
        "    = see:  spakc explain SPAK101\n"
    )


def test_several_places_on_one_line_each_have_a_row() -> None:
    source = SourceFile("a.spak", "law a: f(b]\n")
    assert text(diagnostic(at(source, "]"), at(source, "(", "this is open"))) == (
        "error[SPAK101]: this is wrong\n"
        " --> a.spak:1:11\n"
        "  |\n"
        "1 | law a: f(b]\n"
        "  |         - this is open\n"
        "  |           ^\n"
        "  = see:  spakc explain SPAK101\n"
    )


def test_a_place_of_several_lines() -> None:
    source = SourceFile("a.spak", "kernel k: rows {  \n  dim N\n  math { }\n  } let a = 1\n")
    assert text(diagnostic(at(source, "kernel k: rows {  \n  dim N\n  math { }\n  }", "this kernel"))) == (
        "error[SPAK101]: this is wrong\n"
        " --> a.spak:1:1\n"
        "  |\n"
        "1 | kernel k: rows {  \n"
        "  | ^^^^^^^^^^^^^^^^ from here\n"
        "4 |   } let a = 1\n"
        "  |   ^ this kernel\n"
        "  = see:  spakc explain SPAK101\n"
    ).replace("{  \n", "{\n")


def test_tabs_wide_and_invisible_characters() -> None:
    source = SourceFile("a.spak", 'intent\t"好e\u0301\x1b[31m\u202e" law x\n')
    assert text(diagnostic(at(source, "law x", "here"))) == (
        "error[SPAK101]: this is wrong\n"
        " --> a.spak:1:20\n"
        "  |\n"
        '1 | intent    "好e\u0301␛[31m\ufffd" law x\n'
        "  | " + " " * 22 + "^^^^^ here\n"
        "  = see:  spakc explain SPAK101\n"
    )


def test_no_text_controls_the_terminal() -> None:
    found = Diagnostic("SPAK001", "no \x1b[2J\r", (), ("a\x07",), ("\x9b1m \ud800",))
    rendered = render_text([found], color=False)
    assert rendered == (
        "error[SPAK001]: no ␛[2J␍\n  = note: a␇\n  = help: \ufffd1m \ufffd\n  = see:  spakc explain SPAK001"
    )
    rendered.encode()


def test_end_of_the_file_and_an_empty_place() -> None:
    source = SourceFile("a.spak", "spak 1\n")
    end = Label(Span(source, 6, 6), "expected a statement")
    after = Label(Span(source, 7, 7), "the end")
    assert text(diagnostic(end), diagnostic(after, severity="warning")) == (
        "error[SPAK101]: this is wrong\n"
        " --> a.spak:1:7\n"
        "  |\n"
        "1 | spak 1\n"
        "  |       ^ expected a statement\n"
        "  = see:  spakc explain SPAK101\n"
        "\n"
        "warning[SPAK101]: this is wrong\n"
        " --> a.spak:2:1\n"
        "  |\n"
        "2 |\n"
        "  | ^ the end\n"
        "  = see:  spakc explain SPAK101\n"
    )


def test_carriage_returns_are_not_shown() -> None:
    source = SourceFile("a.spak", "spak 1\r\nlaw a\r\n")
    assert "1 | spak 1\n" in text(diagnostic(at(source, "spak 1\r\n")))


def test_a_long_line_is_cut_around_its_mark() -> None:
    source = SourceFile("a.spak", "x" * 500 + "HERE" + "y" * 500)
    lines = text(diagnostic(at(source, "HERE"))).split("\n")
    assert lines[3] == "1 | …" + "x" * 40 + "HERE" + "y" * 116 + "…"
    assert lines[4] == "  | " + " " * 41 + "^^^^"


def test_a_long_mark_is_cut_with_its_line() -> None:
    source = SourceFile("a.spak", "ab" + "c" * 1000)
    lines = text(diagnostic(at(source, "b" + "c" * 1000, "long"))).split("\n")
    assert lines[3] == "1 | ab" + "c" * 158 + "…"
    assert lines[4] == "  |  " + "^" * 160 + " long"


def test_a_text_of_several_lines_stays_behind_its_word() -> None:
    assert text(diagnostic(notes=("first\nsecond",))) == (
        "error[SPAK101]: this is wrong\n  = note: first\n          second\n  = see:  spakc explain SPAK101\n"
    )


@pytest.mark.parametrize(("severity", "color"), [("error", 31), ("warning", 33), ("note", 36)])
def test_colour_changes_no_character(severity: str, color: int) -> None:
    import re

    source = SourceFile("a.spak", "spak 1\nlaw a: b\n")
    found = diagnostic(at(source, "b", "here"), at(source, "law"), notes=("n",), severity=severity)
    painted = render_text([found], color=True)
    assert f"\x1b[1;{color}m{severity}[SPAK101]\x1b[0m" in painted
    assert f"\x1b[1;{color}m^ here\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == render_text([found])


def test_json_is_one_line_with_every_field() -> None:
    source = SourceFile("a.spak", "spak 1\nlaw ä:\nb\n", shown_as="x/a.spak")
    found = diagnostic(at(source, "ä:\nb", "here"), at(source, "spak"), notes=("n",), help=("h\ni",))
    line = render_json(found)
    assert "\n" not in line
    assert list(json.loads(line).items()) == [
        ("schema", "spak-diagnostic/1"),
        ("severity", "error"),
        ("code", "SPAK101"),
        ("title", CODES["SPAK101"].title),
        ("message", "this is wrong"),
        (
            "labels",
            [
                {
                    "file": "x/a.spak",
                    "line": 2,
                    "column": 5,
                    "end_line": 3,
                    "end_column": 2,
                    "text": "here",
                    "primary": True,
                },
                {
                    "file": "x/a.spak",
                    "line": 1,
                    "column": 1,
                    "end_line": 1,
                    "end_column": 5,
                    "text": "",
                    "primary": False,
                },
            ],
        ),
        ("notes", ["n"]),
        ("help", ["h\ni"]),
    ]
