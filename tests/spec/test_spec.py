"""The prose is held to the compiler: every `.spak` block of docs/language.md and of this folder's pages checks
without a diagnostic, or earns exactly the code that stands beside it; generated pages are those of their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spakc import pages
from spakc.diagnostics import SpakError
from spakc.driver import check_file, plan_file

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "docs" / "language.md",
    ROOT / "docs" / "roles.md",
    *sorted(Path(__file__).parent.glob("*.md")),
)
BLOCK = re.compile(r"^```spak(?: error=(SPAK\d{3}))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```spak", re.MULTILINE)


def blocks() -> Iterator[tuple[str, str | None, str]]:
    for page in PAGES:
        text = page.read_text("utf-8")
        found = list(BLOCK.finditer(text))
        assert len(found) == len(FENCE.findall(text)), f"{page.name}: a block begins with ```spak and more"
        for match in found:
            line = text.count("\n", 0, match.start()) + 1
            yield f"{page.stem}:{line}", match[1], match[2]


BLOCKS = {name: (code, text) for name, code, text in blocks()}


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name: str, tmp_path: Path) -> None:
    code, text = BLOCKS[name]
    path = tmp_path / "block.spak"
    path.write_text(text, "utf-8")
    try:
        checked = check_file(path)
        plan_file(checked)
        given = [diagnostic.code for diagnostic in checked.sink.diagnostics]
    except SpakError as error:
        given = [diagnostic.code for diagnostic in error.diagnostics]
    assert given == ([code] if code else [])


def test_the_page_of_diagnostics_is_the_code_table() -> None:
    written = (ROOT / "docs" / "diagnostics.md").read_text("utf-8")
    assert written == pages.diagnostics_page(), "stale: run `make docs`"


def test_the_ladder_is_the_table_of_templates() -> None:
    written = (ROOT / "docs" / "kernels.md").read_text("utf-8")
    assert pages.BEGIN in written and pages.END in written
    assert written == pages.kernels_page(written), "stale: run `make docs`"
