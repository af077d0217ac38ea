"""The text of a meaning: what changes it and what does not."""

from __future__ import annotations

import pytest

from spakc.ir.canonical import canonical, meaning
from spakc.ir.ops import Apply, Const, Load, Query, Ref, RefKind
from spakc.ir.types import BYTES
from tests.unit.lower.front import COPY, kernel, lowered

BASE = f"{COPY} schedule s {{ knob t in {{1, 2}} law l: t * M <= 64 }} law k: M > 0 law j: N > 0"


def text(body: str) -> str:
    return canonical(kernel(body))


@pytest.mark.parametrize(
    "same",
    [
        BASE.replace(" law k", "   # why not\n law k"),
        BASE.replace("M > 0", 'M > 0 because "a size"'),
        f'intent "prose" {BASE}',
        BASE.replace("law k: M > 0 law j: N > 0", "law j: N > 0 law k: M > 0"),
        BASE.replace("t * M <= 64", "area <= 64").replace("knob t", "let area = t * M knob t"),
        BASE.replace("t * M <= 64", "(t * M) <= (64)"),
        f"let unused = 3 {BASE}",
    ],
)
def test_what_means_the_same(same: str) -> None:
    assert text(same) == text(BASE)


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("64", "65"),
        BASE.replace("64", "64.0"),
        BASE.replace("M > 0", "M > 0 when N > 1"),
        BASE.replace("{1, 2}", "{1, 2} at launch"),
        BASE.replace("{1, 2}", "{2, 1}"),
        BASE.replace("x[m, n]", "1 * x[m, n]"),
        BASE.replace("t * M", "M * t"),
        BASE.replace("law k", "law kk"),
        f"accumulate f64 {BASE}",
    ],
)
def test_what_means_something_else(other: str) -> None:
    assert text(other) != text(BASE)


def test_equations_are_a_set() -> None:
    one = "math { y[m, n] = a[m] + b[m] a[m] = 1.0 * m b[m] = 2.0 * m }"
    two = "math { b[m] = 2.0 * m a[m] = 1.0 * m y[m, n] = a[m] + b[m] }"
    assert text(one) == text(two)


def test_the_order_of_a_call_is_meaning() -> None:
    assert text(f"option a: int = 1 option b: int = 2 {COPY}") != text(
        f"option b: int = 2 option a: int = 1 {COPY}"
    )


def test_texts_of_expressions() -> None:
    expr = Apply(
        "le",
        (
            Const(1, unit=BYTES),
            Query("f", (Ref("a.b", RefKind.entity),), (("z", Const(True)), ("y", Const("q")))),
        ),
    )
    assert canonical(expr) == '(le (unit 1 (of byte^1)) (?f entity:a.b y="q" z=true))'
    assert canonical(Load("p", (Ref("i", RefKind.index),), True)) == "(new p index:i)"
    assert canonical(Ref("ä", RefKind.symbol)) == 'symbol:"\\u00e4"'


def test_a_hash_is_sixteen_bytes_of_the_texts_in_order() -> None:
    assert len(meaning(Const(1))) == 32
    assert meaning(Const(1), Const(2)) != meaning(Const(2), Const(1)) != meaning(Const(2))


def test_a_whole_module_has_a_text() -> None:
    module = lowered("spak 1\nlaw l: 1 < 2\n")
    assert canonical(module).isascii() and "\n" not in canonical(module)


def test_what_is_no_part_of_the_ir_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical(object())
