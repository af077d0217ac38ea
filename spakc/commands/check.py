"""`spakc check FILE`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from spakc import driver
from spakc.check.check_space import SpaceKey
from spakc.check.space import Space
from spakc.check.verdict import LawStatus, Verdict
from spakc.cli import show


def run(file: Path, format: str) -> int:
    """Prints what was proved, what is left open and by which means, and what each law cuts."""
    checked = driver.check_file(file)
    show(checked.sink.diagnostics, format == "json")
    laws = [
        *checked.module.laws,
        *(law for data in checked.module.data.values() for law in data.laws),
        *(law for experiment in checked.module.experiments.values() for law in experiment.laws),
    ]
    if format == "json":
        for law in laws:
            click.echo(json.dumps(_row(law)))
        return 0
    for key, space in checked.module.spaces.items():
        click.echo(_space(key, space))
    counts = Counter(
        f"{law.status.verdict.value} ({law.status.means.value})" for law in laws if law.status.applicable
    )
    for law in laws:
        if law.status.applicable and law.status.verdict is Verdict.violated:
            click.echo(f"violated: {law.law.qualified}: {law.status.note}")
    click.echo("laws: " + (", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"))
    return 0


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
