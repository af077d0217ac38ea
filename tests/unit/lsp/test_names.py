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


def renamed(path: Path, new: dict[Symbol, str]) -> dict[Path, str]:
    """The files that change, with a new name for each of the symbols."""
    texts: dict[Path, str] = {}
    for span, symbol in sorted(((p, s) for s in new for p in s.places), key=lambda place: -place[0].start):
        file = absolute(path.parent / span.source.name)
        text = texts.get(file, span.source.text)
        assert text[span.start : span.end] == symbol.name
        texts[file] = text[: span.start] + new[symbol] + text[span.end :]
    return texts


def own(symbol: Symbol) -> bool:
    return all(not span.source.name.startswith("<") for span in symbol.places) and not symbol.fixed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_symbol_can_be_renamed(path: Path) -> None:
    before = check_file(path).module
    names = names_of(path)
    assert len(names.symbols) > 3 or path.stem == "devices"
    new = {symbol: f"renamed_{i}" for i, symbol in enumerate(filter(own, names.symbols))}
    try:
        after = check_file(path, renamed(path, new)).module
    except SpakError:
        for symbol in new:  # which of them?
            check_file(path, renamed(path, {symbol: new[symbol]}))
        raise
    assert len(after.laws) == len(before.laws)
    points = [space.lawful_points for space in after.spaces.values()]
    assert points == [space.lawful_points for space in before.spaces.values()]
