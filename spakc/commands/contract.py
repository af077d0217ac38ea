"""`spakc contract FILE --role R`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from spakc import driver
from spakc.check.statements import statements
from spakc.cli import show
from spakc.contract.contract import Known, contract
from spakc.contract.markdown import render
from spakc.diagnostics import Sink
from spakc.evidence import Row, Subject
from spakc.known import known_of
from spakc.status import status
from spakc.subjects import tool_parts
from spakc.tune.fresh import fresh
from spakc.tune.preferences import Weighed, preferences_of

_BROKEN_LAWS = ("SPAK202", "SPAK203")
"""Laws that leave no point of a schedule, and refuted ones: what the page of such a file is read for."""


def run(file: Path, role: str, format: str) -> int:
    """Prints the contract. Exit 0: it is an answer, whatever it says; 1 where laws of the file are broken, which the
    page says as well."""
    data, sink = contract_of(file, role)
    show(sink.diagnostics, format == "json")
    click.echo(json.dumps(data, indent=1) if format == "json" else render(data), nl=format == "json")
    return int(sink.has_errors)


def contract_of(file: Path, role: str) -> tuple[dict[str, Any], Sink]:
    """The contract of a file as data, with what was said while it was made."""
    checked = driver.check_file(file, but=_BROKEN_LAWS)
    if checked.sink.has_errors:  # nothing can be emitted, so that no evidence can be judged
        page = status(checked.module, (), Subject.of(tool_parts()), checked.sink)
        return contract(Known(checked.program, checked.module, tuple(page)), role), checked.sink
    known = known_of(checked, checked.sink)
    told = Known(checked.program, checked.module, tuple(known.page), _preferences(checked, known.rows))
    return contract(told, role), checked.sink


def _preferences(checked: driver.Checked, rows: Sequence[Row]) -> dict[str, list[Weighed]]:
    """What times that still hold say of every `prefer`, by the id of its statement."""
    module = checked.module.module
    holding = fresh(checked, rows, driver.emit_files)
    found = preferences_of(module.kernels.values(), holding)
    ids = {(*s.kernels, s.schedule, s.body): s.id for s in statements(module) if s.kind == "prefer"}
    return {ids[name]: calls for name, calls in found.items()}
