"""`status`, `explain`, `doctor`, `new`."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from spakc.diagnostics.codes import CODES
from tests.unit.cli.invoke import MATMUL, PRODUCT, ROOT, invoke, rows


def test_status_says_every_statement() -> None:
    result = invoke("status", MATMUL)
    assert result.exit_code == 0
    for statement in ("law matmul.no_spills", "verify matmul", "holds      by proof", "undecided"):
        assert statement in result.stdout
    found = rows(invoke("status", MATMUL, "--format", "json").stdout)
    assert len(found) > 10 and len({row["schema"] for row in found}) == 1


def test_status_tells_of_evidence_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.spak").write_text(PRODUCT)
    (tmp_path / "a.evidence.jsonl").write_text("not json\n")
    result = invoke("status", tmp_path / "a.spak")
    assert result.exit_code == 0 and "SPAK901" in result.stderr


@pytest.mark.parametrize("name", ["SPAK201", "spak201", "201"])
def test_explain(name: str) -> None:
    result = invoke("explain", name)
    assert result.exit_code == 0 and result.stdout.startswith(f"SPAK201: {CODES['SPAK201'].title}")
    assert "Wrong:" in result.stdout and "Right:" in result.stdout


def test_explain_as_json() -> None:
    (row,) = rows(invoke("explain", "SPAK201", "--format", "json").stdout)
    assert row["code"] == "SPAK201" and row["why"] == CODES["SPAK201"].why


def test_explain_names_the_nearest_code() -> None:
    result = invoke("explain", "SPAK2011")
    assert result.exit_code == 2 and "SPAK201" in result.stderr


def test_doctor_says_what_is_here() -> None:
    result = invoke("doctor", "--format", "json")
    found = {row["subject"]: row for row in rows(result.stdout)}
    assert {"python", "torch", "gpu", "host compiler", "cache"} <= found.keys()
    assert found["python"]["state"] == "ok"
    assert all(row["state"] in ("ok", "missing", "broken") and row["allows"] for row in found.values())
    assert "python" in invoke("doctor").stdout


def caches(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, tuple[str, str]]:
    """What doctor says of the caches that lie in a folder."""
    monkeypatch.setenv("SPAK_CACHE_DIR", str(folder / "kernels"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    found = rows(invoke("doctor", "--format", "json").stdout)
    return {
        row["subject"]: (row["state"], row["detail"]) for row in found if row["subject"] in ("cache", "kept")
    }


def test_doctor_tries_the_caches_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for state, detail in caches(monkeypatch, tmp_path / "new").values():
        assert state == "ok" and "0.0 MiB in" in detail
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("in the way")
    for state, detail in caches(monkeypatch, tmp_path / "file").values():
        assert state == "broken" and "is no folder" in detail
    for state, _ in caches(monkeypatch, Path("/proc/nothing")).values():
        assert state == "broken"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    for state, detail in caches(monkeypatch, tmp_path / "new").values():
        assert state == "broken" and "0.0 GiB free" in detail


def test_doctor_says_where_nothing_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    for state, detail in caches(monkeypatch, tmp_path).values():
        assert state == "broken" and os.strerror(errno.ENOLCK) in detail


def test_a_new_project_checks_and_compiles(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    result = invoke("new", folder)
    assert result.exit_code == 0 and "spakc check" in result.stdout
    assert [p.name for p in folder.iterdir()] == ["mine.spak"]
    checked = invoke("check", folder / "mine.spak")
    assert checked.exit_code == 0 and checked.stderr == ""
    assert invoke("fmt", "--check", folder / "mine.spak").exit_code == 0
    assert invoke("compile", folder / "mine.spak", "-o", tmp_path / "out").exit_code == 0


@pytest.mark.slow
def test_a_new_project_checks_verifies_and_runs_at_once(tmp_path: Path) -> None:
    """As a user does it: commands in processes of their own, one after the other, in an empty folder."""

    def spakc(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}"}
        command = [sys.executable, "-m", "spakc", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    spakc("new", "mine")
    assert "4 holds (proof)" in spakc("check", "mine/mine.spak")
    verified = spakc("verify", "mine/mine.spak")
    assert "verify linear: holds (8 looked at)" in verified and "0 wrong, 0 not established" in verified
    ran = spakc("run", "mine/mine.spak")
    assert "claim learns" in ran and (tmp_path / "out" / "mine" / "report.html").is_file()
    page = spakc("status", "mine/mine.spak")
    assert re.search(r"\d holds? by cases", page) and "stale" not in page, page


ODD = (
    "../evil",
    "a/../../evil",
    "..",
    "-v",
    ".hidden",
    "a b",
    "a\nb",
    "a\\b",
    "x" * 300,
    "a\nb/mine",
    "$(id)",
    "*",
)


@pytest.mark.parametrize("name", ODD, ids=lambda name: repr(name[:12]))
def test_new_makes_no_project_of_an_odd_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    result = invoke("new", "--", name)
    assert result.exit_code == 1 and result.stderr.count("error[") == 1, result.output
    assert list(tmp_path.rglob("*")) == [inside]


@pytest.mark.parametrize("name", ["mine", "sub/mine", "Größe_2.b", "./mine", "mine/"])
def test_new_makes_a_project_where_it_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("new", name).exit_code == 0
    assert invoke("check", f"{name}/{Path(name).name}.spak").exit_code == 0


def test_new_leaves_alone_what_stands_there(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    result = invoke("new", tmp_path)
    assert result.exit_code == 1 and "SPAK007" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]
    assert invoke("new", tmp_path / "diary.txt").exit_code == 1
