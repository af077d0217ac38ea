"""`spakc check FILE`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spakc import driver, kept
from spakc.cli import numpy_without_threads, show
from spakc.diagnostics import Diagnostic, Sink
from spakc.lower.program import Program
from spakc.record import record

if TYPE_CHECKING:
    from spakc.check.check_claims import ClaimStatus
    from spakc.check.check_space import SpaceKey
    from spakc.check.space import Space
    from spakc.check.verdict import LawStatus, Status
    from spakc.ir.module import Implementation


@record
class Outcome:
    """What `check` says of a file: warnings, a line for every space, a row for every law and every claim. The sources
    of hand-written kernels are no part of that and read each time."""

    implementations: tuple[Implementation, ...]
    diagnostics: tuple[Diagnostic, ...]
    spaces: tuple[str, ...]
    laws: tuple[dict[str, object], ...]
    claims: tuple[dict[str, object], ...]


def run(file: Path, format: str) -> int:
    """Prints what was proved, what is left open and by which means, and what each law cuts."""
    sink = Sink()
    outcome = _outcome(file, driver.load(file, sink), sink)
    show(outcome.diagnostics, format == "json")
    if format == "json":
        for row in (*outcome.laws, *outcome.claims):
            click.echo(json.dumps(row))
        return 0
    for line in outcome.spaces:
        click.echo(line)
    _tell("law", [row for row in outcome.laws if row["applicable"]])
    if outcome.claims:
        _tell("claim", outcome.claims)
    return 0


def _tell(kind: str, rows: Sequence[dict[str, object]]) -> None:
    """Those that are violated one by one, of all how many there are of each verdict and means."""
    for row in rows:
        if row["verdict"] == "violated":
            target = f" on {row['target']}" if row["target"] else ""
            click.echo(f"violated: {kind} {row[kind]}{target}: {row['note']}")
    counts = Counter(f"{row['verdict']} ({row['means']})" for row in rows)
    click.echo(f"{kind}s: " + (", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"))


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
    claims = tuple(map(_of_claim, checked.module.claims))
    outcome = Outcome(by_hand, tuple(sink.diagnostics), tuple(spaces), tuple(map(_of_law, laws)), claims)
    kept.keep(outcome, *decides)
    return outcome


def _of_law(law: LawStatus) -> dict[str, object]:
    return {
        "schema": "spak-law/1",
        "law": law.law.qualified,
        "subject": law.subject,
        "target": law.status.target,
        "applicable": law.status.applicable,
        **_known(law.status),
    }


def _of_claim(claim: ClaimStatus) -> dict[str, object]:
    return {
        "schema": "spak-claim/1",
        "claim": claim.claim.name,
        "target": claim.status.target,
        **_known(claim.status),
    }


def _known(status: Status) -> dict[str, object]:
    return {
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
