"""Expressions: literals, operators, names, calls."""

from __future__ import annotations

import math

import pytest

from spakc.ir.ops import Apply, Const, Expr, Interval, Load, Members, Query, Reduce, Ref, RefKind, Tuple
from spakc.ir.types import BYTES, NUMBER, Unit
from tests.unit.lower.front import COPY, kernel, kernel_text, lowered, marked, only, value


def law(text: str, before: str = COPY) -> Expr:
    return kernel(f"{before} law l: {text}").laws[0].proposition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", Const(7)),
        ("7.0", Const(7.0)),
        ("-7", Const(-7)),
        ("-inf", Const(-math.inf)),
        ("true", Const(True)),
        ('"a\\"b"', Const('a"b')),
        ("227 KiB", Const(232448, unit=BYTES)),
        ("95%", Const(0.95)),
        ("57%", Const(0.57)),
        ("3350 GB/s", Const(3.35e12, unit=Unit(byte=1, second=-1))),
        ("250 us", Const(0.00025, unit=Unit(second=1))),
    ],
)
def test_literals_are_in_base_units_and_integers_stay_integers(text: str, expected: Const) -> None:
    assert value(text) == expected


def test_a_bare_number_differs_from_one_with_a_unit_and_an_integer_from_a_real() -> None:
    assert Const(1) != Const(1.0) and Const(1) != Const(True) and Const(1) != Const(1, unit=BYTES)
    assert Const(1).unit == NUMBER


def test_operators() -> None:
    assert value("1 + 2 * 3") == Apply("add", (Const(1), Apply("mul", (Const(2), Const(3)))))
    assert value("7 // 2 % 3") == Apply("mod", (Apply("floordiv", (Const(7), Const(2))), Const(3)))
    assert value("not true or false") == Apply("or", (Apply("not", (Const(True),)), Const(False)))


def test_a_chain_of_comparisons_is_a_conjunction() -> None:
    low, high = Apply("le", (Const(1), Const(2))), Apply("lt", (Const(2), Const(3)))
    assert value("1 <= 2 < 3") == Apply("and", (low, high))


def test_sets_ranges_tuples_and_membership() -> None:
    assert value("2 in {1, 2}") == Apply("member", (Const(2), Members((Const(1), Const(2)))))
    assert value("2 in 1..8 step 2") == Apply("member", (Const(2), Interval(Const(1), Const(8), Const(2))))
    pair = Tuple((Const(1), Const(2)))
    assert value("(1, 2) in {(1, 2)}") == Apply("member", (pair, Members((pair,))))


def test_facts_and_queries() -> None:
    assert law("device.tma") == Ref("tma", RefKind.fact)
    assert law('cubin.count("HGMMA") > 0').args[0] == Query("cubin.count", (Const("HGMMA"),))  # type: ignore[attr-defined]
    assert law("cubin.spill_bytes == 0").args[0] == Query("cubin.spill_bytes")  # type: ignore[attr-defined]
    assert law("bytes(x) == sizeof(x)") == Apply(
        "eq",
        (Query("bytes", (Ref("x", RefKind.entity),)), Query("sizeof", (Ref("x", RefKind.entity),))),
    )
    assert law("bank_conflicts(x.shared) == 0").args[0] == Query(  # type: ignore[attr-defined]
        "bank_conflicts", (Ref("x.shared", RefKind.entity),)
    )


def test_names_of_a_kernel() -> None:
    found = law("M % 2 == 0 and on", f"{COPY} option on: bool = true")
    assert found == Apply(
        "and",
        (Apply("eq", (Apply("mod", (Ref("M", RefKind.dim), Const(2))), Const(0))), Ref("on", RefKind.option)),
    )


def test_a_let_is_inlined_and_carries_the_place_of_its_use() -> None:
    found = law("double <= 8", f"{COPY} let double = 2 * M")
    assert isinstance(found, Apply)
    assert found.args[0] == Apply("mul", (Const(2), Ref("M", RefKind.dim)))
    assert found.args[0].span is not None and found.args[0].span.text == "double"


def test_lets_may_stand_in_any_order_and_use_each_other() -> None:
    assert law("a == 1", f"{COPY} let a = b + 1 let b = 0").args[0] == Apply("add", (Const(0), Const(1)))  # type: ignore[attr-defined]


def test_reductions_bind_their_axes() -> None:
    found = law("every[r](0 <= idx[r])")
    index = Ref("r", RefKind.index)
    assert found == Reduce("every", ("r",), Apply("le", (Const(0), Load("idx", (index,)))))


def test_an_option_of_words_can_be_called() -> None:
    math_ = "option act: gelu | relu = relu math { y[m, n] = act(x[m, n]) }"
    element = Load("x", (Ref("m", RefKind.index), Ref("n", RefKind.index)))
    assert kernel(math_).math[0].value == Apply("call", (Ref("act", RefKind.option), element))


