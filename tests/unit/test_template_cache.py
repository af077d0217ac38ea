"""Compiled templates kept between runs: the same text comes out, whatever became of what was kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc import template_cache
from spakc.emit.environment import environment
from spakc.template_cache import TemplateCache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(template_cache, "cache_folder", lambda: tmp_path)
    return tmp_path


def rendered(text: str) -> str:
    return environment({"a.j2": text}, TemplateCache()).get_template("a.j2").render(n=3)


def kept(folder: Path) -> Path:
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    return file


def test_a_kept_template_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendered("{{ n + 1 }}") == "4"
    first = kept(folder).read_bytes()
    monkeypatch.setattr("jinja2.Environment.compile", lambda *_: pytest.fail("compiled again"))
    assert rendered("{{ n + 1 }}") == "4"
    assert kept(folder).read_bytes() == first


def test_another_text_is_compiled(folder: Path) -> None:
    assert rendered("{{ n + 1 }}") == "4"
    assert rendered("{{ n + 2 }}") == "5"
    assert rendered("{{ n + 1 }}") == "4"
    kept(folder)


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-9], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:]]
)
def test_a_damaged_one_is_compiled_again(folder: Path, damage: object) -> None:
    assert rendered("{{ n + 1 }}") == "4"
    whole = kept(folder).read_bytes()
    kept(folder).write_bytes(damage(whole))  # type: ignore[operator]
    assert rendered("{{ n + 1 }}") == "4"
    assert kept(folder).read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_nothing_else(folder: Path) -> None:
    (folder / TemplateCache().folder.name).write_text("a file where the folder should be")
    assert rendered("{{ n + 1 }}") == "4"
