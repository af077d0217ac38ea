"""Every code of the table has an entry worth reading and a fixture that earns it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc.diagnostics import CODES, SpakError
from spakc.driver import check_file
from tests.errors.fixtures import ELSEWHERE


def is_spak_file(text: str) -> bool:
    return text.lstrip().startswith("spak ")


FILE_CODES = sorted(code for code, entry in CODES.items() if code not in ELSEWHERE)


@pytest.mark.parametrize("code", sorted(CODES))
def test_entry_says_what_why_and_how_to_mend(code: str) -> None:
    entry = CODES[code]
    assert entry.id == code
    assert entry.title and entry.title[0].islower(), "a title is a phrase: it stands after `CODE:`"
    assert len(entry.why) > 40, "`why` explains, it does not repeat the title"
    assert entry.wrong, "`wrong` is a smallest text or command that earns the code"


def codes_of(path: Path) -> list[str]:
    try:
        checked = check_file(path)
    except SpakError as error:
        return [d.code for d in error.diagnostics]
    return [d.code for d in checked.sink.diagnostics]


@pytest.mark.parametrize("code", FILE_CODES)
def test_wrong_example_earns_its_code(code: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.spak"
    path.write_text(CODES[code].wrong)
    assert codes_of(path)[:1] == [code]


@pytest.mark.parametrize("code", [c for c in FILE_CODES if is_spak_file(CODES[c].right)])
def test_right_example_is_free_of_its_code(code: str, tmp_path: Path) -> None:
    path = tmp_path / "right.spak"
    path.write_text(CODES[code].right)
    assert code not in codes_of(path)


@pytest.mark.parametrize("code", sorted(ELSEWHERE))
def test_code_that_is_no_file_mistake_has_its_own_fixture(code: str, tmp_path: Path) -> None:
    assert code in ELSEWHERE[code](tmp_path)
