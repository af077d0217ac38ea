"""`spakc new FOLDER`: a small project that checks, compiles and runs."""

from __future__ import annotations

from pathlib import Path

import click

from spakc.diagnostics import Sink
from spakc.resources import resource


def run(folder: Path) -> int:
    """Writes `<folder>/<folder's name>.spak`. SPAK007 where something already stands."""
    sink = Sink()
    name = folder.resolve().name
    target = folder / f"{name}.spak"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            sink.report("SPAK007", f"`{folder}` is not empty, so it is left alone", None)
            sink.stop_if_errors()
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text((resource("templates") / "project" / "project.spak").read_text("utf-8"), "utf-8")
    except OSError as error:
        sink.report("SPAK007", f"`{target}` cannot be written: {error.strerror}", None)
        sink.stop_if_errors()
    click.echo(f"wrote {target}\nnext: spakc check {target}\n      spakc run {target}")
    return 0
