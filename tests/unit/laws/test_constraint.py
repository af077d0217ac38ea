"""The evaluator: exact, three-valued, the same on one point and on a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spakc.ir.constraint import (
    Env,
    TooMany,
    Unknown,
    column,
    evaluate,
    explain,
    implication,
    lanes,
    members,
    residual,
)
from spakc.ir.ops import Apply, Const, Expr, Interval, Load, Members, Query, Reduce, Ref, RefKind
from tests.clock import assert_within
from tests.unit.laws.build import dim, fact, knob, op, option, sizeof, word

EMPTY = Env()


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        (op("floordiv", 7, 2), 3),
        (op("floordiv", -7, 2), -4),
        (op("mod", -7, 2), 1),
        (op("div", 7, 2), 3.5),
        (op("ceil_div", 7, 2), 4),
        (op("mul", 2**40, 2**40), 2**80),
        (op("eq", op("mul", 2**53 + 1, 1), float(2**53)), False),
        (op("where", op("gt", 0, 0), op("floordiv", 1, 0), 5), 5),
        (op("eq", word("gelu"), word("gelu")), True),
        (op("ne", word("gelu"), word("relu")), True),
        (op("member", 96, Interval(Const(64), Const(256), Const(8))), True),
        (op("member", 97, Interval(Const(64), Const(256), Const(8))), False),
        (op("member", word("row"), Members((word("column"), word("row")))), True),
        (op("cast_bf16", 1.00390625), 1.0),
        (op("cast_f16", 2049.0), 2048.0),
        (op("pow", 2, 10), 1024),
        (op("and", op("lt", 1, 0), op("eq", op("div", 1, 0), 1)), False),
        (op("or", op("lt", 0, 1), knob("nowhere")), True),
    ],
)
def test_one_point(expr: Expr, value: object) -> None:
    result = evaluate(expr, EMPTY)
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (op("floordiv", 7, 0), "a division by zero"),
        (op("div", 7, 0.0), "a division by zero"),
        (op("pow", 0, -1), "a division by zero"),
        (op("pow", 10, op("pow", 10, 10)), "too large"),
        (op("pow", 2.0, 100_000), "too large"),
        (op("sqrt", -1), "outside of the function's domain"),
        (op("sub", float("inf"), float("inf")), "not a number"),
        (op("eq", word("gelu"), 1), "a word compared with a number"),
        (op("lt", word("a"), word("b")), "an order between words"),
        (op("add", word("a"), 1), "not a number"),
        (op("and", 1, True), "a truth value expected"),
        (op("lt", knob("stages"), 3), "`stages`"),
        (op("lt", fact("sms"), 3), "`device.sms`"),
        (op("gt", Query("cubin.count", (Const("HMMA"),)), 0), '`cubin.count("HMMA")`'),
        (Reduce("every", ("r",), op("lt", 0, Load("target", (Ref("r", RefKind.index),)))), "`target`"),
    ],
)
def test_no_value_says_why(expr: Expr, why: str) -> None:
    result = evaluate(expr, EMPTY)
    assert isinstance(result, Unknown) and why in str(result)


def test_kleene_tables() -> None:
    u = knob("unbound")
    for name, rows in {
        "and": [(True, True, True), (True, False, False), (False, u, False), (True, u, None), (u, u, None)],
        "or": [(False, False, False), (True, u, True), (u, True, True), (False, u, None), (u, u, None)],
    }.items():
        for a, b, expected in rows:
            for left, right in ((a, b), (b, a)):
                result = evaluate(op(name, left, right), EMPTY)
                assert result is expected if expected is not None else isinstance(result, Unknown)


def test_unknown_branch_that_is_not_taken_does_not_matter_on_a_grid() -> None:
    stages = np.array([0, 1, 2, 4])
    expr = op("where", op("gt", knob("stages"), 0), op("floordiv", 8, knob("stages")), -1)
    result = lanes(expr, EMPTY.knobs({"stages": stages}))
    assert result.data.tolist() == [-1, 8, 4, 2] and not result.some_unknown


def test_a_lane_without_a_value_is_unknown_alone() -> None:
    result = lanes(op("eq", op("mod", 8, knob("n")), 0), EMPTY.knobs({"n": np.array([0, 2, 3])}))
    assert np.asarray(result.unknown).tolist() == [True, False, False]
    assert result.data.tolist()[1:] == [True, False] and result.reasons == {"a division by zero"}


def test_integers_leave_int64_without_wrapping() -> None:
    n = np.array([1, 2**31, 2**61])
    env = EMPTY.knobs({"n": n})
    square = lanes(op("mul", knob("n"), knob("n")), env)
    assert square.data.tolist() == [1, 2**62, 2**122]
    assert lanes(op("gt", op("mul", knob("n"), knob("n")), 2**121), env).data.tolist() == [False, False, True]


NUMBERS = st.one_of(
    st.integers(-20, 20), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, width=32), st.booleans()
)
BINARY = ["add", "sub", "mul", "div", "floordiv", "mod", "ceil_div", "min", "max", "pow"]
COMPARE = ["eq", "ne", "lt", "le", "gt", "ge"]


def _expr(children: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    two = st.tuples(st.sampled_from([*BINARY, *COMPARE, "and", "or"]), children, children)
    one = st.tuples(st.sampled_from(["neg", "abs", "not", "sqrt", "exp", "floor"]), children)
    three = st.tuples(st.just("where"), children, children, children)
    return st.one_of(two, one, three).map(lambda t: Apply(t[0], tuple(t[1:])))


EXPRS = st.recursive(
    st.one_of(st.sampled_from([knob("i"), knob("j"), knob("x"), knob("w"), word("b")]), NUMBERS.map(Const)),
    _expr,
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(EXPRS, st.integers(-(2**70), 2**70))
def test_a_grid_says_what_its_points_say(expr: Expr, big: int) -> None:
    axes = {"i": (-3, 0, 1, 5), "j": (0, 2, big), "x": (-1.5, 0.0, 2.5, float("inf")), "w": ("a", "b")}
    arrays = {
        name: column(values).reshape([-1 if k == position else 1 for k in range(4)])
        for position, (name, values) in enumerate(axes.items())
    }
    grid = lanes(expr, EMPTY.knobs(arrays))
    if "a choice between different kinds of value" in grid.reasons:
        return  # no array holds words beside numbers; such a `where` is refused before it is evaluated
    shape = (4, 3, 4, 2)
    data, unknown = np.broadcast_to(grid.data, shape), np.broadcast_to(grid.unknown, shape)
    for index in np.ndindex(shape):
        point = {name: values[k] for (name, values), k in zip(axes.items(), index, strict=True)}
        value = evaluate(expr, EMPTY.knobs(point))
        if isinstance(value, Unknown):
            assert unknown[index], (expr, point, data[index])
        else:
            assert not unknown[index] and data[index] == value, (expr, point, data[index], value)


def test_a_deep_or_shared_expression_is_evaluated_once() -> None:
    deep: Expr = knob("n")
    for _ in range(20_000):
        deep = op("add", deep, 1)
    assert evaluate(deep, EMPTY.knobs({"n": 1})) == 20_001
    shared: Expr = knob("n")
    for _ in range(200):
        shared = op("max", shared, shared)
    assert evaluate(shared, EMPTY.knobs({"n": 7})) == 7


def test_explanation_names_the_comparison_that_decides() -> None:
    env = EMPTY.knobs({"stages": 8}).facts({"smem": 232448})
    law = op("and", op("ge", knob("stages"), 2), op("le", op("mul", knob("stages"), 49280), fact("smem")))
    why = explain(law, env)
    assert (why.text, why.left, why.right) == ("394240 <= 232448 is false", 394240, 232448)
    assert explain(op("le", knob("stages"), fact("gone")), env).text == "8 <= ? is unknown"
    assert (
        explain(implication(op("eq", knob("stages"), 2), op("gt", knob("stages"), 4)), env).text
        == "8 == 2 is false"
    )


def test_domains() -> None:
    assert members(Interval(Const(64), Const(96), Const(8)), EMPTY) == (64, 72, 80, 88, 96)
    assert members(Members((word("a"), word("b"), word("a"))), EMPTY) == ("a", "b")
    assert members(Interval(Const(1), Const(10**18)), EMPTY) == TooMany(10**18)
    assert members(Interval(Const(5), Const(4)), EMPTY) == ()
    assert isinstance(members(Interval(Const(1), Const(4), Const(0)), EMPTY), Unknown)
    assert isinstance(members(Interval(Const(1), fact("sms")), EMPTY), Unknown)


def test_what_remains_of_a_guard() -> None:
    guard = op("and", op("gt", knob("tile"), 8), op("eq", op("mod", dim("K"), op("mul", knob("tile"), 2)), 0))
    rest = residual(guard, EMPTY.knobs({"tile": 32}))
    assert rest == op("eq", op("mod", dim("K"), 64), 0)
    assert residual(op("eq", option("mode"), word("fast")), EMPTY.options({"mode": "fast"})) == Const(True)


def test_a_whole_space_in_a_blink() -> None:
    sizes = [4, 25, 1, 7, 3, 2, 2, 4, 4]  # 134,400 points
    names = ["tile_m", "tile_n", "tile_k", "stages", "consumers", "mode", "cluster", "raster", "split_k"]
    columns: list[np.ndarray] = [np.arange(1, size + 1) * 8 for size in sizes]
    columns[5] = np.array(["cooperative", "pingpong"])
    env = (
        EMPTY.knobs(
            {
                name: values.reshape([-1 if k == position else 1 for k in range(9)])
                for position, (name, values) in enumerate(zip(names, columns, strict=True))
            }
        )
        .facts({"smem": 232448})
        .bind(queries={sizeof("A"): 2})
    )
    owners = op("where", op("eq", knob("mode"), word("cooperative")), knob("consumers"), 1)
    smem = op(
        "mul",
        op("mul", knob("stages"), op("add", knob("tile_m"), knob("tile_n"))),
        op("mul", knob("tile_k"), sizeof("A")),
    )
    laws = [
        op("le", smem, fact("smem")),
        op("eq", op("mod", knob("tile_m"), op("mul", 64, owners)), 0),
        op("or", op("ne", knob("mode"), word("pingpong")), op("eq", knob("consumers"), 16)),
        op("le", op("div", op("mul", knob("tile_m"), knob("tile_n")), op("mul", 128, owners)), 208),
        op("le", op("mul", knob("split_k"), knob("raster")), 128),
        op("le", op("mul", knob("cluster"), op("mul", knob("stages"), knob("split_k"))), 512),
        op("gt", op("add", knob("stages"), op("mul", knob("split_k"), knob("cluster"))), 8),
    ]  # fmt: skip
    lawful = []
    assert_within(
        0.5, lambda: lawful.extend(np.broadcast_to(lanes(law, env).data, sizes).sum() for law in laws)
    )
    assert sum(lawful) > 0
