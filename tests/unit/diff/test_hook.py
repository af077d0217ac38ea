"""The hook, the step of CI and the changes that docs/roles.md shows, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spec.test_pages import console

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "roles.md").read_text("utf-8")
EXAMPLE = re.findall(r"^```spak\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
HOOK, STEP = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WEAKER = EXAMPLE.replace("spill_bytes == 0", "spill_bytes <= 64")
FASTER = EXAMPLE.replace("threads in {128, 256}", "threads in {128, 256, 512}")


def test_the_changes_are_told_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.spak").write_text(EXAMPLE)
    shown = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert shown
    for block in shown:
        console(block)


class Project:
    """A git repository with the example in it; `spakc` is on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.file = self.folder / "sub" / "mine.spak"
        bin_ = folder / "bin"
        bin_.mkdir()
        (bin_ / "spakc").write_text(f'#!/bin/sh\nexec {sys.executable} -m spakc "$@"\n')
        (bin_ / "spakc").chmod(0o755)
        self.env = {
            **os.environ,
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}",
            "SPAK_FILE": "sub/mine.spak",
            "SPAK_ROLE": "implementer",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self.file.parent.mkdir(parents=True)
        self.write(EXAMPLE)
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-qm", "first")

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.run(sys.executable, "-m", "spakc", "fmt", str(self.file))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=300
        )

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("git", *arguments)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_hook_lets_through_what_a_role_owns(project: Project) -> None:
    hook = project.folder / ".git" / "hooks" / "pre-commit"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    project.write(WEAKER)
    project.git("add", ".")
    project.write(EXAMPLE)  # what counts is what was added, not what lies in the folder
    refused = project.git("commit", "-qm", "weaker")
    assert refused.returncode == 1 and "SPAK601" in refused.stderr, refused.stderr
    project.write(FASTER)
    project.git("add", ".")
    accepted = project.git("commit", "-qm", "faster")
    assert accepted.returncode == 0, accepted.stderr
    assert project.git("log", "--format=%s").stdout.split() == ["faster", "first"]


def test_the_step_of_ci_judges_by_the_branch_that_is_merged_into(project: Project) -> None:
    project.env["BASE"] = "main"
    project.git("checkout", "-qb", "mine")
    project.write(
        WEAKER.replace("math, law,", "math,").replace("prefer, implement", "prefer, implement, law")
    )
    refused = project.run("sh", "-c", STEP)
    assert refused.returncode == 1 and "SPAK601" in refused.stderr, refused.stderr
    project.git("worktree", "remove", "--force", "base")
    project.write(FASTER)
    accepted = project.run("sh", "-c", STEP)
    assert accepted.returncode == 0, accepted.stderr
