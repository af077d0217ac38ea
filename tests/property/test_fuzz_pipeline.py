"""Whatever the file, the whole compiler gives an artifact or diagnostics; anything else is a defect of it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from spakc import driver
from spakc.diagnostics import SpakError
from spakc.diagnostics.render import render_json, render_text
from spakc.resources import resource
from tests.property.grammar_fuzz import derivation, mutant

SEEDS = range(5_000, 5_040)
BEHIND_THE_PARSER = "SPAK120"
"""The first code that is not the parser's."""


def outcome(path: Path) -> str:
    """ "compiled", or the first code. Raises what is neither an artifact nor a diagnostic."""
    try:
        files = driver.emit_files(driver.plan_file(driver.check_file(path)))
    except SpakError as error:
        assert any(d.severity == "error" for d in error.diagnostics)
        assert render_text(error.diagnostics)
        assert all(json.loads(render_json(d)) for d in error.diagnostics)
        return next(d.code for d in error.diagnostics if d.severity == "error")
    assert "manifest.json" in files
    return "compiled"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a file may use the examples by their relative paths."""
    root: Path = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(Path(str(resource("examples"))), root / "examples")
    return root / "examples" / "kernels" / "fuzz.spak"


@pytest.mark.parametrize("make", [derivation, mutant])
def test_an_artifact_or_diagnostics(make: Callable[[int], str], place: Path) -> None:
    outcomes: Counter[str] = Counter()
    for seed in SEEDS:
        place.write_text(make(seed))
        try:
            outcomes[outcome(place)] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed} of {make.__name__}:\n{make(seed)}") from error
    past = sum(n for code, n in outcomes.items() if code == "compiled" or code >= BEHIND_THE_PARSER)
    assert past >= 0.3 * len(SEEDS), outcomes
