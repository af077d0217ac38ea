"""`spakc check FILE`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spakc import driver, kept
from spakc.cli import numpy_without_threads, show
from spakc.diagnostics import Diagnostic, Sink
from spakc.lower.program import Program
from spakc.record import record

if TYPE_CHECKING:
    from spakc.check.check_space import SpaceKey
    from spakc.check.space import Space
    from spakc.check.verdict import LawStatus
    from spakc.ir.module import Implementation


@record
class Outcome:
    """What `check` says of a file: warnings, a line for every space, a row for every law. The sources of
    hand-written kernels are no part of that and read each time."""

    implementations: tuple[Implementation, ...]
    diagnostics: tuple[Diagnostic, ...]
    spaces: tuple[str, ...]
    laws: tuple[dict[str, object], ...]


def run(file: Path, format: str) -> int:
    """Prints what was proved, what is left open and by which means, and what each law cuts."""
    sink = Sink()
    outcome = _outcome(file, driver.load(file, sink), sink)
    show(outcome.diagnostics, format == "json")
    if format == "json":
        for row in outcome.laws:
            click.echo(json.dumps(row))
        return 0
    for line in outcome.spaces:
        click.echo(line)
    applicable = [row for row in outcome.laws if row["applicable"]]
    counts = Counter(f"{row['verdict']} ({row['means']})" for row in applicable)
    for row in applicable:
        if row["verdict"] == "violated":
            click.echo(f"violated: {row['law']}: {row['note']}")
    click.echo("laws: " + (", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"))
    return 0


def _outcome(file: Path, program: Program, sink: Sink) -> Outcome:
    """The outcome for these texts, which may be one that was kept."""
    decides = ("check", *driver.texts(program))
    if isinstance(known := kept.find(*decides), Outcome):
        sink.diagnostics[:] = known.diagnostics  # a source that may not be read is told beside them
        driver.read_by_hand(known.implementations, file, sink)
        return known
    numpy_without_threads()
    checked = driver.check_loaded(file, program, sink)
    laws = [
        *checked.module.laws,
        *(law for data in checked.module.data.values() for law in data.laws),
        *(law for experiment in checked.module.experiments.values() for law in experiment.laws),
    ]
    spaces = (_space(key, space) for key, space in checked.module.spaces.items())
    by_hand = checked.module.module.implementations
    outcome = Outcome(by_hand, tuple(sink.diagnostics), tuple(spaces), tuple(map(_row, laws)))
    kept.keep(outcome, *decides)
    return outcome


def _row(law: LawStatus) -> dict[str, object]:
    status = law.status
    return {
        "schema": "spak-law/1",
        "law": law.law.qualified,
        "subject": law.subject,
        "target": status.target,
        "applicable": status.applicable,
        "verdict": status.verdict.value,
        "means": status.means.value,
        "witnesses": status.witnesses,
        "note": status.note,
    }


def _space(key: SpaceKey, space: Space) -> str:
    kernel, schedule, target = key
    cuts = [f"{cut.law.name} cuts {cut.alone + cut.among}" for cut in space.cuts if cut.alone + cut.among]
    lawful = f"{kernel}.{schedule} on {target}: {space.lawful_points} of {space.points} points are lawful"
    return "; ".join((lawful, *cuts))
