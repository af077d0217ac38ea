"""Laws, claims and preferences over what no witness can show where they stand; counts that every place knows alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc.diagnostics import Sink, SpakError
from spakc.driver import check_file
from spakc.status import render, status

FILE = """spak 1
model small {{
  hyper width = 8
  part same(x: [B, T, width]) -> y: [B, T, width] {{ y = norm(x) }}
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {{ logits = unembed(same(embed(tokens)), tied = true) }}
  {model}
}}
model large {{
  hyper height = 16
  part same(x: [B, T, height]) -> y: [B, T, height] {{ y = norm(x) }}
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {{ logits = unembed(same(embed(tokens)), tied = true) }}
}}
kernel k: elementwise {{
  dim N
  input  x: f32 [N]
  output y: f32 [N]
  math {{ y[i] = x[i] }}
  schedule grid_stride {{ knob threads in {{128}}  knob vector in {{1}}  {schedule} }}
  {kernel}
}}
kernel other: elementwise {{
  dim N
  input  x: f32 [N]
  output y: f32 [N]
  math {{ y[i] = x[i] }}
}}
dataset d {{
  sample a: digits(n)
  text a, "=", a, end
  loss after "="
  split train n in 1..2
  split test n in {{3}}
  {data}
}}
experiment e {{
  model small
  data d
  train(steps = 2, batch = 2, seeds = {{0}})
  optimizer adamw()
  lr constant(1e-3)
  {experiment}
}}
experiment wide like e {{ model large }}
{top}
"""
PLACES = ("model", "schedule", "kernel", "data", "experiment", "top")


def file(**parts: str) -> str:
    return FILE.format(**(dict.fromkeys(PLACES, "") | parts))


def law(place: str, proposition: str) -> str:
    return file(**{place: f"law asked: {proposition}"})


def found(text: str, folder: Path) -> list[str]:
    path = folder / "own.spak"
    path.write_text(text)
    try:
        check_file(path)
    except SpakError as error:
        return [diagnostic.code for diagnostic in error.diagnostics if diagnostic.severity == "error"]
    return []


OF_KERNELS = ("cubin.registers <= 40", "launch.threads <= 256", "1 == 2 when cubin.registers > 4")
OF_CALLS = ("k.N > 3", "other.N > 3")
OF_TENSORS = ("bytes(k.x) == 4", "sizeof(k.x) == 4", "bank_conflicts(other.x) == 0")
OF_DOCUMENTS = ("number(answer(text)) == 3", 'text == "3"', "digit_sum(3) == 3", "disjoint(d.train, d.test)")
OF_COUNTS = ("parameters(e) < 1000", "flops(wide) > 0", "max_length(d.test) == 3")


@pytest.mark.parametrize(
    ("place", "proposition"),
    [
        *((place, text) for place in ("top", "model", "experiment") for text in OF_KERNELS),
        *((place, text) for place in ("top", "model", "experiment") for text in OF_CALLS + OF_TENSORS),
        *((place, text) for place in ("top", "model", "experiment") for text in OF_DOCUMENTS),
        *((place, text) for place in ("kernel", "schedule") for text in OF_CALLS + OF_TENSORS),
        *((place, text) for place in ("kernel", "schedule") for text in OF_DOCUMENTS + OF_COUNTS),
        ("model", "device.sms > 3"),
        ("experiment", "device.sms > 3"),
    ],
)
def test_a_law_over_what_nothing_shows_is_refused(place: str, proposition: str, tmp_path: Path) -> None:
    assert found(law(place, proposition), tmp_path) == ["SPAK211"]


@pytest.mark.parametrize(
    "text",
    [
        file(schedule="prefer k.N > 3"),
        file(schedule="prefer sizeof(k.x) == 4"),
        file(kernel="verify { tolerance ulp(other.y)  cases 5 }"),
        file(top="claim c: k.N > 3"),
        file(top="claim c: time(k, N = other.N) < 1 ms"),
        file(top="claim c: device.sms > 3"),
    ],
)
def test_so_are_preferences_tolerances_and_claims(text: str, tmp_path: Path) -> None:
    assert found(text, tmp_path) == ["SPAK211"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "proposition", ["d.train == d.test", "k == k", "digit_sum(d.train) == 3", "d.train in {d.test}"]
)
def test_declared_things_are_not_compared(place: str, proposition: str, tmp_path: Path) -> None:
    codes = found(law(place, proposition), tmp_path)
    assert codes[0] == "SPAK317" and set(codes) <= {"SPAK317", "SPAK211"}


@pytest.mark.parametrize(
    "proposition", ["train == test", "train == 3", "train != d.test", "digit_sum(train) == 3"]
)
def test_a_law_that_compares_splits_is_one_mistake(proposition: str, tmp_path: Path) -> None:
    assert found(law("data", proposition), tmp_path) == ["SPAK317"]


@pytest.mark.parametrize("proposition", ["train < test", "train"])
def test_a_split_is_no_number_and_no_truth(proposition: str, tmp_path: Path) -> None:
    codes = found(law("data", proposition), tmp_path)
    assert codes and set(codes) <= {"SPAK317", "SPAK320"}


@pytest.mark.parametrize("proposition", ["k.N > 3", "a == other.N"])
def test_data_know_no_call_of_a_kernel(proposition: str, tmp_path: Path) -> None:
    assert found(law("data", proposition), tmp_path) == ["SPAK130"]


TRUE = (
    "parameters(e) == 112",
    "parameters(wide) == 224",
    "parameters(large) == 224",
    "parameters(e) < parameters(wide)",
    "flops(wide) > flops(e)",
    "max_length(d.train) < max_length(d.test)",
)
"""13 tokens: ten digits, `=`, the end and one for padding, by the width, and the weights of one norm."""


@pytest.mark.parametrize("place", ["top", "model", "experiment"])
@pytest.mark.parametrize("proposition", TRUE)
def test_what_is_counted_is_known_everywhere(place: str, proposition: str, tmp_path: Path) -> None:
    assert found(law(place, proposition), tmp_path) == []
    page = status(check_file(tmp_path / "own.spak").module, [], {}, Sink())
    assert {s.status.verdict.value for s in page if s.statement.kind == "law"} == {"holds"}
    assert found(law(place, f"not ({proposition})"), tmp_path) == ["SPAK203"]


def test_an_inherited_law_asks_about_whom_it_names(tmp_path: Path) -> None:
    """`wide` has 224 parameters and repeats the laws of `e`."""
    assert found(law("experiment", "parameters(e) < 200"), tmp_path) == []
    assert found(law("experiment", "parameters(wide) < 200"), tmp_path) == ["SPAK203"]


def test_a_model_that_experiments_size_differently_has_no_one_count(tmp_path: Path) -> None:
    other = "experiment broad like e { model small(width = 16) }\n"
    assert found(file(top=other + "law asked: parameters(small) < 1000"), tmp_path) == ["SPAK211"]
    assert found(file(top=other + "claim asked: flops(small) > 1"), tmp_path) == ["SPAK211"]
    assert found(file(top=other + "law asked: parameters(large) < 1000"), tmp_path) == []
    assert found(file(top=other, model="law asked: parameters(small) < 1000"), tmp_path) == []


def test_a_law_about_a_sweep_says_at_which_point(tmp_path: Path) -> None:
    sweep = "experiment many like e { vary width in {8, 16}  %s }\n"
    assert found(file(top=sweep % "" + "law asked: parameters(many) > 3"), tmp_path) == ["SPAK554"]
    assert found(file(top=sweep % "" + "law asked: parameters(many, width = 16) == 224"), tmp_path) == []
    assert found(file(top=sweep % "law asked: parameters(many) > 3"), tmp_path) == []


def test_what_applies_nowhere_is_shown_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "own.spak"
    path.write_text(file(top="law asked: device.sms > 3"))
    page = render(status(check_file(path).module, [], {}, Sink()))
    assert "law asked" in page and "the file names no targets" in page
