"""The hook, the step of CI and the changes that docs/roles.md shows, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.spec.test_pages import console

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "roles.md").read_text("utf-8")
EXAMPLE = re.findall(r"^```spak\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
HOOK, STEP = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
GATE = ROOT / "examples" / "agents" / "merge_gate.sh"
WORKFLOW = GATE.with_suffix(".yml")
ZEROS = """#include "spak/primitives.cuh"
using namespace spak;
struct Params { const f32* x; f32* y; i64 elements; };
SPAK_KERNEL(zeros, Params, 256) {
  for (i64 i = thread_index(); i < params.elements; i += 256) store(params.y + i, 0.0f);
}
"""
BOUND = """implement twice as mine on h100 {
  source = "mine.cu"  entry = "zeros"  grid = 1  threads = 256  arguments = (x, y, N)
}
"""
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

    def gate(self, base: str = "main") -> subprocess.CompletedProcess[str]:
        """The line of the page, where the gate is at hand."""
        self.env["BASE"] = base
        return self.run("sh", "-c", STEP.replace("merge_gate.sh", str(GATE)))

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


def test_the_gate_judges_by_what_is_merged_into_and_replays(project: Project) -> None:
    project.env["BASE"] = "main"
    project.git("checkout", "-qb", "mine")
    project.write(
        WEAKER.replace("math, law,", "math,").replace("prefer, implement", "prefer, implement, law")
    )
    project.git("commit", "-qam", "weaker")
    refused = project.gate()
    assert refused.returncode == 1 and "SPAK601" in refused.stderr, refused.stderr
    project.write(FASTER)
    evidence = project.file.with_suffix(".evidence.jsonl")
    evidence.write_text("forged\n")
    project.git("add", ".")
    project.git("commit", "-qm", "faster")
    accepted = project.gate()
    assert accepted.returncode == 0, accepted.stderr
    assert "SPAK901" not in accepted.stderr, "no row that came with the change was read"
    assert "verify twice" in accepted.stdout and "holds" in accepted.stdout.split("verify twice")[-1]
    assert "SPAK901" in project.run("spakc", "status", str(project.file)).stderr
    assert evidence.read_text() == "forged\n" and not (project.folder / "base").exists()


def test_no_attribute_of_git_and_no_link_makes_the_gate_see_other_files(project: Project) -> None:
    """An archive writes what `$Format$` says where an attribute asks for it; a link from the old state may lead to the
    files of the new one."""
    hidden = EXAMPLE.replace("cubin.spill_bytes == 0", "cubin.spill_bytes == 0  # $Format:%n or true $")
    project.write(hidden)
    (project.folder / ".gitattributes").write_text("*.spak export-subst\n")
    project.git("add", ".")
    project.git("commit", "-qm", "a comment and an attribute")
    refused = project.gate("main~1")
    assert refused.returncode == 1 and ".gitattributes" in refused.stderr, refused.stderr
    project.write(EXAMPLE.replace("cubin.spill_bytes == 0", "cubin.spill_bytes == 0 or true"))
    project.git("commit", "-qam", "what the archive of the last state says")
    refused = project.gate("main~1")
    assert refused.returncode == 1 and "SPAK601" in refused.stderr, refused.stdout + refused.stderr

    project.write(EXAMPLE)
    (project.folder / "elsewhere.spak").write_text(project.file.read_text())
    project.file.unlink()
    project.file.symlink_to(project.folder / "elsewhere.spak")
    project.git("add", ".")
    project.git("commit", "-qm", "a link into the checkout")
    refused = project.gate("main~1")
    assert refused.returncode == 1 and "a link that leads out" in refused.stderr, refused.stderr
    project.file.unlink()
    project.file.symlink_to("../elsewhere.spak")
    project.git("commit", "-qam", "a link within")
    within = project.gate("main")
    assert "a link that leads out" not in within.stderr and "nothing changed" in within.stdout, within.stderr


def test_the_gate_finds_a_kernel_that_pretends(project: Project) -> None:
    """The change brings evidence that says it was verified; here it is a kernel that writes zeros."""
    project.env["BASE"] = "main"
    project.write(EXAMPLE + BOUND)
    (project.file.parent / "mine.cu").write_text(ZEROS)
    project.git("add", ".")
    project.git("commit", "-qm", "by hand")
    refused = project.gate("main~1")
    assert refused.returncode == 3 and "SPAK80" in refused.stdout + refused.stderr, (
        refused.stdout + refused.stderr
    )


def test_the_workflow_runs_the_gate_of_the_base(project: Project) -> None:
    """Its last step, as a runner would do it."""
    step = textwrap.dedent(WORKFLOW.read_text().partition("        run: |\n")[2])
    assert step.startswith("# The gate and the roles")
    workflows = project.folder / ".github" / "workflows"
    workflows.mkdir(parents=True)
    (workflows / "merge_gate.sh").write_text(GATE.read_text())
    (project.folder / ".github" / "spak-roles").write_text("ann architect\nivo implementer\n")
    project.git("add", ".")
    project.git("commit", "-qm", "the gate")
    project.git("checkout", "-qb", "mine")
    project.write(WEAKER)
    (workflows / "merge_gate.sh").write_text("exit 0\n")
    (project.folder / ".github" / "spak-roles").write_text("eve architect\nivo architect\n")
    project.git("commit", "-qam", "weaker, and the gate open")
    temp = project.folder.parent / "runner"
    temp.mkdir()
    project.env |= {"BASE": "main", "RUNNER_TEMP": str(temp)}
    for login, code, said in (
        ("ivo", 1, "SPAK601"),
        ("eve", 1, "has no role"),
        ("ann", 0, "law twice.no_spills"),
    ):
        project.env["LOGIN"] = login
        done = project.run("sh", "-e", "-c", step)
        assert done.returncode == code and said in done.stdout + done.stderr, (
            login,
            done.stdout,
            done.stderr,
        )
