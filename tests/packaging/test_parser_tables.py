"""A wheel brings the parser's tables, so that no installation builds them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from spakc.resources import grammar_text
from spakc.syntax import machine, tables

ROOT = Path(__file__).parents[2]


def test_wheel_has_the_tables_of_its_grammar(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("spakc/_data/spak.tables").decode()
        table = archive.read("spakc/_data/spak.machine").decode()
        assert archive.read("spakc/_data/grammar/spak.lark").decode() == grammar_text()
    parser = tables.load_tables(text, tables.tables_key(grammar_text()))
    assert parser.parse("spak 1").data == "start"
    assert text == tables.build_tables(grammar_text())
    tree = machine.read(table, machine.key_of(grammar_text())).parse("spak 1")
    assert tree is not None and tree.data == "start"
