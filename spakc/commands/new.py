"""`spakc new FOLDER`: a small project that checks, compiles and runs."""

from __future__ import annotations

import re
from pathlib import Path

import click

from spakc import driver
from spakc.diagnostics import Sink
from spakc.resources import resource

_NAME = re.compile(r"\w[\w.-]{0,79}")
"""Of the project's file, which other files and commands name."""


def run(folder: Path) -> int:
    """Writes `<folder>/<folder's name>.spak`. SPAK006 for a folder that leaves the one where the command runs by `..`,
    SPAK007 for a name that is none, and where something already stands."""
    sink = Sink()
    name = driver.absolute(folder).name
    shown = driver.shorten(repr(str(folder))[1:-1])
    if ".." in folder.parts:
        help_ = "go to the folder that it shall lie in, or write the whole path"
        sink.report("SPAK006", f"`{shown}` leaves this folder", None, help=(help_,))
    elif not all(map(_NAME.fullmatch, (name, *(() if folder.is_absolute() else folder.parts)))):
        help_ = (
            "a name is up to 80 letters, digits, `_`, `-` and `.`, and begins with a letter, a digit or `_`"
        )
        sink.report("SPAK007", f"`{shown}` is no name for a project", None, help=(help_,))
    sink.stop_if_errors()
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
