"""Whatever the text, the syntax gives a tree or one diagnostic, and both can be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest

from spakc.diagnostics import Sink
from spakc.diagnostics.render import render_json, render_text
from spakc.source import SourceFile
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import parse
from tests.property.grammar_fuzz import derivation, mutant

SEEDS = 250


def outcome(make: Callable[[int], str], seed: int) -> str:
    """ "parsed", or the code of the one diagnostic. Anything else raises."""
    source, sink = SourceFile("fuzz.spak", make(seed)), Sink()
    tree = parse(source, sink)
    if tree is not None:
        file = build_ast(tree, source, sink)
        assert file.version == 1
        assert {d.code for d in sink.diagnostics} <= {"SPAK115"}
        return "parsed"
    (found,) = sink.diagnostics
    assert found.severity == "error" and found.message
    for label in found.labels:
        assert 0 <= label.span.start <= label.span.end <= len(source.text)
    assert render_text(sink.diagnostics).startswith(f"error[{found.code}]: ")
    assert json.loads(render_json(found))["code"] == found.code
    return found.code


@pytest.mark.parametrize(("make", "share"), [(derivation, 0.6), (mutant, 0.15)])
def test_a_tree_or_one_diagnostic(make: Callable[[int], str], share: float) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(SEEDS):
        try:
            outcomes[outcome(make, seed)] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed} of {make.__name__}:\n{make(seed)}") from error
    assert outcomes["parsed"] >= share * SEEDS, outcomes
    assert len(outcomes) > (0 if make is derivation else 6), "the fuzzer has become tame"


def test_a_third_of_all_inputs_get_past_the_parser() -> None:
    outcomes = [outcome(make, seed) for make in (derivation, mutant) for seed in range(1_000, 1_040)]
    assert outcomes.count("parsed") >= 0.3 * len(outcomes)
