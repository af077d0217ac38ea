"""`spakc status FILE`: the one page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.cli import show
from spakc.evidence import evidence_path, read_evidence
from spakc.status import StatementStatus, render, status
from spakc.subjects import subject_now


def page_of(file: Path, checked: driver.Checked) -> list[StatementStatus]:
    """The status of every statement now, from the evidence beside the file."""
    decided = driver.plan_file(checked)
    now = subject_now(checked.module, driver.emit_files(decided), BASE_OPTIONS)
    rows = read_evidence(evidence_path(file), checked.sink)
    return status(checked.module, rows, now, checked.sink)


def run(file: Path, format: str) -> int:
    """Prints every statement. Exit 0: the page is an answer, whatever it says."""
    checked = driver.check_file(file)
    page = page_of(file, checked)
    show(checked.sink.diagnostics, format == "json")
    if format == "json":
        for entry in page:
            click.echo(json.dumps(entry.to_json()))
    else:
        click.echo(render(page))
    return 0
