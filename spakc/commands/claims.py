"""`spakc claims FILE`: every verdict on a claim, replayed from recorded figures; nothing is run."""

from __future__ import annotations

from pathlib import Path

import click

from spakc import driver
from spakc.check.verdict import Verdict
from spakc.cli import CLAIM_REFUTED, INCONCLUSIVE, show
from spakc.commands.status import tell
from spakc.diagnostics import Sink
from spakc.known import known_of
from spakc.report.table import recorded, render_table
from spakc.status import StatementStatus

BESIDE = "evidence"
"""Says that the evidence is the file that lies beside the `.spak` file."""


def run(file: Path, source: str, format: str) -> int:
    """Exit 4 if a claim is refuted, 5 if one is open or rests on figures of something that has changed since."""
    checked = driver.check_file(file)
    path = None if source == BESIDE else Path(source)
    if path is not None and not path.exists():
        sink = Sink()
        help = f"`{BESIDE}` stands for the file beside `{file.name}`"
        sink.report("SPAK001", f"there is no file `{source}`", None, help=(help,))
        sink.stop_if_errors()
    known = known_of(checked, checked.sink, path)
    claims = [entry for entry in known.page if entry.statement.kind == "claim"]
    show(checked.sink.diagnostics, format == "json")
    tell(claims, format)
    answers = recorded(checked.module, known.rows)
    if answers and format != "json":
        click.echo("\n".join(["exact answers, as recorded", *render_table(answers)]))
    return _exit_code(claims)


def _exit_code(claims: list[StatementStatus]) -> int:
    verdicts = {entry.status.verdict for entry in claims}
    if Verdict.violated in verdicts:
        return CLAIM_REFUTED
    fresh = all(entry.status.fresh for entry in claims)
    return INCONCLUSIVE if Verdict.undecided in verdicts or not fresh else 0
