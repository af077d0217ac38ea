"""What comes with the compiler is found; what is derived from it is kept, and never trusted blindly."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc import resources


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "package")
    monkeypatch.setattr(resources, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


class Maker:
    def __init__(self) -> None:
        self.calls = 0

    def make(self) -> str:
        self.calls += 1
        return "key:made"


def load(text: str) -> str:
    if not text.startswith("key:"):
        raise ValueError("damaged")
    return text


def test_resources_of_a_checkout() -> None:
    assert resources.resource("grammar/spak.lark").is_file()
    assert "version" in resources.grammar_text()
    with pytest.raises(FileNotFoundError):
        resources.resource("grammar/none.lark")


@pytest.mark.usefixtures("cache")
def test_data_of_the_package_goes_first(tmp_path: Path) -> None:
    shipped = tmp_path / "package" / "_data" / "grammar" / "spak.lark"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("shipped")
    assert resources.grammar_text() == "shipped"


def test_made_once_and_kept(cache: Path) -> None:
    maker = Maker()
    assert resources.derived("x.tables", "k1", load, maker.make) == "key:made"
    assert resources.derived("x.tables", "k1", load, maker.make) == "key:made"
    assert maker.calls == 1
    assert [p.name for p in cache.iterdir()] == ["x-k1.tables"]
    resources.derived("x.tables", "k2", load, maker.make)
    assert maker.calls == 2, "another key is another text"


@pytest.mark.parametrize("damage", [b"", b"damaged", b"\xff\xfe", b"\0" * 100])
def test_a_damaged_text_is_made_again(cache: Path, damage: bytes) -> None:
    maker = Maker()
    resources.derived("x.tables", "k", load, maker.make)
    (cache / "x-k.tables").write_bytes(damage)
    assert resources.derived("x.tables", "k", load, maker.make) == "key:made"
    assert (maker.calls, (cache / "x-k.tables").read_text()) == (2, "key:made")


def test_shipped_text_is_used_and_a_stale_one_is_not(cache: Path, tmp_path: Path) -> None:
    shipped = tmp_path / "package" / "_data" / "x.tables"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("key:shipped")
    maker = Maker()
    assert resources.derived("x.tables", "k", load, maker.make) == "key:shipped"
    assert maker.calls == 0 and not cache.exists()
    shipped.write_text("other")
    assert resources.derived("x.tables", "k", load, maker.make) == "key:made"


def test_a_cache_that_cannot_be_written_costs_only_time(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    maker = Maker()
    assert resources.derived("x.tables", "k", load, maker.make) == "key:made"


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    resources.write_atomically(target, "old")
    with pytest.raises(UnicodeEncodeError):
        resources.write_atomically(target, "new \ud800")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_exchange_is_one_step(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    if resources.exchange(one, other):
        assert (one / "other").exists() and (other / "one").exists()
    assert not resources.exchange(one, tmp_path / "nothing")
    assert len(list(tmp_path.iterdir())) == 2
