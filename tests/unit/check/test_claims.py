"""Claims that are decided before anything runs: `check` and `status` say the same of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spakc import driver
from spakc.check.check_claims import ClaimStatus
from spakc.check.verdict import Verdict
from spakc.diagnostics import Sink
from spakc.ir.queries import Means
from spakc.status import status
from spakc.subjects import Subject
from tests.unit.cli.invoke import invoke, rows
from tests.unit.models.compiled import adders

HOLDS, VIOLATED, UNDECIDED = Verdict.holds, Verdict.violated, Verdict.undecided


def file_with(folder: Path, claim: str) -> Path:
    path = folder / "adders.spak"
    path.write_text(
        f"{adders()}experiment depths like stack {{ vary layers in {{1, 2}} }}\nclaim it: {claim}\n"
    )
    return path


def checked(folder: Path, claim: str) -> tuple[ClaimStatus, Any]:
    found = driver.check_file(file_with(folder, claim)).module
    known = next(each for each in found.claims if each.claim.name == "it")
    page = status(found, [], Subject({}), Sink())
    return known, next(entry for entry in page if entry.statement.id == "claim it")


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("2 > 1", HOLDS),
        ("1 > 2", VIOLATED),
        ("not 1 > 2", HOLDS),
        ("3 in {1, 2, 3}", HOLDS),
        ("n > 1 for every n in {1, 2}", VIOLATED),
        ("n > 0 for every n in {1, 2}", HOLDS),
        ("parameters(stack) > 1", HOLDS),
        ("parameters(stack) > 1_000_000_000", VIOLATED),
        ("parameters(stack) / parameters(wheel) >= 1_000", VIOLATED),
        ("parameters(depths, layers = n) >= 1 for every n in {1, 2}", HOLDS),
        ("geomean(parameters(depths, layers = n)) >= 1e12 for every n in {1, 2}", VIOLATED),
        ("max_length(sums.long) > 1_000", VIOLATED),
        ("accuracy(stack, long) > 50%", UNDECIDED),
        ("accuracy(stack, long) > 50% and 1 > 2", VIOLATED),
        ("accuracy(stack, long) > 50% and 2 > 1", UNDECIDED),
        ("accuracy(stack, long) > 50% or 2 > 1", HOLDS),
        ("accuracy(stack, long) > 100%", VIOLATED),
        ("accuracy(stack, long) >= 100%", UNDECIDED),
        ("accuracy(stack, long) - accuracy(wheel, long) >= 1.5", VIOLATED),
        ("not accuracy(stack, long) >= 1.5", HOLDS),
        ("accuracy(stack, long) == 2", VIOLATED),
        ("accuracy(stack, long) / accuracy(wheel, long) > 100", UNDECIDED),
        ("max(accuracy(stack, long), 0.5) >= 0.4", HOLDS),
        ("2 * accuracy(stack, long) <= 2", HOLDS),
        ("-accuracy(stack, long) <= 0", HOLDS),
        ("time(stack) < 0 us", VIOLATED),
        ("memory(stack) >= 0 KiB", HOLDS),
    ],
)
def test_what_no_measurement_is_needed_for(tmp_path: Path, claim: str, verdict: Verdict) -> None:
    known, entry = checked(tmp_path, claim)
    assert (known.status.verdict, entry.status.verdict) == (verdict, verdict), known.status.note
    means = Means.measurement if verdict is UNDECIDED else Means.proof
    assert (known.status.means, entry.status.means) == (means, means)
    if verdict is not UNDECIDED:
        assert known.status.witnesses > 0 and known.status.note


def test_a_refuted_point_is_named(tmp_path: Path) -> None:
    known, _ = checked(tmp_path, "n * 2 > m for every n in {1, 5}, m in {2, 3}")
    assert known.status.note == "2 > 2 is false at n = 1, m = 2 (2 of 4 points)"


def test_check_says_what_is_refuted_and_goes_on(tmp_path: Path) -> None:
    path = file_with(tmp_path, "1 > 2")
    result = invoke("check", path)
    assert result.exit_code == 0 and "violated: claim it: 1 > 2 is false" in result.stdout
    row = next(
        row for row in rows(invoke("check", path, "--format", "json").stdout) if row.get("claim") == "it"
    )
    assert row["schema"] == "spak-claim/1" and row["verdict"] == "violated" and row["means"] == "proof"
    assert invoke("claims", path).exit_code == 4


def test_a_broken_law_takes_no_claim_away(tmp_path: Path) -> None:
    path = file_with(tmp_path, "parameters(stack) > 1\nlaw broken: 2 > 3")
    found = driver.check_file(path, but=("SPAK203",))
    assert "SPAK203" in {each.code for each in found.sink.diagnostics}
    assert {each.claim.name: each.status.verdict for each in found.module.claims}["it"] is HOLDS
