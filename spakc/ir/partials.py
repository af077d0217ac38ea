"""The derivative of an element-wise expression with respect to one element that it reads.

Conventions at kinks are those of common frameworks: relu and abs have derivative 0 at 0, a tie of min or max
shares the derivative evenly, what is compared or rounded has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from spakc.ir.ops import ACTIVATIONS, Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import (
    ONE,
    ZERO,
    add,
    compare,
    div,
    mul,
    neg,
    power,
    square,
    sub,
    where,
)
from spakc.ir.visit import children

Choices = Callable[[str], Sequence[str]]
"""The words that an option may be."""

HALF = Const(0.5)


def partial(expr: Expr, element: Load, choices: Choices) -> Expr:
    """d expr / d element; every load equal to `element` varies, no other does.

    Needs an expression without reductions. `choices` gives the words of an option that names an
    activation."""
    if expr == element:
        return ONE
    assert not isinstance(expr, Reduce), "a reduction is differentiated as an equation of its own"
    if not isinstance(expr, Apply):
        return ZERO
    inner = [partial(child, element, choices) for child in children(expr)]
    if all(derivative == ZERO for derivative in inner):
        return ZERO
    return _apply(expr, inner, choices)


def _apply(expr: Apply, inner: list[Expr], choices: Choices) -> Expr:
    """The chain rule for one operation; `inner` are the derivatives of its operands."""
    op, args = expr.op, expr.args
    if op in ("cast_bf16", "cast_f16", "cast_f32", "cast_f64", "identity"):
        return inner[0]
    if op in _FLAT or op.startswith("cast_"):
        return ZERO
    if op == "where":
        return where(args[0], inner[1], inner[2], span=expr.span)
    if op == "call":
        return mul(inner[1], _chosen(args[0], args[1], choices), span=expr.span)
    if op in _BINARY:
        return _BINARY[op](args[0], args[1], inner[0], inner[1])
    if op in UNARY:
        return mul(inner[0], UNARY[op](args[0]), span=expr.span)
    raise AssertionError(op)


def _chosen(option: Expr, x: Expr, choices: Choices) -> Expr:
    """The derivative of an activation that an option names: one case for each word it may be."""
    if isinstance(option, Ref) and option.kind is RefKind.symbol:
        return UNARY[option.name](x)
    assert isinstance(option, Ref)
    words = [word for word in choices(option.name) if word in ACTIVATIONS]
    result = UNARY[words[-1]](x)
    for word in reversed(words[:-1]):
        result = where(compare("eq", option, Ref(word, RefKind.symbol)), UNARY[word](x), result)
    return result


def _extreme(op: str) -> Callable[[Expr, Expr, Expr, Expr], Expr]:
    def rule(a: Expr, b: Expr, da: Expr, db: Expr) -> Expr:
        tie = mul(HALF, add(da, db))
        return where(compare(op, a, b), da, where(compare("eq", a, b), tie, db))

    return rule


def _quotient(a: Expr, b: Expr, da: Expr, db: Expr) -> Expr:
    first = div(da, b)
    return first if db == ZERO else sub(first, div(mul(a, db), square(b)))


def _power(a: Expr, b: Expr, da: Expr, db: Expr) -> Expr:
    first = mul(da, b, power(a, sub(b, ONE)))
    return first if db == ZERO else add(first, mul(db, power(a, b), _f("log", a)))


_BINARY: dict[str, Callable[[Expr, Expr, Expr, Expr], Expr]] = {
    "add": lambda _a, _b, da, db: add(da, db),
    "sub": lambda _a, _b, da, db: sub(da, db),
    "mul": lambda a, b, da, db: add(mul(da, b), mul(a, db)),
    "div": _quotient,
    "pow": _power,
    "mod": lambda a, b, da, db: sub(da, mul(_f("floor", div(a, b)), db)),
    "max": _extreme("gt"),
    "min": _extreme("lt"),
}

_FLAT = frozenset(
    (
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "and",
        "or",
        "not",
        "member",
        "floor",
        "ceil",
        "floordiv",
        "ceil_div",
    )
)


def _f(op: str, *args: Expr) -> Expr:
    return Apply(op, args)


def _positive(x: Expr) -> Expr:
    return compare("gt", x, ZERO)


def _gelu(x: Expr) -> Expr:
    cumulative = mul(HALF, add(ONE, _f("erf", mul(Const(math.sqrt(0.5)), x))))
    density = mul(Const(1 / math.sqrt(2 * math.pi)), _f("exp", mul(Const(-0.5), square(x))))
    return add(cumulative, mul(x, density))


def _gelu_tanh(x: Expr) -> Expr:
    scale = math.sqrt(2 / math.pi)
    inner = mul(Const(scale), add(x, mul(Const(0.044715), x, x, x)))
    slope = mul(Const(scale), add(ONE, mul(Const(3 * 0.044715), square(x))))
    t = _f("tanh", inner)
    return add(mul(HALF, add(ONE, t)), mul(HALF, x, sub(ONE, square(t)), slope))


def _silu(x: Expr) -> Expr:
    s = _f("sigmoid", x)
    return mul(s, add(ONE, mul(x, sub(ONE, s))))


UNARY: dict[str, Callable[[Expr], Expr]] = {
    "neg": lambda _: Const(-1),
    "abs": lambda x: where(_positive(x), ONE, where(compare("lt", x, ZERO), Const(-1), ZERO)),
    "exp": lambda x: _f("exp", x),
    "log": lambda x: div(ONE, x),
    "exp2": lambda x: mul(Const(math.log(2)), _f("exp2", x)),
    "log2": lambda x: div(Const(1 / math.log(2)), x),
    "sqrt": lambda x: div(HALF, _f("sqrt", x)),
    "rsqrt": lambda x: mul(Const(-0.5), _f("rsqrt", x), square(_f("rsqrt", x))),
    "sin": lambda x: _f("cos", x),
    "cos": lambda x: neg(_f("sin", x)),
    "tanh": lambda x: sub(ONE, square(_f("tanh", x))),
    "erf": lambda x: mul(Const(2 / math.sqrt(math.pi)), _f("exp", neg(square(x)))),
    "identity": lambda _: ONE,
    "relu": lambda x: where(_positive(x), ONE, ZERO),
    "relu_squared": lambda x: mul(Const(2), _f("relu", x)),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "sigmoid": lambda x: mul(_f("sigmoid", x), sub(ONE, _f("sigmoid", x))),
}
"""The derivative of each function of one argument, as an expression of that argument."""
