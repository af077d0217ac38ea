"""What earns the codes of evidence files, for the test of the code table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from spakc.diagnostics import CODES, Sink
from spakc.evidence import evidence_path, read_evidence


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


EVIDENCE: dict[str, Callable[[Path], list[str]]] = {
    "SPAK901": damaged,
    "SPAK902": cut_off,
    "SPAK903": unreadable,
}
