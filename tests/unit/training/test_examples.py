"""The experiments of the examples pass their gates under the profile that needs no GPU; their splits are made smaller
here, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spak_runtime.training.run import run_experiment
from tests.unit.models.compiled import ROOT, compile_path

SEED, DEPTH = (ROOT / f"examples/looplm/{name}.spak" for name in ("seed_table", "depth"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    return {path: compile_path(path).write(tmp_path_factory.mktemp(path.stem)) for path in (SEED, DEPTH)}


@pytest.mark.parametrize(
    "path, name",
    (
        (SEED, "looplm_12"),
        (SEED, "gpt_12_bridge"),
        (SEED, "inject_x0"),
        (DEPTH, "parity_looped"),
        (DEPTH, "sums_looped"),
        (DEPTH, "sums_equal_work"),
        (DEPTH, "products_looped"),
    ),
    ids=lambda each: each if isinstance(each, str) else each.stem,
)
def test_gates_hold_under_the_small_profile(
    folders: dict[Path, Path], path: Path, name: str, tmp_path: Path
) -> None:
    described = folders[path] / name / "experiment.json"
    data = json.loads(described.read_text())
    for split in data["data"]["splits"].values():
        split["size"] = 20
    described.write_text(json.dumps(data))
    figures = run_experiment(folders[path] / name, tmp_path, profile="cpu")
    assert figures["passed"] and not figures["hidden"], figures["gates"]
    assert {row["split"] for row in figures["rows"]} == set(data["data"]["splits"])
    looped = [row for row in figures["rows"] if "by_loops" in row]
    assert bool(looped) == (path == SEED and name != "gpt_12_bridge")
