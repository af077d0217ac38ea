"""Every code of the table has an entry worth reading and a fixture that earns it; the tool reports no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import spak_runtime
import spakc
from spakc.diagnostics import SpakError
from spakc.diagnostics.codes import CODES
from spakc.driver import check_file, plan_file
from tests.errors.fixtures import ELSEWHERE

FILE_CODES = sorted(CODES.keys() - ELSEWHERE.keys())
A_FILE_THAT_IS_NOT_THERE = "SPAK001"
"""The repair of a code may `use` a file of the reader's own."""


def codes_of(path: Path) -> list[str]:
    """Every code that checking and planning a file gives."""
    try:
        checked = check_file(path)
        plan_file(checked)
    except SpakError as error:
        return [d.code for d in error.diagnostics]
    return [d.code for d in checked.sink.diagnostics]


def reported() -> Iterator[str]:
    """The codes that the sources name, wherever they are reported; the table itself and prose do not count."""
    for package in (spakc, spak_runtime):
        root = Path(str(package.__file__)).parent
        for path in root.rglob("*.py"):
            if path.parent.name != "codes":
                yield from re.findall(r"\"(SPAK\d{3})\"", path.read_text("utf-8"))


def test_reported_codes_are_those_of_the_table() -> None:
    assert set(reported()) == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_entry_says_what_why_and_how_to_mend(code: str) -> None:
    entry = CODES[code]
    assert entry.id == code
    assert entry.title and not entry.title[0].isupper(), "a title is a phrase: it stands after `CODE:`"
    assert len(entry.why) > 40, "`why` explains, it does not repeat the title"
    assert entry.wrong, "`wrong` is a smallest text or command that earns the code"
    assert entry.right and entry.right != entry.wrong, "`right` is its repair"


@pytest.mark.parametrize("code", FILE_CODES)
def test_wrong_example_earns_its_code(code: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.spak"
    path.write_text(CODES[code].wrong)
    assert codes_of(path)[:1] == [code]


@pytest.mark.parametrize("code", [c for c in CODES if CODES[c].right.startswith("spak ")])
def test_right_example_is_right(code: str, tmp_path: Path) -> None:
    path = tmp_path / "right.spak"
    path.write_text(CODES[code].right)
    assert set(codes_of(path)) <= {A_FILE_THAT_IS_NOT_THERE} - {code}


@pytest.mark.parametrize("code", sorted(ELSEWHERE))
def test_code_that_no_text_earns(code: str, tmp_path: Path) -> None:
    assert code in ELSEWHERE[code](tmp_path)
