"""docs/tutorial.md, done as it says: every file is written, every command run, every line of output looked for."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.invoke import ROOT, invoke

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: str) -> str:
    """What a command of the page prints; it must end as the page says."""
    line, _, note = command.partition("  # ")
    words = shlex.split(line)
    if words[0] != "spakc":
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    result = invoke(*words[1:])
    expected = int(note.removeprefix("exit ")) if note else 0
    assert result.exit_code == expected, f"{command}\n{result.output}"
    return result.stdout + result.stderr


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.fail("the tutorial needs a C++ compiler, as the README says")
    monkeypatch.chdir(tmp_path)
    kinds = []
    for kind, text in BLOCK.findall(PAGE):
        kinds.append(kind)
        if kind == "spak":
            Path("mine.spak").write_text(text)
            continue
        said = ""
        for line in text.splitlines():
            if line.startswith("$ "):
                said = run(line[2:])
            else:
                assert line in said, f"{line!r} is not in\n{said}"
    assert kinds.count("spak") == 2 and kinds.count("console") >= 7
