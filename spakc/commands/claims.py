"""`spakc claims FILE`: every verdict on a claim, replayed from recorded figures; nothing is run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.check.verdict import Verdict
from spakc.cli import CLAIM_REFUTED, INCONCLUSIVE, show
from spakc.diagnostics import Sink
from spakc.evidence import evidence_path, read_evidence
from spakc.status import StatementStatus, render, status
from spakc.subjects import subject_now

BESIDE = "evidence"
"""Says that the evidence is the file that lies beside the `.spak` file."""


def run(file: Path, source: str, format: str) -> int:
    """Exit 4 if a claim is refuted, 5 if one is open or rests on figures of something that has changed since."""
    checked = driver.check_file(file)
    path = evidence_path(file) if source == BESIDE else Path(source)
    if source != BESIDE and not path.exists():
        sink = Sink()
        help = f"`{BESIDE}` stands for the file beside `{file.name}`"
        sink.report("SPAK001", f"there is no file `{source}`", None, help=(help,))
        sink.stop_if_errors()
    rows = read_evidence(path, checked.sink)
    files = driver.emit_files(driver.plan_file(checked))
    now = subject_now(checked.module, files, BASE_OPTIONS)
    claims = [e for e in status(checked.module, rows, now, checked.sink) if e.statement.kind == "claim"]
    show(checked.sink.diagnostics, format == "json")
    if format == "json":
        for entry in claims:
            click.echo(json.dumps(entry.to_json()))
    else:
        click.echo(render(claims))
    return _exit_code(claims)


def _exit_code(claims: list[StatementStatus]) -> int:
    verdicts = {entry.status.verdict for entry in claims}
    if Verdict.violated in verdicts:
        return CLAIM_REFUTED
    fresh = all(entry.status.fresh for entry in claims)
    return INCONCLUSIVE if Verdict.undecided in verdicts or not fresh else 0
