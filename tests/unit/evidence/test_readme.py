"""The README's list of statements that are read and decided by nothing is that of the tool."""

from __future__ import annotations

import re
from pathlib import Path

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.check.verdict import Means, Verdict
from spakc.status import status
from spakc.subjects import subject_now

ROOT = Path(__file__).parents[3]
PART_OF_ANOTHER = {"because"}
"""Prose that a law, claim or preference carries: no statement of its own."""


def listed() -> set[str]:
    """The words in code marks of the first column of the table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("shown as `undecided (none)`", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")][2:]
    return {words.split()[0] for row in rows for words in re.findall(r"`([^`]+)`", row)}


def found(path: Path) -> set[str]:
    """Kinds of statements of a file that nothing decides, schedules without a template, families without one."""
    checked = driver.check_file(path)
    decided = driver.plan_file(checked)
    now = subject_now(checked.module, driver.emit_files(decided), BASE_OPTIONS)
    kinds = {
        entry.statement.id.split()[0]
        for entry in status(checked.module, [], now, checked.sink)
        if (entry.status.verdict, entry.status.means) == (Verdict.undecided, Means.none)
    } - {"schedule", "kernel"}
    for kernel in decided.kernels.values():
        kinds |= {each.schedule or kernel.kernel.family for each in kernel.undecided}
    return kinds


SHOWS = """spak 1
model m {
  hyper n_embd = 8
  part same(x: [B, T, n_embd]) -> y: [B, T, n_embd] { y = norm(x) }
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] { logits = unembed(same(embed(tokens)), tied = true) }
}
dataset d { sample a: digits(n) text a, "=", a, end loss after "=" split train n in 1..2 split test n in {3} }
protocol look { gate once { show decoded(batch) } }
experiment e {
  model m
  data d
  protocol look
  train(steps = 2, batch = 2, seeds = {0})
  optimizer adamw()
  lr constant(1e-3)
}
"""


def test_what_nothing_decides_is_listed(tmp_path: Path) -> None:
    shows = tmp_path / "shows.spak"
    shows.write_text(SHOWS)
    files = [*sorted((ROOT / "examples").rglob("*.spak")), shows]
    assert set().union(*map(found, files)) == listed() - PART_OF_ANOTHER
