"""`spakc check`, and what every command has in common: exit codes, JSON, few imports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.invoke import ADDITION, EXAMPLES, MATMUL, PRODUCT, ROOT, invoke, rows


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.spak")), ids=lambda p: p.stem)
def test_examples_check(path: Path) -> None:
    result = invoke("check", path)
    assert result.exit_code == 0, result.output
    assert "laws: " in result.stdout and "violated: law" not in result.stdout


def test_laws_as_json() -> None:
    result = invoke("check", MATMUL, "--format", "json")
    found = rows(result.stdout)
    assert {row["schema"] for row in found} == {"spak-law/1", "spak-claim/1"}
    proved = [row for row in found if row.get("law") == "matmul.pipelined.fits_in_smem"]
    assert proved and all(row["verdict"] == "holds" and row["witnesses"] > 0 for row in proved)


def test_a_mistake_is_exit_1_with_places_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "mistake.spak"
    path.write_text(PRODUCT.replace("p[i, l]", "p[i, j, l]"))
    result = invoke("check", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[SPAK301]" in result.stderr and "mistake.spak:9:" in result.stderr and "^" in result.stderr
    (row,) = rows(invoke("check", path, "--format", "json").stderr)
    assert row["code"] == "SPAK301" and row["severity"] == "error"


@pytest.mark.parametrize(
    ("equation", "code"),
    [("r[i, j] = sum[l](exp(p[i, l]) * q[l, j])", "SPAK404"), ("r[i, j] = p[i, 0] * q[0, j]", "SPAK401")],
)
def test_families_are_checked(equation: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "family.spak"
    path.write_text(PRODUCT.replace("r[i, j] = sum[l](p[i, l] * q[l, j])", equation))
    assert code in invoke("check", path).stderr


def test_a_word_that_is_no_command_is_a_usage_error() -> None:
    assert invoke("chekc", MATMUL).exit_code == 2
    assert invoke("check").exit_code == 2
    assert invoke("check", MATMUL, "--format", "xml").exit_code == 2


def test_an_internal_error_leaves_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("sys.argv", ["spakc", "check", str(MATMUL)])
    monkeypatch.setattr("spakc.driver.load", lambda *_: 1 // 0)
    result = invoke("check", MATMUL)
    assert result.exit_code == 70
    assert "mistake in spakc, not in your file" in result.stderr and "Traceback" not in result.output
    (bundle,) = tmp_path.iterdir()
    assert str(bundle) in result.stderr
    assert "ZeroDivisionError" in (bundle / "traceback.txt").read_text()
    assert (bundle / "command.txt").read_text().startswith("spakc check ")
    assert (bundle / "matmul.spak").read_bytes() == MATMUL.read_bytes()


IMPORTED = """
import json, sys
from spakc.cli import cli
try:
    cli({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
json.dump(sorted(sys.modules), open({report!r}, "w"))
"""


def imported(tmp_path: Path, *arguments: str) -> set[str]:
    """Every module that a command imports in a process of its own, with nothing kept by an earlier one."""
    report = tmp_path / "modules.json"
    script = IMPORTED.format(arguments=list(arguments), report=str(report))
    paths = f"{ROOT}{os.pathsep}{ROOT / 'runtime'}"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": paths}
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    return set(json.loads(report.read_text()))


HEAVY = {"torch", "cuda", "hypothesis", "matplotlib", "safetensors", "rich", "pytest", "ml_dtypes"}


def test_check_imports_what_it_needs_and_no_more(tmp_path: Path) -> None:
    """How fast `check` answers is decided by what it imports; a clock on a busy machine would only guess."""
    modules = imported(tmp_path, "check", str(ADDITION))
    assert not HEAVY & modules
    assert not {"jinja2", "spakc.emit.artifact", "spakc.plan.plan", "spakc.verify.oracle"} & modules
    own = {m for m in modules if m.split(".")[0] in ("spakc", "spak_runtime")}
    assert len(own) < 137, sorted(own)
    assert len(modules) < 450


def test_check_of_an_edited_file_needs_no_arrays(tmp_path: Path) -> None:
    """What kernels of used files come to is kept; numpy is a third of what is left then."""
    folder = tmp_path / "looplm"
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.jsonl"))
    file = folder / "seed_table.spak"
    assert "numpy" in imported(tmp_path, "check", str(file))
    file.write_text(file.read_text() + "claim one_more: 2 > 1\n")
    modules = imported(tmp_path, "check", str(file))
    assert not {"numpy", "spakc.plan.recognise", "spakc.plan.templates"} & modules
    assert len(modules) < 300


def test_compile_imports_neither_torch_nor_a_driver(tmp_path: Path) -> None:
    modules = imported(tmp_path, "compile", str(MATMUL), "-o", str(tmp_path / "out"))
    assert not HEAVY & modules
    assert "jinja2" in modules


def test_explain_reads_no_grammar(tmp_path: Path) -> None:
    assert not {"lark", "numpy"} & imported(tmp_path, "explain", "SPAK201")
