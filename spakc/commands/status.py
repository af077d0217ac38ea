"""`spakc status FILE`: the one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from spakc import driver
from spakc.cli import show
from spakc.commands.compile import default_output
from spakc.commands.report_page import write_page
from spakc.known import known_of
from spakc.status import StatementStatus, render


def run(file: Path, html: Path | None, output: Path | None, format: str) -> int:
    """Prints every statement, and writes the page with the runs of the output folder as `html`. Exit 0: the page
    is an answer, whatever it says."""
    checked = driver.check_file(file)
    known = known_of(checked, checked.sink)
    if html is not None:
        out, module = output or default_output(file), checked.module.module
        try:
            write_page(html, out, module, known.decided, known.files, known.page, known.rows)
        except OSError as error:
            checked.sink.report("SPAK007", f"`{html}` cannot be written: {error.strerror}", None)
            checked.sink.stop_if_errors()
    show(checked.sink.diagnostics, format == "json")
    tell(known.page, format)
    return 0


def tell(page: Sequence[StatementStatus], format: str) -> None:
    """Statements for a person, or one object a line for a program."""
    if format == "json":
        for entry in page:
            click.echo(json.dumps(entry.to_json()))
    else:
        click.echo(render(page))
