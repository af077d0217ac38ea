"""The project that a server works on: which files are in it, and what a role may write into them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from spakc import driver
from spakc.commands.diff import compare
from spakc.diagnostics import Diagnostic, Sink, SpakError
from spakc.record import record
from spakc.resources import write_atomically
from spakc.source import SourceFile
from spakc.syntax.parse import parse


@record
class Project:
    """`file` is the root file, `folder` what no path of a tool may leave. Both are absolute."""

    file: Path
    folder: Path
    role: str | None

    def path(self, name: str | None) -> Path:
        """The file that a tool names, relative to the folder; the root file for None. Raises SpakError with
        SPAK006 for a path that leaves the folder, links included."""
        if name is None:
            return self.file
        path = driver.absolute(self.folder / name)
        if not Path(os.path.realpath(path)).is_relative_to(self.folder):
            sink = Sink()
            sink.report("SPAK006", f"`{driver.shorten(name)}` leaves the folder of the project", None)
            sink.stop_if_errors()
        return path

    def shown(self, path: Path) -> str:
        """As a tool names it."""
        return path.relative_to(self.folder).as_posix()

    def propose(
        self, name: str | None, text: str, role: str | None
    ) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
        """What would change by meaning if a file had this text, and what stands against it: mistakes of the
        text, and with a role every change that it may not make."""
        path = self._own(name)
        before = driver.check_file(self.file)
        after = driver.check_file(self.file, {path: text})
        rows, _, sink = compare(before, after, role)
        return rows, [*after.sink.diagnostics, *sink.diagnostics]

    def write(self, name: str | None, text: str) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
        """Writes a file if the project still checks with it and the role may make every change; else nothing.
        Raises SpakError for mistakes."""
        path = self.path(name)
        rows, said = self._added(path, text) if self._is_new(path) else self.propose(name, text, self.role)
        if any(diagnostic.severity == "error" for diagnostic in said):
            raise Refused(rows, said)
        try:
            write_atomically(Path(os.path.realpath(path)), text)
        except OSError as error:
            sink = Sink()
            sink.report("SPAK007", f"`{self.shown(path)}` cannot be written: {error.strerror}", None)
            sink.stop_if_errors()
        return rows, said

    def _is_new(self, path: Path) -> bool:
        """A file that nobody uses yet means nothing yet: its statements are judged when a `use` brings them in."""
        return path.suffix == ".spak" and not path.exists() and path.parent.is_dir()

    def _added(self, path: Path, text: str) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
        sink = Sink()
        parse(SourceFile(path.name, text, self.shown(path)), sink)
        return [], sink.diagnostics

    def _own(self, name: str | None) -> Path:
        """A file of the project: the root file, or one that it uses by its path."""
        path = self.path(name)
        program = driver.load(self.file, Sink())
        used = {driver.absolute(self.file.parent / each) for each in program.files if each[:1] != "<"}
        if path not in used:
            sink = Sink()
            files = ", ".join(
                f"`{self.shown(each)}`" for each in sorted(used) if each.is_relative_to(self.folder)
            )
            sink.report(
                "SPAK605",
                f"`{driver.shorten(name or '')}` is no file of the project",
                None,
                help=(f"its files are {files}",),
            )
            sink.stop_if_errors()
        return path


class Refused(SpakError):
    """A change that was not made, with what it would have been."""

    def __init__(self, rows: list[dict[str, Any]], said: list[Diagnostic]) -> None:
        super().__init__(*said)
        self.rows = rows
