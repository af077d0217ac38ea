"""What earns the codes of evidence files, for the test of the code table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from spakc.diagnostics import Sink, SpakError
from spakc.diagnostics.codes import CODES
from spakc.evidence import Row, Subject, append_evidence, evidence_path, read_evidence


def _codes(spak: Path) -> list[str]:
    sink = Sink()
    read_evidence(evidence_path(spak), sink)
    return [d.code for d in sink.diagnostics]


def damaged(folder: Path) -> list[str]:
    spak = folder / "wrong.spak"
    evidence_path(spak).write_text(CODES["SPAK901"].wrong + "\n")
    return _codes(spak)


def cut_off(folder: Path) -> list[str]:
    spak = folder / "wrong.spak"
    evidence_path(spak).write_text(CODES["SPAK902"].wrong)
    return _codes(spak)


def unreadable(folder: Path) -> list[str]:
    spak = folder / "wrong.spak"
    evidence_path(spak).mkdir()
    return _codes(spak)


def unwritable(folder: Path) -> list[str]:
    spak = folder / "wrong.spak"
    evidence_path(spak).mkdir()
    try:
        append_evidence(evidence_path(spak), [Row("law l", "compiled", "m", Subject(), {})])
    except SpakError as error:
        return [d.code for d in error.diagnostics]
    return []


EVIDENCE: dict[str, Callable[[Path], list[str]]] = {
    "SPAK901": damaged,
    "SPAK902": cut_off,
    "SPAK903": unreadable,
    "SPAK904": unwritable,
}
