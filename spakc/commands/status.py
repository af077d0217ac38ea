"""`spakc status FILE`: the one page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.cli import show
from spakc.commands.compile import default_output
from spakc.commands.report_page import write_page
from spakc.evidence import evidence_path, read_evidence
from spakc.status import render, status
from spakc.subjects import subject_now


def run(file: Path, html: Path | None, output: Path | None, format: str) -> int:
    """Prints every statement, and writes the page with the runs of the output folder as `html`. Exit 0: the page
    is an answer, whatever it says."""
    checked = driver.check_file(file)
    decided = driver.plan_file(checked)
    files = driver.emit_files(decided)
    rows = list(read_evidence(evidence_path(file), checked.sink))
    page = status(checked.module, rows, subject_now(checked.module, files, BASE_OPTIONS), checked.sink)
    if html is not None:
        try:
            write_page(
                html, output or default_output(file), checked.module.module, decided, files, page, rows
            )
        except OSError as error:
            checked.sink.report("SPAK007", f"`{html}` cannot be written: {error.strerror}", None)
            checked.sink.stop_if_errors()
    show(checked.sink.diagnostics, format == "json")
    if format == "json":
        for entry in page:
            click.echo(json.dumps(entry.to_json()))
    else:
        click.echo(render(page))
    return 0
