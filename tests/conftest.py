"""Options and fixtures of all tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what the tests find into tests/golden"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Mapping[str, str]], None]:
    """`golden(folder, files)` compares texts by path with all of tests/golden/<folder>: a file that is
    missing there, one that nobody made, and a difference fail. With --update-golden the folder is written
    instead."""

    def check(folder: str, files: Mapping[str, str]) -> None:
        root = GOLDEN / folder
        kept = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
        if request.config.getoption("--update-golden"):
            for name in kept.keys() - files.keys():
                kept[name].unlink()
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            return
        advice = "; run pytest with --update-golden and read the difference"
        assert not files.keys() - kept.keys(), f"no golden for {sorted(files.keys() - kept.keys())}{advice}"
        assert not kept.keys() - files.keys(), (
            f"nothing makes {sorted(kept.keys() - files.keys())} any more{advice}"
        )
        for name, text in files.items():
            assert text == kept[name].read_text(encoding="utf-8"), f"{folder}/{name} differs{advice}"

    return check
