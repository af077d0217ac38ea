"""The table of exact answers over seeds, and what it says of positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spakc import driver
from spakc.evidence import Row, Subject
from spakc.report.table import TOLD, entries, recorded, render_table
from tests.unit.models.compiled import adders


def figures(experiment: str, seed: int, correct: int, profile: str | None = None) -> dict[str, Any]:
    row = {"split": "long", "readout": "last", "correct": correct, "n": 1000}
    losses = {"split": "corpus", "readout": "last", "loss": 1.0}
    return {
        "experiment": experiment,
        "point": "",
        "profile": profile,
        "seed": seed,
        "parameters": 1234,
        "rows": [row, losses],
        "hidden": {},
    }


def withheld(experiment: str, seed: int) -> dict[str, Any]:
    """A run as a gate that failed leaves it: without what was asked on the split."""
    left = figures(experiment, seed, 0)
    why = "the gate overfit_smoke failed: 0.125 <= 0.1 is false"
    return left | {"rows": left["rows"][1:], "hidden": {"long": why}}


def module(folder: Path, positions: str) -> Any:
    path = folder / "adders.spak"
    path.write_text(adders(positions=positions))
    return driver.check_file(path).module.module


def test_seeds_of_one_experiment_are_one_row(tmp_path: Path) -> None:
    runs = [
        figures("stack", 0, 1000),
        figures("stack", 1, 997),
        figures("stack", 2, 500),
        figures("wheel", 0, 0),
    ]
    found = entries(module(tmp_path, "rope(10_000)"), runs)
    assert [entry.experiment for entry in found] == ["stack", "wheel"]
    cells = found[0].cells
    assert cells[4] == "50.00% / 99.70% / 100.00%" and cells[6] == "2 of 3"
    low, high = (float(part.rstrip("%")) for part in cells[5].split(" to "))
    assert low < 60 and high == 100, "seeds that disagree make the interval wide"
    assert "rope" in cells[2] and TOLD not in render_table(found)


def test_a_seed_that_a_gate_withholds_is_one_of_the_seeds(tmp_path: Path) -> None:
    runs = [figures("stack", 0, 1000), withheld("stack", 1), figures("stack", 2, 1000)]
    runs += [withheld("wheel", 0), withheld("wheel", 1)]
    found = entries(module(tmp_path, "none"), runs)
    assert [(entry.experiment, entry.cells[6]) for entry in found] == [
        ("stack", "2 of 3, 1 withheld"),
        ("wheel", "0 of 2, 2 withheld"),
    ]
    assert found[0].cells[4] == "100.00% / 100.00% / 100.00%" and found[1].cells[4] == "withheld"
    assert "2 of 3, 1 withheld" in "\n".join(render_table(found))


def test_a_profile_is_a_row_of_its_own(tmp_path: Path) -> None:
    found = entries(module(tmp_path, "none"), [figures("stack", 0, 900), figures("stack", 0, 900, "tiny")])
    assert [entry.experiment for entry in found] == ["stack", "stack tiny"]


def test_positions_that_know_the_task_are_named(tmp_path: Path) -> None:
    found = entries(module(tmp_path, "window(clip = 2, index = digit_run)"), [figures("stack", 0, 1000)])
    assert "digit_run" in found[0].cells[2] and render_table(found)[-1] == TOLD


def test_what_the_evidence_holds_of_claims_is_shown_without_runs(tmp_path: Path) -> None:
    path = tmp_path / "adders.spak"
    claims = "claim long: accuracy(stack, long) >= 50%\nclaim ahead: accuracy(stack, long) > accuracy(wheel, long)\n"
    path.write_text(adders() + claims)
    checked = driver.check_file(path).module

    def row(claim: str, date: str, **hits: list[int]) -> Row:
        counted = [
            {"query": f"accuracy({name}, long)", "at": {}, "hits": found, "totals": [1000] * len(found)}
            for name, found in hits.items()
        ]
        return Row(f"claim {claim}", "values", "", Subject({}), {"quantities": counted}, date=date)

    rows = [
        row("long", "2026-01-02", stack=[900, 1000]),
        row("long", "2026-01-01", stack=[1, 2]),
        row("ahead", "2026-01-02", stack=[900, 1000], wheel=[0, 0]),
        row("gone", "2026-01-02", stack=[5]),
    ]
    found = recorded(checked, rows)
    assert [(entry.experiment, entry.split, entry.counts.hits) for entry in found] == [
        ("stack", "long", (900, 1000)),
        ("wheel", "long", (0, 0)),
    ]
    assert all(entry.parameters > 0 for entry in found)