def test_a_declared_name_comes_before_a_word_of_the_language() -> None:
    assert law("row == 1", f"{COPY} let row = 1") == Apply("eq", (Const(1), Const(1)))


@pytest.mark.parametrize(
    ("body", "code", "places"),
    [
        (f"{COPY} law l: Mm > 1", "SPAK120", ["Mm", "M"]),
        (f"{COPY} law l: sizeoff(x) > 1", "SPAK121", ["sizeoff"]),
        (f"{COPY} law l: cast_f32(2) > 1", "SPAK121", ["cast_f32"]),
        (f"{COPY} let a = 1 let a = 2", "SPAK122", ["a", "a"]),
        (f"{COPY} let a = b let b = c let c = a", "SPAK123", ["a", "a", "b", "c"]),
        (f"{COPY} schedule s {{ knob M in {{1}} }}", "SPAK126", ["M", "M"]),
        (f"{COPY} law l: device.tmaa", "SPAK127", ["tmaa"]),
        (f"{COPY} law l: bank_conflicts(x.sharde) == 0", "SPAK127", ["sharde", "x"]),
        (f"{COPY} law l: sizeof(M) > 1", "SPAK128", ["M", "M"]),
        (f"{COPY} law l: device > 1", "SPAK128", ["device"]),
        (f"{COPY} law l: cubin.count() > 1", "SPAK129", ["cubin.count()"]),
        (f"{COPY} law l: cubin.registers(1) > 1", "SPAK128", ["cubin.registers"]),
        (f"{COPY} law l: ulp(y) > 1", "SPAK130", ["ulp(y)"]),
        (f"{COPY} law l: x[i, 0] > 1", "SPAK323", ["i"]),
        (f"{COPY} option a: gelu | relu = relu law l: a == silu", "SPAK139", ["silu"]),
        ("math { y[m, n] = sum[k](x[m, k]) * x[m, k] }", "SPAK135", ["k"]),
        ("math { y[m, n] = sum[m](x[m, n]) }", "SPAK126", ["m", "m"]),
        ("math { y[m, n] = sum(x[m, n]) }", "SPAK128", ["sum"]),
        ("math { y[m, n] = softmax[k](x[m, k]) }", "SPAK135", ["k"]),
        ("math { y[m, n] = x }", "SPAK128", ["x", "x"]),
        ("math { y[m, n] = new(x)[m, n] }", "SPAK128", ["new(x)", "x"]),
        ("math { y[m, n] = where(true, x[m, n]) }", "SPAK129", ["where(true, x[m, n])"]),
        ("math { y[m, n] = exp(x = x[m, n]) }", "SPAK129", ["x = x[m, n]"]),
    ],
)
def test_a_mistake_has_a_code_and_all_its_places(body: str, code: str, places: list[str]) -> None:
    found = only(kernel_text(body))
    assert (found.code, marked(found)) == (code, places)


def test_the_nearest_name_is_offered() -> None:
    assert only(kernel_text(f"{COPY} law l: squareroot(2) > 1")).code == "SPAK121"
    assert "`sqrt`" in only(kernel_text(f"{COPY} law l: sqr(2) > 1")).help[0]
    assert "`device`" in only(kernel_text(f"{COPY} law l: devices.tma")).help[0]


def test_a_name_known_elsewhere_says_where() -> None:
    found = only(kernel_text(f"{COPY} schedule s {{ knob tile in {{1}} }} law l: tile < 2"))
    assert found.code == "SPAK120" and marked(found) == ["tile", "tile"] and "schedule `s`" in found.help[0]


def test_a_chain_of_lets_cannot_grow_without_bounds() -> None:
    doubling = "spak 1\nlet a0 = 1\n" + "".join(f"let a{i + 1} = a{i} + a{i}\n" for i in range(64))
    assert only(doubling).code == "SPAK136"
    backwards = (
        "spak 1\n" + "".join(f"let a{i} = - a{i + 1}\n" for i in range(3000)) + "let a3000 = device.sms\n"
    )
    assert only(backwards).code == "SPAK136"
    laws = "".join(f"law l{i}: {' + '.join('a9' for _ in range(50))} > 0\n" for i in range(10))
    halves = "spak 1\nlet a0 = 1\n" + "".join(f"let a{i + 1} = a{i} + a{i}\n" for i in range(9))
    assert only(halves + laws).code == "SPAK136"


def test_a_long_chain_of_short_lets_is_fine_and_a_long_circle_is_one_mistake() -> None:
    chain = "spak 1\n" + "".join(f"let a{i} = a{i + 1}\n" for i in range(3000))
    assert only(chain + "let a3000 = a0\n").code == "SPAK123"
    lowered(chain + "let a3000 = 1\nlaw l: a0 == 1\n")
    deep = "- " * 50
    lets = "".join(f"let a{i} = min({deep}1, a{i + 1})\n" for i in range(40))
    lowered(f"spak 1\n{lets}let a40 = 1\n")
