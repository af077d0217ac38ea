"""A point of a sweep is an experiment of its own: its runs are no seeds of another point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spakc import driver
from spakc.check.verdict import Verdict
from spakc.diagnostics import SpakError
from spakc.records import Finished, Where, rows_of
from spakc.subjects import Subject
from spakc.verdicts import judge_claim
from tests.unit.models.compiled import adders

SWEEP = "experiment depths like stack { vary layers in {1, 2} }\n"


def checked(folder: Path, claims: str, sweep: str = SWEEP) -> Any:
    path = folder / "adders.spak"
    path.write_text(adders() + sweep + claims)
    return driver.check_file(path)


def run(experiment: str, point: str, seed: int, correct: int, readout: str = "last") -> Finished:
    rows = [{"split": split, "readout": readout, "correct": correct, "n": 100} for split in ("long", "train")]
    figures = {
        "experiment": experiment,
        "point": point,
        "profile": None,
        "seed": seed,
        "rows": rows,
        "gates": [],
        "memory": None,
        "device": "cpu",
        "versions": {},
        "date": "2026-01-01T00:00:00+00:00",
    }
    return Finished(experiment, figures)


RUNS = [
    *(run("depths", "layers=1", seed, 10) for seed in (0, 1)),
    *(run("depths", "layers=2", seed, 90) for seed in (0, 1)),
    run("stack", "", 0, 50),
]


def quantities(found: Any, name: str) -> list[dict[str, Any]]:
    rows = rows_of(found.module.module, RUNS, Subject({}), Where("", ""))
    return [q for row in rows if row.statement == f"claim {name}" for q in row.figures["quantities"]]


def test_a_claim_counts_the_runs_of_the_point_that_it_names(tmp_path: Path) -> None:
    found = checked(
        tmp_path, "claim deep: accuracy(depths, long, layers = 2) > accuracy(depths, long, layers = 1)\n"
    )
    deep, flat = quantities(found, "deep")
    assert deep["hits"] == [90, 90] and flat["hits"] == [10, 10]


def test_a_quantifier_runs_over_points_and_over_splits(tmp_path: Path) -> None:
    text = "claim all: accuracy(depths, s, layers = n) >= 50% for every n in {1, 2}, s in {long, train}\n"
    found = checked(tmp_path, text)
    asked = quantities(found, "all")
    assert [(q["at"], q["hits"]) for q in asked] == [
        ({"n": n, "s": s}, hits) for n, hits in ((1, [10, 10]), (2, [90, 90])) for s in ("long", "train")
    ]
    judged = judge_claim(found.module.module.claims["all"], [{"quantities": asked}])
    assert judged.verdict is Verdict.violated and "2 of 4 points" in judged.note


def test_parameters_of_a_sweep_are_those_of_its_point(tmp_path: Path) -> None:
    from spakc.check.check_experiment import compile_time_counts

    found = checked(tmp_path, "claim more: parameters(depths, layers = n) >= 1 for every n in {1, 2}\n")
    claim = found.module.module.claims["more"]
    judged = judge_claim(claim, [], compile_time_counts(found.module.experiments, found.module.data))
    assert judged.verdict is Verdict.holds and judged.witnesses == 2


@pytest.mark.parametrize(
    "claim",
    (
        "accuracy(depths, long) >= 1%",
        "accuracy(depths, long, layers = 3) >= 1%",
        "accuracy(depths, long, layers = n) >= 1% for every n in {1, 4}",
        "parameters(depths) >= 1",
    ),
)
def test_a_claim_about_no_point_of_a_sweep_is_a_diagnostic(tmp_path: Path, claim: str) -> None:
    with pytest.raises(SpakError) as error:
        checked(tmp_path, f"claim c: {claim}\n")
    assert [d.code for d in error.value.diagnostics] == ["SPAK554"]


def test_what_an_experiment_is_like_varies_too(tmp_path: Path) -> None:
    found = checked(
        tmp_path,
        "claim c: accuracy(more, long, layers = 2) >= 1%\n",
        SWEEP + "experiment more like depths { train(steps = 7) }\n",
    )
    assert found.module.module.claims["c"]


def test_a_name_that_nothing_varies_is_an_unknown_argument(tmp_path: Path) -> None:
    with pytest.raises(SpakError) as error:
        checked(tmp_path, "claim c: accuracy(stack, long, layers = 2) >= 1%\n")
    assert [d.code for d in error.value.diagnostics] == ["SPAK129"]


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ('accuracy(depths, long, layers = "1") > 1%', "SPAK554"),
        ("parameters(depths, layers = depths) > 1", "SPAK317"),
        ("accuracy(stack, s) > 1% for every s in {long, lung}", "SPAK120"),
        ("accuracy(stack, s) > 1% for every s in {3}", "SPAK120"),
        ("accuracy(stack, s) > 1% for every s in {long, stack}", "SPAK305"),
        ("accuracy(wheel, long, loops = t) > 1% for every t in {1 // 0}", "SPAK305"),
        ("accuracy(wheel, long, loops = 0) > 1%", "SPAK129"),
        ("accuracy(wheel, long, loops = t) > 1% for every t in 0..2", "SPAK129"),
        ("accuracy(wheel, long, loops = 1.5) > 1%", "SPAK129"),
        ("accuracy(wheel, long, loops = 1_000_000_000) > 1%", "SPAK129"),
        ("accuracy(stack, long, loops = 2) > 1%", "SPAK129"),
        ("accuracy(stack, long, readout = exit) > 1%", "SPAK129"),
    ],
)
def test_what_no_run_can_answer(tmp_path: Path, claim: str, code: str):
    with pytest.raises(SpakError) as found:
        checked(tmp_path, f"claim it: {claim}\n")
    assert [each.code for each in found.value.diagnostics] == [code]


def test_what_runs_can_answer(tmp_path: Path):
    checked(
        tmp_path, "claim it: accuracy(wheel, s, loops = t) > 1% for every (s, t) in {(long, 1), (held, 9)}\n"
    )
