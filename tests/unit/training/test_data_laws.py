"""Laws of data: what they may compute, for which documents they speak, and what has no truth value."""

from __future__ import annotations

from pathlib import Path

import pytest

from spak_runtime.training import sanity, spec
from spak_runtime.training.documents import DocumentData
from spak_runtime.training.gates import Judge
from tests.unit.models.compiled import compile_text
from tests.unit.models.compiled import diagnostics as told

FILE = """
spak 1
model Wheel {
  hyper wide = 16
  part floor(x: [B, T, wide]) -> y: [B, T, wide] { y = x + mlp(norm(x), hidden = 2 * wide) }
  forward(tokens: int [B, T]) -> scores: [B, T, vocab] { scores = unembed(floor(embed(tokens)), tied = true) }
}
dataset d {
  sample p: digits(DIGITS)
  sample q: digits(m)
  text p, "+", q, "=", p + q, end
  loss after "="
  split train n in 1..2, m in 1..2
  split long (n, m) in {(FAR, 3), (FAR, 4)} size 30
  LAW
}
protocol g { gate sane { require laws(data) } }
experiment e {
  model Wheel   data d   protocol g
  train(steps = 1, batch = 4, seeds = {0})
  optimizer adamw()
  lr constant(1e-2)
}
"""


def diagnostics(text: str) -> list[str]:
    return [code for code, _ in told(text)]


def source(law: str = "", digits: str = "n", far: str = "3") -> str:
    return FILE.replace("LAW", law).replace("DIGITS", digits).replace("FAR", far)


def finding(folder: Path, law: str) -> sanity.Finding:
    data = DocumentData(spec.read(compile_text(source(f"law it: {law}")).write(folder) / "e").data)
    splits = {name: data.draw(name, 200, "law") for name in ("train", "long")}
    return sanity.check_law(data.dataset.laws[0], data, splits)


@pytest.mark.parametrize(
    "law",
    [
        "abs(p - q) == max(p, q) - min(p, q)",
        "where(p > q, p, q) == max(p, q)",
        "q == 0 or p % q < q",
        "q == 0 or p // q <= p / q and p / q < p // q + 1",
        "ceil_div(p, 2) == ceil(p / 2) and floor(p / 2) == p // 2",
        "digit_sum(p) in 0..9999 step 1 and not (p + 1 in {p, -p})",
        "p % 2 == 0 or not (p in 0..9998 step 2)",
        "p + q <= 20_000 when max_length(long) == 4",
        "complement(complement(p) + p) == 0",
        "max_length(long) >= digit_sum(p) - digit_sum(p)",
        "p > 9 when p > 9",
    ],
)
def test_what_laws_compute(tmp_path: Path, law: str):
    found = finding(tmp_path, law)
    assert found.holds and found.cases, found


@pytest.mark.parametrize(
    ("law", "why"),
    [
        ("p % (q - q) == 0", "no truth value"),
        ("digit_sum(p - 10_000) > 0", "no truth value"),
        ("complement(p / 2 + 0.25) > 0", "no truth value"),
        ("digit_sum(answer(text)) > 0", "no truth value"),
        ("p in 0..9999 step 2", "false"),
        ("p > 50 when p > 9", "false"),
    ],
)
def test_what_does_not_hold(tmp_path: Path, law: str, why: str):
    found = finding(tmp_path, law)
    assert not found.holds and why in found.detail


def test_a_condition_that_is_never_true_is_no_witness(tmp_path: Path):
    found = finding(tmp_path, "p == 5 when p > 99_999")
    assert found.holds and not found.cases and "never" in found.detail


@pytest.mark.parametrize(
    ("law", "code"),
    [
        ("p == 5 when disjoint(train, long)", "SPAK541"),
        ("sqrt(p) > 0", "SPAK130"),
        ("f32(p) > 0", "SPAK130"),
        ("max_length(long) <= 3", "SPAK203"),
    ],
)
def test_what_is_no_law_of_data(law: str, code: str):
    assert diagnostics(source(f"law it: {law}")) == [code]


def test_a_condition_that_the_splits_make_false():
    assert diagnostics(source("law it: max_length(long) == 3 when max_length(train) > 2")) == []


@pytest.mark.parametrize("digits", ["5..2", "n..1", "4..m", "true", "n..m..m"])
def test_digits_that_no_number_has(digits: str):
    found = diagnostics(source(digits=digits))
    assert found and set(found) <= {"SPAK101", "SPAK526", "SPAK529"}


def test_parameters_bound_together_are_a_range_together():
    assert diagnostics(source(digits="1..n")) == []
    assert diagnostics(source(digits="n..m")) == ["SPAK529"], "n = 2, m = 1 in train"
    assert (
        diagnostics(source(digits="n..m").replace("n in 1..2, m in 1..2", "(n, m) in {(1, 2), (2, 2)}")) == []
    )


def test_numbers_longer_than_python_reads_by_itself(tmp_path: Path):
    text = source("law right: number(answer(text)) == p + q", far="4_400")
    experiment = spec.read(compile_text(text).write(tmp_path) / "e")
    judged = Judge(DocumentData(experiment.data), lambda *_: 0.0, 0).judge(experiment.gates[0])
    assert judged.holds and {finding.name for finding in judged.findings} >= {"right", "aligned(long)"}
