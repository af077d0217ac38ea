"""The self-test: which mutants are made, how one is judged, and that a verifier which sees less scores less."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from spakc.cli import cli
from spakc.commands import selftest
from spakc.resources import resource
from spakc.selftest.cuda_text import call_statements, code_of, synchronising, wrapping
from spakc.selftest.judge import KILLED, SURVIVED, Verdict, baseline, judge
from spakc.selftest.mutants import mutants_of
from spakc.selftest.plan_of_mutants import tasks_of
from spakc.selftest.reasons import read_reasons
from spakc.selftest.score import Outcome, Score
from spakc.selftest.subjects import by_template

PRIMITIVES = """
SPAK_DEVICE void sync_all() { asm volatile("bar.sync 0;"); }
SPAK_DEVICE void cp_async_wait() {}
SPAK_DEVICE u32 load_word(u32 address) { return address; }
SPAK_DEVICE void store_word(u32 address, f32 value) {}
"""
SHARED = """
SPAK_DEVICE void meet() { sync_all(); }
SPAK_DEVICE void further() { meet(); }
SPAK_DEVICE void adds(u32 x) { x += 1; }
"""
KERNEL = """
#include "spak/x.cuh"
// sync_all(); 7 < 8
static_assert(STAGES > 3);
  sync_all();
  further();
  if (row < rows) store_word(base + slot * 64, value);
  const u32 chunk = place ^ (row & 7);
