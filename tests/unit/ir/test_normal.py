"""What says the same in other words has one normal form, and nothing else has."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from spakc.ir.canonical import canonical
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.module import Equation, Kernel
from spakc.ir.normal import normal, rounded
from spakc.ir.ops import Apply, Const, Expr, Interval, Load, Members, Reduce, Ref, RefKind
from spakc.source import SourceFile, Span
from tests.unit.lower.front import lowered

TENSORS = "dim M, N, K input A: f32 [M, K] input B: f32 [K, N] input x: f32 [M, N] output y: f32 [M, N]"


def kernel(body: str) -> Kernel:
    return lowered(f"spak 1\nkernel k: elementwise {{ {TENSORS} {body} }}\n").kernels["k"]


def of_law(proposition: str, form: object = normal) -> str:
    body = f"""option causal: bool = false math {{ y[m, n] = x[m, n] }}
      schedule s {{ knob t in {{1, 2}} knob u in {{1, 2}} knob mode in {{one, two}} law l: {proposition} }}"""
    return canonical(form(kernel(body).schedules["s"].laws[0].proposition))  # type: ignore[operator]


def of_math(value: str, form: object = normal, left: str = "y[m, n]") -> str:
    return canonical(form(kernel(f"math {{ {left} = {value} }}").math))  # type: ignore[operator]


SAME = [
    ("t * u <= 64", "u * t <= 64", "64 >= t * u", "0 >= t * u - 64", "2 * u * t <= 128"),
    ("t + u + 1 <= 9", "1 + u + t <= 9", "u <= 8 - t", "not t + u > 8", "-t - u >= -8"),
    ("(t + u) * t == 4", "t * (t + u) == 4", "4 == u * t + t * t"),
    ("t / 4 < 1", "0.25 * t < 1", "t < 4"),
    ("t * sizeof(A) <= 8 KiB", "8 * 1 KiB >= sizeof(A) * t", "sizeof(A) * t <= 16 KiB / 2"),
    ("mode == one and t > 1", "t > 1 and one == mode", "not (mode != one or t <= 1)",
     "t > 1 and mode == one and 1 < t"),
    ("mode in {one, two}", "mode in {two, one}", "mode == two or mode == one"),
    ("t in 1..4", "t >= 1 and t <= 4", "t <= 4 and 1 <= t"),
    ("where(mode == one, t, u) == 1", "where(mode != one, u, t) == 1", "1 == where(not (one == mode), u, t)"),
    ("max(t, max(u, 3)) <= 4", "max(max(3, u), t) <= 4", "4 >= max(u, max(t, max(3, t)))"),
    ("causal or t == 1", "not (not causal and t != 1)", "causal == true or 1 == t", "t == 1 or causal != false"),
    ("cubin.registers * 256 * t <= device.registers_per_sm", "device.registers_per_sm >= t * 256 * cubin.registers"),
]  # fmt: skip


@pytest.mark.parametrize("texts", [pair for row in SAME for pair in itertools.pairwise(row)])
def test_one_law_in_other_words(texts: tuple[str, str]) -> None:
    assert of_law(texts[0]) == of_law(texts[1])


OTHER = [
    ("t <= 64", "t < 64"), ("t <= 64", "64 <= t"), ("t <= 64", "t <= 65"), ("t <= 64", "t <= 64 KiB"),
    ("t - u == 1", "t + u == 1"), ("t - u <= 1", "u - t <= 1"), ("t / 2 == 1", "t // 2 == 1"),
    ("0 * cubin.registers <= 1", "true"), ("cubin.registers / cubin.registers == 1", "true"),
    ("mode == one", "mode != one"), ("mode == one", "mode == two"), ("t > 1 and u > 1", "t > 1 or u > 1"),
    ("t in 1..4", "t in {1, 4}"), ("t in 1..4", "t in 1..4 step 3"), ("max(t, u) <= 4", "min(t, u) <= 4"),
    ("where(mode == one, t, u) == 1", "where(mode == one, u, t) == 1"), ("causal", "not causal"),
    ("t * t == 4", "t * 2 == 4"), ("t % 2 == 0", "2 % t == 0"), ("t - t == u", "u == 0"),
]  # fmt: skip


@pytest.mark.parametrize("texts", OTHER)
def test_another_law(texts: tuple[str, str]) -> None:
    assert of_law(texts[0]) != of_law(texts[1])


SWALLOWED = [
    ("{} + 1e30 - 1e30 == 0"), ("{} + 1e30 == 1e30"), ("1e30 - 1e30 + {} == 0"), ("({} + 1e30) * 1 == 1e30"),
    ("({} - 1e20) * ({} + 1e20) + 1e40 == 0"), ("{} * 1e-300 * 1e-300 == 0"), ("{} * 1e-200 / 1e200 == 0"),
    ("{} / 1e300 / 1e300 == 0"), ("{} * 1e-150 * 1e-150 * 1e-150 == 0"), ("{} / 1 + 1e30 // 1 == 1e30 // 1"),
    ("{} / 1 + 100_000_000_000_000_000 - 100_000_000_000_000_000 == 0"),
    ("min({} + 1e30, 1e40) - 1e30 == 0"), ("where({} + 1e30 > 1e30, 1, 0) == 0"),
]  # fmt: skip
"""What is `{} == 0` over the reals, and true of any number of registers in floating point."""


@pytest.mark.parametrize("text", SWALLOWED)
def test_what_floating_point_swallows_is_another_law(text: str) -> None:
    there = text.replace("{}", "cubin.registers")
    assert of_law(there) != of_law("cubin.registers == 0")
    assert of_law(there) == of_law(f"({there})")
    assert of_law(there) != of_law(there.replace("== 0", "== 1") if "== 0" in there else f"not ({there})")


def test_integers_of_any_size_lose_nothing() -> None:
    big = 10**17
    assert of_law(f"t + {big} * {big} - {big} * {big} == 0") == of_law("t == 0")
    assert of_law("cubin.registers + 1 KiB / 1 <= 9") != of_law("cubin.registers <= 9")
    assert of_law("device.smem_per_block - 1 KiB >= t + 1 KiB") == of_law(
        "device.smem_per_block >= t + 2 KiB"
    )


SAME_MATHS = [
    ("2 * x[m, n]", "x[m, n] * 2", "x[m, n] + x[m, n]"),
    ("x[m, n] + 1.0 + m", "m + (x[m, n] + 1.0)", "1.0 + m + x[m, n]"),
    ("(x[m, n] - 1.0) * (x[m, n] - 1.0)", "x[m, n] * x[m, n] - 2.0 * x[m, n] + 1.0"),
    ("sum[k](A[m, k] * B[k, n])", "sum[j](B[j, n] * A[m, j])"),
    ("sum[k](0.5 * A[m, k] * B[k, n])", "sum[k](A[m, k] * B[k, n]) / 2"),
    ("sum[k](A[m, k] * x[m, n])", "x[m, n] * sum[k](A[m, k])"),
    ("1 / sqrt(x[m, n])", "rsqrt(x[m, n])"),
    ("x[m, n] / (2.0 * m + 2.0)", "0.5 * x[m, n] / (m + 1)"),
    ("where(m >= n, x[m, n], -inf)", "where(n <= m, x[m, n], -inf)", "where(m < n, -inf, x[m, n])"),
    ("max[k](A[m, k])", "max[j](A[m, j])"),
]


@pytest.mark.parametrize("texts", [pair for row in SAME_MATHS for pair in itertools.pairwise(row)])
def test_one_computation_in_other_words(texts: tuple[str, str]) -> None:
    assert of_math(texts[0]) == of_math(texts[1])


def test_indices_of_an_equation_are_its_own() -> None:
    assert of_math("2 * x[m, n]") == of_math("2 * x[i, j]", left="y[i, j]")
    assert of_math("x[m, n]") != of_math("x[n, m]")
    assert of_math("sum[k](A[m, k]) + sum[k](B[k, n])") == of_math("sum[i](A[m, i]) + sum[j](B[j, n])")
    one, other = (f"sum[i](A[m, i] * max[j](A[m, {a}] * B[{b}, n]))" for a, b in (("i", "j"), ("j", "i")))
    assert of_math(one) != of_math(other)


@pytest.mark.parametrize(
    "text",
    ["x[m, n] + 1e30 - 1e30", "(x[m, n] * 1e-20 + 1.0) - 1.0", "x[m, n] * 1e-300 * 1e-300 * 1e300 * 1e300"],
)
def test_mathematics_that_the_reference_cannot_follow_is_other_mathematics(text: str) -> None:
    plain = "1e-20 * x[m, n]" if "1e-20" in text else "x[m, n]"
    assert of_math(text) != of_math(plain)
    assert of_math(f"2 * ({text})") != of_math(f"2 * {plain}")
    assert of_math(f"sum[k](A[m, k] * ({text}))") != of_math(f"sum[k](A[m, k] * {plain})")


def test_numbers_alone_are_rounded_too() -> None:
    """A type of few digits makes nothing of what is added to a large number."""
    assert of_math("(1e8 + 2.0 - 1e8) * x[m, n]", rounded) != of_math("2.0 * x[m, n]", rounded)
    assert of_math("(1 + 2 * 3) * x[m, n]", rounded) == of_math("7 * x[m, n]", rounded)


def test_rounding_keeps_the_order_of_operations() -> None:
    assert of_math("2 * x[m, n]", rounded) == of_math("x[m, n] * 2", rounded)
    assert of_math("x[m, n] - 1.0", rounded) == of_math("-(1.0) + x[m, n]", rounded)
    assert of_math("sum[k](A[m, k] * B[k, n])", rounded) == of_math("sum[j](B[j, n] * A[m, j])", rounded)
    for one, other in (("x[m, n] + 1.0 + m", "x[m, n] + (1.0 + m)"), ("x[m, n]", "x[m, n] + 1e8 - 1e8")):
        assert of_math(one) == of_math(other) and of_math(one, rounded) != of_math(other, rounded)


# ---- nothing is taken for the same that is not ----------------------------------------------------------

NAMES = ("a", "b")


def some_expr(draw: random.Random, depth: int) -> Expr:
    """A number."""
    if depth == 0 or draw.random() < 0.2:
        return (
            Ref(draw.choice(NAMES), RefKind.knob)
            if draw.random() < 0.6
            else Const(draw.choice((-1, 0, 1, 2, 0.5)))
        )
    op = draw.choice(
        ("add", "sub", "mul", "div", "neg", "min", "max", "where", "floordiv", "mod", "pow", "identity")
    )
    if op in ("neg", "identity"):
        return Apply(op, (some_expr(draw, depth - 1),))
    if op == "where":
        return Apply(
            op, (some_truth(draw, depth - 1), some_expr(draw, depth - 1), some_expr(draw, depth - 1))
        )
    if op == "pow":
        return Apply(op, (some_expr(draw, depth - 1), Const(draw.choice((1, 2, 3)))))
    return Apply(op, (some_expr(draw, depth - 1), some_expr(draw, depth - 1)))


def some_truth(draw: random.Random, depth: int) -> Expr:
    if depth > 0 and draw.random() < 0.3:
        op = draw.choice(("and", "or", "not"))
        return Apply(op, tuple(some_truth(draw, depth - 1) for _ in range(1 if op == "not" else 2)))
    if draw.random() < 0.2:
        first, last = Const(draw.choice((0, 1))), Const(draw.choice((1, 2)))
        domain = Members((first, last)) if draw.random() < 0.5 else Interval(first, last)
        return Apply("member", (some_expr(draw, depth - 1 if depth else 0), domain))
    op = draw.choice(("eq", "ne", "lt", "le", "gt", "ge"))
    return Apply(op, tuple(some_expr(draw, max(0, depth - 1)) for _ in range(2)))


POINTS = [Env().knobs({"a": a, "b": b}) for a in (-2, 0, 1, 3) for b in (-1, 0, 2)]


def values(expr: Expr) -> list[object]:
    found = [evaluate(expr, env) for env in POINTS]
    return [
        None if isinstance(each, Unknown) else round(each, 9) if isinstance(each, float) else each
        for each in found
    ]


def test_the_same_normal_form_is_the_same_value_everywhere() -> None:
    draw = random.Random(7)
    known: dict[str, tuple[list[object], Expr]] = {}
    met = 0
    for i in range(5_000):
        expr = (some_truth if i % 2 else some_expr)(draw, draw.choice((1, 2, 2, 3)))
        text, found = canonical(normal(expr)), values(expr)
        if text not in known:
            known[text] = found, expr
        elif known[text][1] != expr:
            met += 1
            then = known[text][0]
            for a, b in zip(then, found, strict=True):
                assert a == b, (text, canonical(expr), canonical(known[text][1]))
    assert met > 400, met


NOWHERE = Span(SourceFile("nowhere.spak", ""), 0, 0)
SIZE = Ref("a", RefKind.parameter)  # of any value, unlike a knob
EXTREME = (1e30, -1e30, 1e-30, 1e200, 1e-200, 3.0, 10**17, -(10**17), 1e16)


def some_extreme(draw: random.Random, depth: int) -> Expr:
    if depth == 0 or draw.random() < 0.2:
        return SIZE if draw.random() < 0.5 else Const(draw.choice((1, 0.5, *EXTREME)))
    op = draw.choice(("add", "sub", "mul", "div"))
    return Apply(op, (some_extreme(draw, depth - 1), some_extreme(draw, depth - 1)))


def truths(truth: Apply) -> list[tuple[Any, bool]]:
    """At some points, and whether both sides are as good as equal there: then the last place decides."""
    found: list[tuple[Any, bool]] = []
    for a in (-3.271, -0.618, 1e-9, 0.0137, 2.718, 7.389, 1013.9):
        env = Env().bind({(SIZE.kind, SIZE.name): a})
        left, right = (evaluate(side, env) for side in truth.args)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            found.append((evaluate(truth, env), math.isclose(left, right)))
        else:
            found.append((None, True))
    return found


def test_the_same_normal_form_is_the_same_in_floating_point() -> None:
    draw = random.Random(11)
    known: dict[str, tuple[list[tuple[Any, bool]], Expr]] = {}
    met = 0
    for _ in range(4_000):
        expr = some_extreme(draw, draw.choice((1, 2, 2, 3)))
        truth = Apply(draw.choice(("le", "lt")), (expr, some_extreme(draw, draw.choice((0, 0, 1)))))
        text, found = canonical(normal(truth)), truths(truth)
        then, other = known.setdefault(text, (found, truth))
        met += other != truth
        for (a, one), (b, two) in zip(then, found, strict=True):
            said = text, canonical(truth), canonical(other)
            assert a == b or None in (a, b) or (one and two), said
    assert met > 150, met


TABLE = {"A": ((1, 2, -1), (0, 3, 5), (2, 2, 7)), "B": ((-2, 1, 4), (3, 0, 1), (1, 6, 2))}


def some_sum(draw: random.Random, depth: int, bound: tuple[str, ...]) -> Expr:
    """A number made of reductions over elements of tables."""
    if depth == 0 or draw.random() < 0.15:
        places = [Ref(draw.choice(bound), RefKind.index) for _ in range(2)]
        return Load(draw.choice(("A", "B")), tuple(places))
    op = draw.choice(("add", "mul", "sub", "sum", "sum", "max", "max"))
    if op in ("sum", "max"):
        axes = tuple(draw.sample(("i", "j", "k"), draw.choice((1, 1, 2))))
        return Reduce(op, axes, some_sum(draw, depth - 1, (*bound, *axes, *axes)))
    return Apply(op, (some_sum(draw, depth - 1, bound), some_sum(draw, depth - 1, bound)))


def value(expr: Expr, at: dict[str, int]) -> Any:
    """Every axis that is told by an access has three values."""
    match expr:
        case Const(value=number):
            return number
        case Load(tensor=name, indices=(Ref(name=row), Ref(name=column))):
            return TABLE[name][at[row]][at[column]]
        case Apply(op=op, args=args):
            parts = [value(arg, at) for arg in args]
            return {"add": sum, "mul": math.prod, "sub": lambda p: p[0] - p[1]}[op](parts)
        case Reduce(op=op, axes=axes, body=body):
            found = [
                value(body, at | dict(zip(axes, each, strict=True)))
                for each in itertools.product(range(3), repeat=len(axes))
            ]
            return sum(found) if op == "sum" else max(found)
    raise AssertionError(expr)


def test_the_same_normal_form_is_the_same_sum() -> None:
    draw = random.Random(9)
    known: dict[str, tuple[Any, Expr]] = {}
    met = 0
    for _ in range(2_500):
        expr = some_sum(draw, draw.choice((2, 3, 3, 4)), ("m", "n"))
        form = normal(Equation("y", (), expr, span=NOWHERE)).value
        text = canonical(form)
        found = value(expr, {"m": 0, "n": 1}), value(expr, {"m": 2, "n": 0})
        assert found == (value(form, {"m": 0, "n": 1}), value(form, {"m": 2, "n": 0})), canonical(expr)
        then, other = known.setdefault(text, (found, expr))
        met += other != expr
        assert then == found, (text, canonical(expr), canonical(other))
    assert met > 60, met


def test_a_normal_form_is_its_own() -> None:
    draw = random.Random(8)
    for i in range(1_500):
        expr = (some_truth if i % 2 else some_expr)(draw, 3)
        once = normal(expr)
        assert canonical(normal(once)) == canonical(once), canonical(expr)
