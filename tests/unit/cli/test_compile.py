"""`spakc compile`: the same bytes wherever and whenever; every stage can be printed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from spakc import compile_file
from tests.unit.cli.invoke import ADDITION, EXAMPLES, MATMUL, PRODUCT, files_of, invoke, rows, spawn

DATE = re.compile(rb"\b20\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b")
ABSOLUTE = re.compile(rb"(?<![\w.:/<*])/(?:home|root|tmp|usr|opt|work|var|Users)/")


def test_same_bytes_twice_and_from_another_folder(tmp_path: Path) -> None:
    first = invoke("compile", ADDITION, "-o", tmp_path / "first")
    assert first.exit_code == 0, first.output
    copy = tmp_path / "elsewhere" / "deep" / "examples"
    shutil.copytree(EXAMPLES, copy, ignore=shutil.ignore_patterns("*.jsonl"))
    second = spawn(
        "compile",
        "addition.spak",
        "-o",
        tmp_path / "second",
        cwd=copy / "looplm",
        env={"PYTHONHASHSEED": "7"},
    )
    assert second.returncode == 0, second.stderr
    one, two = files_of(tmp_path / "first"), files_of(tmp_path / "second")
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
    for name, content in one.items():
        assert not DATE.search(content), name
        assert not ABSOLUTE.search(content), name
        assert str(tmp_path).encode() not in content, name


def test_an_artifact_is_replaced_whole(tmp_path: Path) -> None:
    spak, out = tmp_path / "a.spak", tmp_path / "out"
    spak.write_text(PRODUCT)
    assert invoke("compile", spak, "-o", out).exit_code == 0
    (out / "kernels" / "left_over.cu").write_text("old")
    spak.write_text(PRODUCT.replace("outer_sum", "renamed"))
    assert invoke("compile", spak, "-o", out).exit_code == 0
    assert not [n for n in files_of(out) if "outer_sum" in n or "left_over" in n]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.spak", "out"]


def test_a_mistake_leaves_the_old_artifact(tmp_path: Path) -> None:
    spak, out = tmp_path / "a.spak", tmp_path / "out"
    spak.write_text(PRODUCT)
    invoke("compile", spak, "-o", out)
    before = files_of(out)
    spak.write_text(PRODUCT + "law nonsense: 1 KiB == 2 ms\n")
    assert invoke("compile", spak, "-o", out).exit_code == 1
    assert files_of(out) == before


def test_default_output_and_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.spak").write_text(PRODUCT)
    result = invoke("compile", "mine.spak")
    assert result.exit_code == 0 and "wrote out/mine/artifact" in result.stdout
    assert Path("out/mine/artifact/manifest.json").is_file()
    (row,) = rows(invoke("compile", "mine.spak", "--format", "json").stdout)
    assert row["schema"] == "spak-compiled/1" and row["kernels"]["outer_sum"]["variants"]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("ast", "Kernel("), ("ir", "outer_sum"), ("plan", "outer_sum: product"), ("cuda", "#line")],
)
def test_stages_are_printed_and_nothing_is_written(stage: str, expected: str, tmp_path: Path) -> None:
    spak = tmp_path / "a.spak"
    spak.write_text(PRODUCT)
    result = invoke("compile", spak, "--emit", stage)
    assert result.exit_code == 0 and expected in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["a.spak"]


def test_cubins_ahead_of_time(tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    spak, out = tmp_path / "a.spak", tmp_path / "out"
    spak.write_text(PRODUCT)
    result = invoke("compile", spak, "-o", out, "--arch", "sm_80,sm_90a")
    assert result.exit_code == 0, result.output
    for arch in ("sm_80", "sm_90a"):
        cubins = list((out / "cubin" / arch).glob("*.cubin"))
        assert cubins and all(c.read_bytes().startswith(b"\x7fELF") for c in cubins)


def test_unknown_architecture(tmp_path: Path) -> None:
    spak = tmp_path / "a.spak"
    spak.write_text(PRODUCT)
    result = invoke("compile", spak, "-o", tmp_path / "out", "--arch", "sm_91")
    assert result.exit_code == 1 and "SPAK703" in result.stderr
    assert not (tmp_path / "out").exists()


def test_python_gives_the_same_folder(tmp_path: Path) -> None:
    invoke("compile", MATMUL, "-o", tmp_path / "command")
    compile_file(MATMUL, tmp_path / "function")
    assert files_of(tmp_path / "command") == files_of(tmp_path / "function")
