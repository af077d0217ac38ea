"""The page over the example files: every statement once, nothing that was only parsed looks checked."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spakc.check.statements import statements
from spakc.check.verdict import Verdict
from spakc.diagnostics import Sink
from spakc.driver import check_file
from spakc.evidence import Row, Subject
from spakc.ir.queries import Means
from spakc.status import StatementStatus, render, status, summary

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(str(p.relative_to(EXAMPLES)) for p in EXAMPLES.glob("*/*.spak"))


def page_of(name: str, rows: list[Row] | None = None, sink: Sink | None = None) -> list[StatementStatus]:
    return status(check_file(EXAMPLES / name).module, rows or [], Subject(), sink or Sink())


@pytest.mark.parametrize("name", FILES)
def test_every_statement_is_on_the_page_once(name: str) -> None:
    module = check_file(EXAMPLES / name).module.module
    found = list(statements(module))
    assert set(Counter((s.id, s.target) for s in found).values()) <= {1}
    ids = {s.id for s in found}
    assert {f"claim {c}" for c in module.claims} <= ids
    for kernel in module.kernels.values():
        laws = [*kernel.laws, *(law for s in kernel.schedules.values() for law in s.laws)]
        assert {f"law {law.qualified}" for law in laws} <= ids
        assert (f"verify {kernel.name}" in ids) == (kernel.verification is not None)
    assert [(e.statement.id, e.statement.target) for e in page_of(name)] == [(s.id, s.target) for s in found]


@pytest.mark.parametrize("name", FILES)
def test_without_evidence_only_proofs_and_guards_hold(name: str) -> None:
    for entry in page_of(name):
        known = entry.status
        if known.verdict is not Verdict.undecided:
            assert known.means in (Means.proof, Means.guard) and known.witnesses > 0
        assert not (entry.statement.kind == "intent" and known.means is not Means.none)


@pytest.mark.parametrize("name", FILES)
def test_json_lines_say_the_same_as_the_page(name: str) -> None:
    page = page_of(name)
    for entry in page:
        data = json.loads(json.dumps(entry.to_json()))
        assert data["schema"] == "spak-status/1" and data["verdict"] == entry.status.verdict.value
        assert data["means"] and isinstance(data["witnesses"], int) and len(data["meaning"]) == 32
    text = render(page, width=100)
    assert text.endswith(summary(page) + "\n") and all(len(line) <= 160 for line in text.splitlines()[:-1])


def test_what_the_largest_example_proves() -> None:
    by_id = {(e.statement.id, e.statement.target): e.status for e in page_of("looplm/addition.spak")}
    assert by_id["law matmul.warp_specialized.fits_in_smem", "h100"].witnesses == 1499
    assert not by_id["law matmul.warp_specialized.fits_in_smem", "cpu"].applicable
    assert by_id["law addition.no_leak", ""].verdict is Verdict.holds
    assert by_id["law LoopLM.heads_divide", ""].witnesses > 1
    assert by_id["law fmha.groups", ""].means is Means.guard
    assert by_id["claim twelve_times_smaller", ""].means is Means.proof
    assert by_id["claim twelve_times_smaller", ""].note.startswith("107.022 >= 12")


def a_row(**changes: Any) -> Row:
    fields: dict[str, Any] = {
        "statement": "law matmul.no_spills",
        "kind": "compiled",
        "meaning": next(
            e.statement.meaning for e in page_of("kernels/matmul.spak") if e.statement.target == "h100"
        ),
        "subject": Subject(),
        "figures": {"observations": [{"queries": {"cubin.spill_bytes": 0}, "count": 12}]},
        "target": "h100",
        "device": "sm_90a",
        "date": "2026-11-22T10:00:00Z",
    }
    return Row(**{**fields, **changes})


def of(page: list[StatementStatus], target: str) -> StatementStatus:
    return next(e for e in page if (e.statement.id, e.statement.target) == ("law matmul.no_spills", target))


def test_evidence_is_of_one_target() -> None:
    page = page_of("kernels/matmul.spak", [a_row()])
    assert of(page, "h100").status.verdict is Verdict.holds and of(page, "h100").status.witnesses == 12
    assert (of(page, "h100").device, of(page, "h100").date[:10]) == ("sm_90a", "2026-11-22")
    assert of(page, "a100").status.verdict is Verdict.undecided


def test_order_of_the_file_decides_nothing() -> None:
    spilled = {"observations": [{"queries": {"cubin.spill_bytes": 8}, "count": 1}]}
    rows = [a_row(), a_row(figures=spilled, date="2026-11-22T11:00:00Z")]
    pages = [page_of("kernels/matmul.spak", r) for r in (rows, rows[::-1])]
    assert pages[0] == pages[1] and of(pages[0], "h100").status.verdict is Verdict.violated


def test_figures_that_make_no_sense_are_told_and_ignored() -> None:
    sink = Sink()
    page = page_of("kernels/matmul.spak", [a_row(figures={"observations": 7})], sink)
    assert [d.code for d in sink.diagnostics] == ["SPAK901"] and not sink.has_errors
    assert of(page, "h100").status.verdict is Verdict.undecided


def test_evidence_for_what_is_no_statement_any_more_is_left_alone() -> None:
    assert (
        of(page_of("kernels/matmul.spak", [a_row(statement="law gone")]), "h100").status.verdict
        is Verdict.undecided
    )
