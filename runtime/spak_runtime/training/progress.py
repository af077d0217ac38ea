"""What a run tells while it runs: to a terminal a bar, to anything else nothing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol


class Progress(Protocol):
    """Where a run reports. `advance` sets the state of the current task, `say` writes a line that stays."""

    def start(self, task: str, total: int) -> None: ...
    def advance(self, done: int, note: str = "") -> None: ...
    def say(self, text: str) -> None: ...


class Quiet:
    """Keeps the lines, shows nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, task: str, total: int) -> None:
        pass

    def advance(self, done: int, note: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        self.lines.append(text)


class Terminal:
    """A bar while a task runs if standard error is a terminal; lines always. Use as a context."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._console = Console(file=sys.stderr)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Bar(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        )
        self._task = self._bar.add_task("", total=None, note="", visible=False)

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, task: str, total: int) -> None:
        self._bar.reset(self._task, total=total, description=task, note="", visible=True)

    def advance(self, done: int, note: str = "") -> None:
        self._bar.update(self._task, completed=done, note=note)

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)
