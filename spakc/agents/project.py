"""The project that a server works on: which files are in it, and what a role may write into them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spakc import driver
from spakc.commands.diff import compare
from spakc.diagnostics import Diagnostic, Sink, SpakError
from spakc.implement.source import MOST_BYTES
from spakc.record import record
from spakc.resources import write_atomically
from spakc.source import SourceFile
from spakc.syntax.parse import parse

_SOURCES = frozenset((".cu", ".cuh", ".h"))
"""What a hand-written kernel is made of."""


@record
class Project:
    """`file` is the root file, `folder` what no path of a tool may leave. Both are absolute."""

    file: Path
    folder: Path
    role: str | None

    def path(self, name: str | None) -> Path:
        """The file that a tool names, relative to the folder; the root file for None. Raises SpakError with
        SPAK006 for a path that leaves the folder, links included, with SPAK002 for one that no file can have."""
        if name is None:
            return self.file
        path, sink = driver.absolute(self.folder / name), Sink()
        try:
            path.exists()
            if not Path(os.path.realpath(path)).is_relative_to(self.folder):
                sink.report("SPAK006", f"`{driver.shorten(name)}` leaves the folder of the project", None)
        except (OSError, ValueError):  # too long, a character that no name has
            sink.report("SPAK002", f"`{driver.shorten(name)}` is no name of a file", None)
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
        Raises SpakError for mistakes. One server at a time: what another one writes between judgement and writing
        would be undone without being judged."""
        with self._alone():
            return self._write(name, text)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, name: str | None, text: str) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
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
        """A file that nobody uses yet means nothing yet: its statements are judged when a `use` brings them in, and the
        source of a kernel when an `implement` names it."""
        if path.exists() or not path.parent.is_dir():
            return False
        return path.suffix == ".spak" or (path.suffix in _SOURCES and self._may_implement())

    def _may_implement(self) -> bool:
        role = driver.check_file(self.file).module.module.roles.get(self.role or "")
        return role is not None and "implement" in role.owns

    def _added(self, path: Path, text: str) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
        sink = Sink()
        if path.suffix == ".spak":
            parse(SourceFile(path.name, text, self.shown(path)), sink)
        elif len(text.encode()) > MOST_BYTES:
            sink.report("SPAK003", f"`{self.shown(path)}` is more than {MOST_BYTES} bytes", None)
        return [], sink.diagnostics

    def _own(self, name: str | None) -> Path:
        """A file of the project: the root file, one that it uses by its path, or one that an `implement` names or
        includes."""
        path = self.path(name)
        program = driver.load(self.file, Sink())
        used = {driver.absolute(self.file.parent / each) for each in program.files if each[:1] != "<"}
        if path in used:
            return path
        sources = {Path(each) for each in self._sources()}
        if Path(os.path.realpath(path)) not in sources:
            sink = Sink()
            inside = sorted(each for each in used | sources if each.is_relative_to(self.folder))
            sink.report(
                "SPAK605",
                f"`{driver.shorten(name or '')}` is no file of the project",
                None,
                help=(f"its files are {', '.join(f'`{self.shown(each)}`' for each in inside)}",),
            )
            sink.stop_if_errors()
        return path

    def _sources(self) -> Iterator[str]:
        """Real paths of what hand-written kernels are made of."""
        for each in driver.check_file(self.file).module.hand_written:
            yield from each.files


class Refused(SpakError):
    """A change that was not made, with what it would have been."""

    def __init__(self, rows: list[dict[str, Any]], said: list[Diagnostic]) -> None:
        super().__init__(*said)
        self.rows = rows
