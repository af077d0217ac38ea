"""`spakc claims`: verdicts from recorded figures alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from spakc.evidence import append_evidence, parse_row
from tests.unit.cli.invoke import invoke, rows
from tests.unit.cli.test_run import run, write

MORE = "claim learns: accuracy(e, longer) >= 90%  claim fails: accuracy(e, longer) <= 90%"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file and what one run of it recorded."""
    folder = tmp_path_factory.mktemp("claims")
    assert run(folder, more=MORE).exit_code == 4
    return folder


def verdicts(*arguments: object) -> tuple[int, dict[str, tuple[str, bool]]]:
    result = invoke("claims", *arguments, "--format", "json")
    found = {row["statement"]: (row["verdict"], row["fresh"]) for row in rows(result.stdout)}
    return result.exit_code, found


def test_a_replay_gives_the_verdicts_of_the_run(recorded: Path) -> None:
    code, found = verdicts(recorded / "tiny.spak")
    assert code == 4
    assert found == {
        "claim small": ("holds", True),
        "claim learns": ("violated", True),
        "claim fails": ("holds", True),
    }


def test_figures_decide_and_not_what_was_said_of_them(recorded: Path, tmp_path: Path) -> None:
    """With other counts in the rows, the verdicts turn."""
    shutil.copy(recorded / "tiny.spak", tmp_path)
    changed = []
    for line in (recorded / "tiny.evidence.jsonl").read_text().splitlines():
        row = parse_row(line)
        figures = json.loads(json.dumps(row.figures))
        for quantity in figures.get("quantities", []):
            quantity["hits"] = quantity["totals"]
        changed.append(dataclasses.replace(row, figures=figures))
    append_evidence(tmp_path / "other.jsonl", changed)
    code, found = verdicts(tmp_path / "tiny.spak", "--from", tmp_path / "other.jsonl")
    assert code == 4
    assert found["claim learns"][0] == "holds" and found["claim fails"][0] == "violated"


def test_without_figures_a_claim_is_open(tmp_path: Path) -> None:
    code, found = verdicts(write(tmp_path, more=MORE))
    assert code == 5 and found["claim learns"] == ("undecided", True)


def test_figures_of_another_experiment_are_stale(recorded: Path, tmp_path: Path) -> None:
    shutil.copy(recorded / "tiny.evidence.jsonl", tmp_path)
    code, found = verdicts(write(tmp_path, more=MORE, steps=13))
    assert not found["claim learns"][1]
    assert code == 4  # refuted all the same: by what was measured then


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = invoke("claims", write(tmp_path), "--from", tmp_path / "none.jsonl")
    assert result.exit_code == 1 and result.stderr.count("error[SPAK001]") == 1
