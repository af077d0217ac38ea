"""The source distribution, the wheel made from it, and the wheel used from a folder of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("build", "hatchling")), reason="needs the extra `dev`"
)


def python(*arguments: str | Path, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment |= {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` makes, without asking a network for the build tools."""
    out: Path = tmp_path_factory.mktemp("dist")
    done = python("-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: Path = tmp_path_factory.mktemp("installed")
    (wheel,) = dist.glob("*.whl")
    done = python("-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel, cwd=dist)
    assert done.returncode == 0, done.stderr
    return target


def shipped(folder: str, pattern: str) -> set[str]:
    """Files of the checkout below a folder, by their path in it."""
    root = ROOT / folder
    return {p.relative_to(root).as_posix() for p in root.rglob(pattern) if "__pycache__" not in p.parts}


def test_the_wheel_holds_everything_that_the_tool_reads(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, inside in (
        ("grammar", "spakc/_data/grammar"),
        ("templates", "spakc/_data/templates"),
        ("examples", "spakc/_data/examples"),
        ("runtime/spak_runtime/emulator", "spak_runtime/emulator"),
    ):
        wanted = {f"{inside}/{n}" for p in ("*.lark", "*.spak", "*.j2", "*.h", "*.cuh", "*.cpp", "*.py")
                  for n in shipped(folder, p)}  # fmt: skip
        assert wanted and not wanted - names
    assert {
        "spakc/py.typed",
        "spak_runtime/py.typed",
        "spakc/_data/spak.tables",
        "spakc/_data/spak.machine",
    } <= names
    assert not [n for n in names if n.startswith(("tests/", "runtime/")) or n.endswith(".pyc")]


def test_the_source_distribution_holds_the_tests(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {"Makefile", "README.md", "LICENSE", "constraints.txt", "hatch_build.py", "tests/conftest.py"}
    assert wanted <= names
    assert {f"tests/{name}" for name in shipped("tests", "*.py")} <= names
    assert not [n for n in names if n.startswith((".venv/", "out/"))]


def test_used_from_another_folder(installed: Path, tmp_path: Path) -> None:
    where = python("-c", "import spakc, spak_runtime; print(spakc.__file__, spak_runtime.__file__)",
                   cwd=tmp_path, path=installed)  # fmt: skip
    assert where.stdout.count(str(installed)) == 2, where.stdout + where.stderr
    for arguments in (
        ("new", "mine"),
        ("check", "mine/mine.spak"),
        ("compile", "mine/mine.spak", "-o", "out"),
        ("explain", "SPAK101"),
    ):
        done = python("-m", "spakc", *arguments, cwd=tmp_path, path=installed)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "manifest.json").is_file()
    loaded = python(
        "-c", "import spak_runtime; spak_runtime.load('out').linear", cwd=tmp_path, path=installed
    )
    assert loaded.returncode == 0, loaded.stderr


def test_kernels_that_judge_and_kernels_that_pretend_are_installed(installed: Path) -> None:
    here = Path(__file__).parents[2]
    for name in ("judges/*.spak", "cheats/*.spak", "cheats/*.cu"):
        wanted = {path.name for path in (here / "spakc" / "selftest").glob(name)}
        assert wanted and wanted == {path.name for path in (installed / "spakc" / "selftest").glob(name)}


def test_the_command_is_installed(installed: Path) -> None:
    assert (installed / "bin" / "spakc").is_file()
    (metadata,) = installed.glob("spakc-*.dist-info/METADATA")
    text = metadata.read_text()
    assert "Requires-Dist: torch<3,>=2.11" in text and "Requires-Python: >=3.11" in text
