"""What is known of an open file: its names, what checking said, and lazily its page of status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spakc import driver
from spakc.diagnostics import Diagnostic, Sink, SpakError
from spakc.lsp.names import Names
from spakc.resources import resource
from spakc.status import StatementStatus

_NAMED_ALL_THE_SAME = ("SPAK115",)
"""Mistakes of a text that parses: it is known what a name means that a value cannot have."""


@dataclass(slots=True)
class State:
    """An open file as it was looked at last. `names` are those of the last text that parsed, `checked` is None where
    checking found an error."""

    path: Path
    texts: Mapping[Path, str]  # those that the editor held, this file's among them
    diagnostics: tuple[Diagnostic, ...] = ()
    names: Names | None = None
    checked: driver.Checked | None = None
    current: bool = True  # whether `names` are those of the file's text
    _page: list[StatementStatus] | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        return self.texts.get(self.path, "")

    def page(self) -> list[StatementStatus]:
        """The page of status, planned and emitted when it is first asked for; empty where that fails."""
        if self._page is None:
            self._page = _page(self.checked) if self.checked is not None else []
        return self._page


def look(path: Path, overlay: Mapping[Path, str], before: State | None = None) -> State:
    """Checks a file with the texts that the editor holds. Never raises for what a file says."""
    sink = Sink()
    try:
        program = driver.load(path, sink, overlay, but=_NAMED_ALL_THE_SAME)
    except SpakError as error:
        old = before.names if before is not None else None
        return State(path, overlay, error.diagnostics, old, None, current=False)
    names = Names(program)
    try:
        sink.stop_if_errors()
        checked = driver.check_loaded(path, program, sink, keep=False, overlay=overlay)
    except SpakError as error:
        return State(path, overlay, error.diagnostics, names)
    return State(path, overlay, tuple(checked.sink.diagnostics), names, checked)


def path_of(name: str, root: Path) -> Path | None:
    """The file of a source's name: relative to the folder of the root file, or a module of the compiler."""
    if name.startswith("<std."):
        return resource("examples") / "std" / f"{name[5:-1]}.spak"
    return driver.absolute(root.parent / name) if not name.startswith("<") else None


def _page(checked: driver.Checked) -> list[StatementStatus]:
    from spakc.known import known_of

    try:
        return known_of(checked, Sink()).page
    except SpakError:
        return []
