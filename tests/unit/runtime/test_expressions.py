import math

import pytest

from spak_runtime.errors import ExpressionError
from spak_runtime.expressions import (
    Environment,
    TensorFacts,
    compile_expression,
    evaluate,
    names_of,
    render,
)

ENVIRONMENT = Environment(
    dims={"M": 300, "N": 64},
    knobs={"tile": 128, "mode": "pingpong"},
    options={"fast": True, "scale": 0.5},
    facts={"sms": 132},
    tensors={
        "x": TensorFacts("bf16", 2, (64, 1), "row", 16),
        "gate": TensorFacts("f32", 4, (0,), present=False),
    },
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (7, 7),
        (True, True),
        ("row", "row"),
        (["ceil_div", ["dim", "M"], ["knob", "tile"]], 3),
        (["mul", ["dim", "M"], ["dim", "N"], ["sizeof", "x"]], 300 * 64 * 2),
        (["sub", 1, 5], -4),
        (["div", 1, 4], 0.25),
        (["floordiv", -7, 2], -4),
        (["mod", -7, 2], 1),
        (["min", 4, 2, 3], 2),
        (["max", 4, 2, 9], 9),
        (["pow", 2, 10], 1024),
        (["where", ["eq", ["knob", "mode"], "pingpong"], 1, 2], 1),
        (["and", ["option", "fast"], ["gt", ["option", "scale"], 0]], True),
        (["or", ["lt", 2, 1], ["ne", 1, 1]], False),
        (["not", ["present", "gate"]], True),
        (["stride", "x", 0], 64),
        (["layout", "x"], "row"),
        (["dtype", "x"], "bf16"),
        (["alignment", "x"], 16),
        (["fact", "sms"], 132),
        (["member", ["dim", "N"], ["set", 32, 64]], True),
        (["member", ["dtype", "x"], ["set", "f16", "f32"]], False),
        (["member", ["dim", "N"], ["interval", 0, 64, 32]], True),
        (["member", ["dim", "N"], ["interval", 1, 64, 32]], False),
        (["member", 65, ["interval", 0, 64]], False),
        (["sqrt", 16], 4.0),
        (["rsqrt", 16], 0.25),
        (["exp", 0], 1.0),
        (["floor", 2.7], 2),
        (["ceil", 2.2], 3),
        (["neg", 3], -3),
        (["abs", -3], 3),
    ],
)
def test_values(expression, value):
    result = evaluate(expression, ENVIRONMENT)
    assert result == value
    assert type(result) is type(value)


def test_and_or_stop_where_the_answer_is_known():
    impossible = ["gt", ["div", 1, 0], 0]
    assert evaluate(["and", False, impossible], ENVIRONMENT) is False
    assert evaluate(["or", True, impossible], ENVIRONMENT) is True


def test_the_closure_follows_its_environment():
    evaluator = compile_expression(["add", ["dim", "M"], 1])
    assert [evaluator(Environment(dims={"M": m})) for m in (1, 2, 3)] == [2, 3, 4]


def test_a_float_function_agrees_with_math():
    for name in ("exp", "log", "log2", "sqrt", "sin", "cos", "tanh", "erf"):
        assert evaluate([name, 0.7], ENVIRONMENT) == getattr(math, name)(0.7)


@pytest.mark.parametrize(
    "malformed",
    [
        ["system", "ls"],
        ["add", 1],
        ["not", 1, 2],
        ["dim"],
        ["dim", 3],
        ["stride", "x"],
        ["stride", "x", "0"],
        [],
        [["dim", "M"], 1],
        None,
        {"dim": "M"},
        ["member", 1, 2],
        ["member", 1, ["bag", 2]],
        ["member", 1, ["interval", 2]],
        ["__class__", 1],
    ],
)
def test_malformed_expressions_are_refused_when_compiled(malformed):
    with pytest.raises(ExpressionError, match="SPAK757: guard `g`"):
        compile_expression(malformed, "guard `g`")


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        (["div", 1, ["sub", ["dim", "M"], 300]], r"1 / \(M - 300\): division by zero"),
        (["dim", "K"], r"K: no value for 'K'"),
        (["add", ["dim", "M"], "row"], r"M \+ row"),
        (["log", -1], r"log\(-1\)"),
        (["stride", "x", 5], r"stride\(x, 5\)"),
    ],
)
def test_an_expression_without_a_value_is_shown(expression, shown):
    with pytest.raises(ExpressionError, match=shown):
        evaluate(expression, ENVIRONMENT)


def test_rendering_reads_like_the_source():
    guard = [
        "and",
        ["eq", ["mod", ["stride", "x", 0], 8], 0],
        ["le", ["mul", ["add", ["dim", "M"], 1], 2], 99],
    ]
    assert render(guard) == "stride(x, 0) % 8 == 0 and (M + 1) * 2 <= 99"
    assert render(["sub", 1, ["sub", 2, 3]]) == "1 - (2 - 3)"
    assert render(["member", ["dim", "D"], ["set", 64, 128]]) == "D in {64, 128}"
    assert render(["not", ["present", "gate"]]) == "not(gate is given)"


def test_names_of_one_kind():
    expression = ["add", ["dim", "M"], ["mul", ["knob", "tile"], ["dim", "N"]]]
    assert names_of(expression, "dim") == {"M", "N"}
    assert names_of(expression, "knob") == {"tile"}
