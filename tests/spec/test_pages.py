"""The README and the pages of docs/ done as they say: every file is written, every command and program run, every line
of output looked for. No page has a block that no test runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spakc.cli import cli
from tests.spec.test_spec import PAGES as CHECKED
from tests.unit.cli.invoke import ROOT, invoke

BLOCK = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)

DONE = {"tutorial": ["spak", "console"], "established": ["spak", "console"], "emulator": ["cuda", "python"]}
"""Pages that are done from top to bottom, and the kinds of blocks that must be there."""

ELSEWHERE = {
    "roles": {"spak", "sh", "console"},  # tests/unit/diff/test_hook.py
    "agents": {"json", "sh"},  # tests/unit/agents/test_mcp.py
    "language": {"spak"},  # tests/spec/test_spec.py
}
"""Of other pages: what tests run."""

PICTURES = {"architecture", "emulator"}
"""Pages with blocks of no language: they show how something lies, and there is nothing to run."""

GENERATED = {"diagnostics"}
"""From the code table, whose examples tests/errors runs."""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    for match in BLOCK.finditer(page.read_text("utf-8")):
        yield match[2].split(" ")[0], match[3]


def run(command: str) -> str:
    """What a command of a page prints; it must end as the page says."""
    line, _, note = command.partition("  # ")
    words = shlex.split(line)
    if words[0] != "spakc":
        return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
    result = invoke(*words[1:])
    expected = int(note.removeprefix("exit ")) if note else 0
    assert result.exit_code == expected, f"{command}\n{result.output}"
    return result.stdout + result.stderr


def console(text: str) -> None:
    """Commands behind `$`, and lines that they print."""
    said = ""
    for line in text.splitlines():
        if line.startswith("$ "):
            said = run(line[2:])
        else:
            assert line in said, f"{line!r} is not in\n{said}"


@pytest.mark.parametrize("name", DONE)
def test_a_page_is_done_as_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.fail("the pages need a C++ compiler, as the README says")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": name}
    kinds = []
    for kind, text in blocks(ROOT / "docs" / f"{name}.md"):
        kinds.append(kind)
        match kind:
            case "spak":
                Path("mine.spak").write_text(text)
            case "cuda":
                first = text.splitlines()[0]
                Path(first.removeprefix("// ")).write_text(text)
            case "python":
                exec(compile(text, f"{name}.md", "exec"), names)
            case "console":
                console(text)
            case _:
                assert kind == "" and name in PICTURES, kind
    assert set(DONE[name]) <= set(kinds)


def test_the_readme_is_done_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed are commands and targets that there are; `make run` and `make test` are what CI runs."""
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    kinds = []
    for kind, text in blocks(ROOT / "README.md"):
        kinds.append(kind)
        match kind:
            case "spak":
                Path("mine.spak").write_text(f"spak 1\n{text}")
                result = invoke("check", "mine.spak")
                assert result.exit_code == 0, result.output
            case "python":
                exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
            case _:
                assert kind == "sh"
                for tool, what in re.findall(r"^(\w+) (\w+)", text, re.MULTILINE):
                    assert what in (targets if tool == "make" else cli.commands), f"{tool} {what}"
    assert set(kinds) == {"spak", "python", "sh"}


def test_every_block_is_run_by_a_test() -> None:
    checked = {page.stem for page in CHECKED}
    for page in sorted((ROOT / "docs").glob("*.md")):
        if page.stem in GENERATED:
            continue
        known = {*DONE.get(page.stem, ()), *ELSEWHERE.get(page.stem, ())}
        known |= {""} if page.stem in PICTURES else set()
        known |= {"spak"} if page.stem in checked else set()
        assert {kind for kind, _ in blocks(page)} <= known, page.name


@pytest.mark.parametrize(
    "page",
    [
        "tutorial",
        "language",
        "emulator",
        "established",
        "agents",
        "roles",
        "editors",
        "kernels",
        "architecture",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / "docs" / target).exists(), target
