"""What is kept between runs: the same comes out, whatever became of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spakc import driver, kept, resources
from spakc.check import check_space
from spakc.check import space as spaces
from spakc.cli import cli
from spakc.diagnostics import Sink, SpakError
from spakc.lower import lower as lowering
from spakc.plan import plan as planning

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(resources, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "kept"


def test_a_value_is_found_by_all_that_decides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept.find("tree", "a", "b") is None
    kept.keep({"n": 3}, "tree", "a", "b")
    assert kept.find("tree", "a", "b") == {"n": 3}
    assert kept.find("tree", "ab") is None and kept.find("tree", "a", "c") is None
    assert kept.find("plan", "a", "b") is None
    monkeypatch.setattr(kept, "compiler", lambda: "another")
    assert kept.find("tree", "a", "b") is None


def test_the_compiler_is_known_by_what_its_files_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grammar").mkdir()
    monkeypatch.setattr(resources, "resource", lambda name: tmp_path / name)
    file = tmp_path / "grammar" / "a.lark"
    found = []
    for text in ("a: b", "a: c", "a: b"):
        file.write_text(text)
        os.utime(file, ns=(5, 5))
        kept.compiler.cache_clear()
        found.append(kept.compiler())
    kept.compiler.cache_clear()
    assert found[0] == found[2] != found[1]
    assert any(path.endswith("kept.py") for path in kept._files(str(Path(kept.__file__).parent)))


def test_what_does_not_unpickle_counts_as_none(folder: Path) -> None:
    kept.keep(1, "tree", "a")
    (file,) = folder.iterdir()
    for content in (b"garbage", b"", b"cno_such_module\nname\n."):
        resources.write_sealed(file, content)
        assert kept.find("tree", "a") is None


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-9], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:]]
)
def test_a_damaged_value_counts_as_none(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    kept.keep("long enough to lose some of it", "tree", "a")
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert kept.find("tree", "a") is None


def test_exchanged_values_count_as_none(folder: Path) -> None:
    kept.keep("one", "tree", "a")
    (one,) = folder.iterdir()
    kept.keep("other", "tree", "b")
    (other,) = set(folder.iterdir()) - {one}
    other.write_bytes(one.read_bytes())
    assert kept.find("tree", "a") == "one" and kept.find("tree", "b") is None


def test_a_folder_that_cannot_be_written_costs_nothing_else(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    kept.keep(1, "tree", "a")
    assert kept.find("tree", "a") is None


def test_the_oldest_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 5)
    for n in range(6):
        kept.keep(n, "tree", str(n))
        for path in folder.iterdir():  # the clock of a file system is coarse
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**9,) * 2)
    assert [kept.find("tree", str(n)) for n in range(6)] == [None, None, None, 3, 4, 5]


# ---- what the driver keeps ------------------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    monkeypatch.setattr(module, name, lambda *_: pytest.fail(f"`{name}` ran again"))


def check(file: Path) -> Result:
    return CliRunner().invoke(cli, ["check", str(file)])


def test_a_tree_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = driver.load(EXAMPLES / "kernels" / "matmul.spak", Sink())
    refuse(monkeypatch, driver, "parse")
    again = driver.load(EXAMPLES / "kernels" / "matmul.spak", Sink())
    assert repr(again) == repr(first)


def test_a_text_of_an_editor_is_not_kept(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.spak"
    file.write_text("spak 1\n")
    driver.plan_file(driver.check_file(file, {file: "spak 1\nlet n = 1\n"}))
    assert not folder.exists()


def test_a_mistake_is_told_each_time(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.spak"
    file.write_text("spak 1\nkernel {\n")
    said = []
    for _ in range(2):
        with pytest.raises(SpakError) as error:
            driver.load(file, Sink())
        said.append(repr(error.value.diagnostics))
    assert said[0] == said[1] and not folder.exists()


def test_an_outcome_is_kept_and_a_change_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (EXAMPLES / "kernels" / "chain.spak").read_text()
    file = tmp_path / "chain.spak"
    file.write_text(text)
    first = check(file)
    assert first.exit_code == 0 and "points are lawful" in first.output
    with monkeypatch.context() as patched:
        refuse(patched, lowering, "lower")
        assert check(file).output == first.output
    file.write_text(text + "\nlaw wrong: 1 > 2\n")
    changed = check(file)
    assert changed.exit_code == 1 and "SPAK203" in changed.output


def test_a_hand_written_source_is_read_each_time(tmp_path: Path) -> None:
    for path in (EXAMPLES / "kernels").rglob("*"):
        if path.is_file() and path.suffix in (".spak", ".cu", ".cuh"):
            copy = tmp_path / path.relative_to(EXAMPLES / "kernels")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    assert check(tmp_path / "train.spak").exit_code == 0
    (tmp_path / "by_hand" / "swiglu.cu").unlink()
    gone = check(tmp_path / "train.spak")
    assert gone.exit_code == 1 and "SPAK001" in gone.output


def test_a_kept_plan_emits_the_same_and_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    file = EXAMPLES / "kernels" / "matmul.spak"
    checked = driver.check_file(file)
    first = driver.emit_files(driver.plan_file(checked))
    other = driver.emit_files(driver.plan_file(driver.check_file(file), ("sm_80",)))
    refuse(monkeypatch, planning, "plan")
    again = driver.check_file(file)
    assert driver.emit_files(driver.plan_file(again)) == first != other
    assert list(map(repr, again.sink.diagnostics)) == list(map(repr, checked.sink.diagnostics))


USED = """spak 1
use std.devices
kernel copy: elementwise {
  dim N
  input x: f32 [N]
  output y: f32 [N]
  math { y[i] = x[i] }
  schedule grid_stride {
    knob threads in {128, 256, 512}
    law few: threads < LIMIT
    law fits: threads <= device.threads_per_sm
  }
}
"""
ROOT = """spak 1
use std.devices
use "used.spak"
targets h100
let a = 1
law small: a < 9
claim more: 2 > 1
"""


def outcome(folder: Path, root: str = ROOT, limit: int = 256) -> Result:
    (folder / "used.spak").write_text(USED.replace("LIMIT", str(limit)))
    (folder / "root.spak").write_text(root)
    return CliRunner().invoke(cli, ["check", str(folder / "root.spak"), "--format", "json"])


def test_an_edit_asks_for_no_kernel_of_another_file_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outcome(tmp_path)
    assert first.exit_code == 0 and '"copy.grid_stride.few"' in first.stdout
    laid_out = []
    real = spaces.build_space
    monkeypatch.setattr(check_space, "build_space", lambda *a, **k: laid_out.append(a) or real(*a, **k))
    edited = ROOT.replace("2 > 1", "1 > 2")
    after = outcome(tmp_path, edited)
    assert after.exit_code == 0 and not laid_out
    known = '"%s", "means": "proof", "witnesses": 1, "note": "%s"'
    before, now = known % ("holds", "2 > 1 is true"), known % ("violated", "1 > 2 is false")
    assert before in first.stdout and after.stdout == first.stdout.replace(before, now)
    for root, limit in ((edited, 512), (ROOT.replace("h100", "a100"), 256)):
        laid_out.clear()
        assert outcome(tmp_path, root, limit).exit_code == 0 and laid_out
    shutil.rmtree(folder)
    assert outcome(tmp_path).stdout == first.stdout


def test_a_file_with_a_warning_or_a_mistake_is_checked_again(tmp_path: Path) -> None:
    wrong = ROOT.replace("a < 9", "a < 0")
    for root in (wrong, wrong + "# edited\n"):
        assert "SPAK203" in outcome(tmp_path, root).stderr
    for n in range(2):
        said = outcome(tmp_path, ROOT + f"# {n}\n", limit=128)
        assert said.exit_code == 1 and "SPAK202" in said.stderr
