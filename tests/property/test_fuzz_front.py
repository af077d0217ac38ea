"""Whatever parses, lowering and checking give a module or diagnostics at places of the text, nothing else."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from spakc.check.check import check
from spakc.diagnostics import Sink, SpakError
from spakc.diagnostics.render import render_json
from spakc.driver import load
from spakc.ir.canonical import canonical
from spakc.lower.lower import lower
from spakc.resources import resource
from tests.property.grammar_fuzz import derivation
from tests.property.kin import mutant


def outcome(path: Path) -> list[str]:
    """The codes that a file earns; anything but diagnostics raises."""
    sink = Sink()
    try:
        module = lower(load(path, sink), sink)
        if not sink.has_errors:
            check(module, sink)
            assert canonical(module) == canonical(module)
    except SpakError as error:
        return [d.code for d in error.diagnostics]
    for diagnostic in sink.diagnostics:
        assert diagnostic.labels, diagnostic.code
        assert render_json(diagnostic)
    return [d.code for d in sink.diagnostics] or ["fine"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(Path(str(resource("examples"))), root / "examples")
    return root / "examples"


def test_mutants_of_the_examples(folder: Path) -> None:
    examples = sorted(folder.glob("*/*.spak"))
    texts = [path.read_text() for path in examples]
    outcomes: Counter[str] = Counter()
    for seed in range(100):
        random = Random(seed)
        which = random.randrange(len(examples))
        path = examples[which].with_name("mutant.spak")
        path.write_text(mutant(texts[which], random))
        try:
            outcomes.update(outcome(path))
        except Exception as error:
            raise AssertionError(f"seed {seed}, from {examples[which].name}:\n{path.read_text()}") from error
    behind_the_parser = sum(count for code, count in outcomes.items() if code == "fine" or code >= "SPAK120")
    assert behind_the_parser > 50, outcomes
    assert len(outcomes) > 10, "the fuzzer has become tame"


def test_derivations_of_the_grammar(folder: Path) -> None:
    path = folder / "kernels" / "derived.spak"
    for seed in range(60):
        path.write_text(derivation(seed))
        try:
            outcome(path)
        except Exception as error:
            raise AssertionError(f"seed {seed}:\n{path.read_text()}") from error
