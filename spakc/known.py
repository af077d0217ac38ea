"""What is known of a file now: it is checked, planned and emitted, and the evidence beside it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.diagnostics import Sink
from spakc.evidence import Row, evidence_path, read_evidence
from spakc.plan.plan import Plan
from spakc.record import record
from spakc.status import StatementStatus, status
from spakc.subjects import subject_now


@record
class Known:
    """`files` are those of the artifact, `rows` the evidence, `page` every statement with its verdict."""

    decided: Plan
    files: Mapping[str, str]
    rows: list[Row]
    page: list[StatementStatus]


def known_of(checked: driver.Checked, sink: Sink, evidence: Path | None = None) -> Known:
    """By the rows of `evidence`, or of the file beside the checked one. Warnings about them go to the sink; raises
    SpakError where no plan can be made."""
    decided = driver.plan_file(checked)
    files = driver.emit_files(decided)
    rows = read_evidence(evidence or evidence_path(checked.path), sink)
    page = status(checked.module, rows, subject_now(checked.module, files, BASE_OPTIONS), sink)
    return Known(decided, files, rows, page)