"""
SMALL = """spak 1
use std.devices
targets h100
kernel scaled: elementwise {
  dim N
  input x: bf16 [N]
  output y: bf16 [N]
  math { y[i] = silu(x[i]) + 1 }
  schedule grid_stride { knob vector in {8} }
}
"""


def test_synchronising_primitives_are_known_by_what_they_take() -> None:
    known = synchronising([PRIMITIVES])
    assert known == {"sync_all", "cp_async_wait"}
    assert wrapping([SHARED], known) == {"meet", "further"}


def test_comments_directives_and_assertions_are_no_code() -> None:
    code = code_of(KERNEL)
    assert len(code) == len(KERNEL) and code.count("\n") == KERNEL.count("\n")
    assert "include" not in code and "7 < 8" not in code and "STAGES" not in code
    assert [name for _, _, name in call_statements(code)] == ["sync_all", "further", "store_word"]


def test_mutants_are_one_change_each_and_keep_lines() -> None:
    made = mutants_of("t", "s", KERNEL, frozenset({"sync_all"}), frozenset({"further"}))
    kinds = {kind: [m for m in made if m.kind == kind] for kind in {m.kind for m in made}}
    assert [m.line for m in kinds["sync"]] == ["sync_all();"]
    assert [m.line for m in kinds["wrapped"]] == ["further();"]
    assert {m.text for m in kinds["literal"]} == {"63", "65", "6", "8"}
    assert [m.text for m in kinds["index"]] == ["(slot + 1)"]
    assert [m.becomes for m in kinds["swizzle"]] == ["const u32 chunk = place;"]
    assert {m.text for m in kinds["mask"]} == {"<=", "true"}
    for mutant in made:
        changed = mutant.apply(KERNEL)
        assert changed != KERNEL and changed.count("\n") == KERNEL.count("\n")
        assert mutant.becomes == changed.split("\n")[mutant.number - 1].strip()
    assert len({m.key for m in made} | {(m.key, m.text) for m in made}) >= len(made)


def test_a_reason_names_one_mutant_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "reasons.toml"
    entry = '[[mutant]]\nfile = "f"\nline = "a"\nbecomes = "b"\nreason = "it is never reached"\n'
    path.write_text(entry)
    assert read_reasons(path).why == {("f", "a", "b", 1): "it is never reached"}
    for wrong in (entry + entry, entry.replace("it is never reached", " "), entry.replace("becomes", "to")):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"reasons\.toml"):
            read_reasons(path)


def _score(statuses: list[str], kind: str = "literal", reason: str = "") -> Score:
    mutant = next(
        m for m in mutants_of("t", "s", KERNEL, frozenset({"sync_all"}), frozenset()) if m.kind == kind
    )
    outcomes = [Outcome(mutant, Verdict(status), reason if status == SURVIVED else "") for status in statuses]
    return Score(len(outcomes), outcomes, ["t"], [], [], 0, 1, 0.0)


def test_the_score_asks_for_99_in_100_and_every_sync_call() -> None:
    assert not _score([KILLED] * 99 + [SURVIVED]).shortfalls
    assert "98.00% killed" in _score([KILLED] * 98 + [SURVIVED] * 2).shortfalls[0]
    assert "a deleted sync call lives" in _score([KILLED] * 199 + [SURVIVED], "sync").shortfalls[0]
    excused = _score([KILLED] * 95 + [SURVIVED] * 5, reason="because")
    assert excused.rate == 1.0 and "5 of 100 excused" in excused.shortfalls[0]


def test_a_small_kernel_is_judged_end_to_end(tmp_path: Path) -> None:
    path, kept = tmp_path / "small.spak", tmp_path / "score.json"
    path.write_text(SMALL)
    arguments = [
        "selftest",
        str(path),
        "--template",
        "grid_stride",
        "--limit",
        "6",
        "--seed",
        "1",
        "--cases",
        "4",
    ]
    result = CliRunner().invoke(cli, [*arguments, "--jobs", "1", "-o", str(kept)])
    assert result.exit_code in (0, 3), result.output
    score = json.loads(kept.read_text())
    live = [o for o in score["outcomes"] if o["status"] == "survived" and "reason" not in o]
    assert score["judged"] == 6 and score["killed"] >= 1 and live == [], (
        "the checks of verify see every change of these that changes the code"
    )
    assert all(o["evidence"] for o in score["outcomes"] if o["status"] == "killed")
    again = CliRunner().invoke(cli, [*arguments, "--jobs", "1", "-o", str(tmp_path / "again.json")])
    second = json.loads((tmp_path / "again.json").read_text())
    assert again.exit_code == result.exit_code and second["outcomes"] == score["outcomes"]


def test_a_self_test_goes_on_where_it_was(tmp_path: Path) -> None:
    path, kept = tmp_path / "small.spak", tmp_path / "kept.json"
    path.write_text(SMALL)
    arguments = [
        "selftest",
        str(path),
        "--template",
        "grid_stride",
        "--kind",
        "mask",
        "--cases",
        "2",
        "-o",
        str(kept),
    ]

    def judged(*more: str) -> dict[str, object]:
        result = CliRunner().invoke(cli, [*arguments, "--jobs", "1", *more])
        found: dict[str, object] = json.loads(kept.read_text())
        assert result.exit_code in ((5, 3) if "--minutes" in more else (0, 3)), result.output
        return found

    first = judged("--minutes", "0")
    assert first["judged"] == 1
    every = judged()
    outcomes = every["outcomes"]
    assert isinstance(outcomes, list) and len(outcomes) > 1 and {o["kind"] for o in outcomes} == {"mask"}
    journal = kept.with_suffix(".jsonl")
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])
    assert judged()["outcomes"] == outcomes
    assert len(journal.read_text().splitlines()) == len(lines) + 1, (
        "the one that was cut off was judged again"
    )


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "small.spak"
    path.write_text(SMALL)
    result = CliRunner().invoke(cli, ["selftest", str(path), "--template", "fancy"])
    assert result.exit_code == 2 and "no template `fancy`" in result.output


def test_a_header_is_judged_by_what_no_example_asks_of_it() -> None:
    """Floor division of negative numbers: every change of it is seen, or has a reason."""
    judges = selftest._judging()
    tasks = tasks_of(by_template(judges), judges)
    floor = [t for t in tasks if t.mutant.file == "spak/functions.cuh" and "quotient - 1" in t.mutant.line]
    assert floor and all(t.by[0].name.startswith("floors.") for t in floor)
    subject = floor[0].by[0]
    found = baseline(subject, 6, 0)
    assert not found.wrong and subject.trials
    subject.builds.update(found.builds)
    reasons = read_reasons(resource("templates/cuda") / selftest.REASONS)
    for task in floor:
        verdict = judge(task.mutant, (subject,))
        excused = task.mutant.key in reasons.why
        assert excused or verdict.status in (KILLED, "same code", "refused"), task.mutant.name
