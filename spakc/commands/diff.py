"""`spakc diff OLD NEW`: what changed, by meaning, and whether a role may make the change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from spakc import driver
from spakc.cli import DIAGNOSTICS, OK, show
from spakc.diagnostics import Sink
from spakc.diff.changes import Change, State, changes, summary
from spakc.diff.difference import Difference
from spakc.diff.entries import Entry
from spakc.diff.ownership import judge, known_role, owner

SCHEMA = "spak-diff/1"


def run(old: Path, new: Path, role: str | None, format: str) -> int:
    """Prints every change. With a role, exit 1 if it may not make one of them."""
    rows, text, sink = compare(driver.check_file(old), driver.check_file(new), role)
    if format == "json":
        for row in rows:
            click.echo(json.dumps(row))
    else:
        click.echo(text)
    show(sink.diagnostics, format == "json")
    return DIAGNOSTICS if sink.has_errors else OK


def compare(
    before: driver.Checked, after: driver.Checked, role: str | None
) -> tuple[list[dict[str, Any]], str, Sink]:
    """The changes as plain data and as text, with what the role may not do in the sink. Raises SpakError where
    there is no such role."""
    roles = before.module.module.roles
    sink = Sink()
    if role is not None:
        place = next((each.span for each in roles.values()), None)
        known_role(role, roles, place, sink)
        sink.stop_if_errors()
    old, new = (State(each.program, each.module, driver.corpora(each)) for each in (before, after))
    found = changes(old, new)
    verdicts = judge(found, role, roles, sink) if role is not None else {}
    rows = [_row(change, owner(change.old or change.entry, roles), verdicts) for change in found]
    return rows, "\n".join([*(_line(change) for change in found), summary(found)]), sink


def _row(change: Change, held_by: str | None, verdicts: dict[str, bool]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "change": change.kind,
        "statement": change.entry.id,
        "kind": change.entry.kind,
        "owner": held_by,
        "allowed": verdicts.get(change.entry.id),
        "altered": change.altered,
        "causes": list(change.causes),
        "detail": change.detail,
        "differences": [_difference(each) for each in change.differences],
        "old": _place(change.old),
        "new": _place(change.new),
    }


def _difference(found: Difference) -> dict[str, str]:
    return {
        "aspect": found.aspect,
        "old": found.old,
        "new": found.new,
        "strength": found.strength.value,
        "allowed": found.allowed,
        "refused": found.refused,
    }


def _place(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {"file": entry.span.source.name, "line": entry.span.line, "text": entry.span.text}


def _line(change: Change) -> str:
    entry = change.entry
    by = f" through {', '.join(change.causes)}" if change.altered and change.causes else ""
    several = (
        [f"\n              {each}" for each in change.differences] if len(change.differences) > 1 else []
    )
    detail = f": {change.detail}" if change.detail and not several else ""
    return f"{change.kind:12}  {entry.id}{by}{detail}  ({entry.span}){''.join(several)}"
