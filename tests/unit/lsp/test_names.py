"""Renaming is the test of names: whatever is renamed, the files check as before and mean the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc.diagnostics import Sink, SpakError
from spakc.driver import absolute, check_file, load
from spakc.lsp.names import Names
from spakc.lsp.symbols import Symbol
from tests.unit.contract.test_contract import FILES


def names_of(path: Path) -> Names:
    return Names(load(path, Sink()))


def renamed(path: Path, symbol: Symbol, new: str) -> dict[Path, str]:
    texts: dict[Path, str] = {}
    for span in sorted(symbol.places, key=lambda s: -s.start):
        file = absolute(path.parent / span.source.name)
        text = texts.get(file, span.source.text)
        assert text[span.start : span.end] == symbol.name
        texts[file] = text[: span.start] + new + text[span.end :]
    return texts


def own(symbol: Symbol) -> bool:
    return all(not span.source.name.startswith("<") for span in symbol.places) and not symbol.fixed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_symbol_can_be_renamed(path: Path) -> None:
    before = check_file(path).module
    names = names_of(path)
    assert len(names.symbols) > 3 or path.stem == "devices"
    for symbol in [s for s in names.symbols if own(s)]:
        overlay = renamed(path, symbol, "renamed_by_test")
        try:
            after = check_file(path, overlay).module
        except SpakError as error:
            raise AssertionError(f"{symbol.what} {symbol.name}: {error}") from error
        assert len(after.laws) == len(before.laws), symbol.name
        points = [space.lawful_points for space in after.spaces.values()]
        assert points == [space.lawful_points for space in before.spaces.values()], symbol.name
