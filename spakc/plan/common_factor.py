"""A number that every term of a sum is multiplied by, taken out of it: `0.5 * (2 * x - 2 * y)` is `x - y`.

Derivatives of squares are written so, for every element of a row.
"""

from __future__ import annotations

from collections.abc import Callable

from spakc.ir.ops import Apply, Const, Expr, Load
from spakc.ir.simplify import add, factors_of, mul, neg, number, split_constant, sub
from spakc.ir.visit import children, with_children


def without_common_factors(expr: Expr) -> Expr:
    """The same value. What indexes a tensor stays as it is."""
    if isinstance(expr, Load):
        return expr
    old = children(expr)
    new = tuple(without_common_factors(child) for child in old)
    if any(a is not b for a, b in zip(old, new, strict=True)):
        expr = with_children(expr, new)
    match expr:
        case Apply("add", (left, right)):
            return _taken_out(expr, left, right, add)
        case Apply("sub", (left, right)):
            return _taken_out(expr, left, right, sub)
        case Apply("mul") | Apply("neg"):
            factors = factors_of(expr)
            if sum(number(factor) is not None for factor in factors) > 1:
                return mul(*factors, span=expr.span)
    return expr


def _taken_out(expr: Expr, left: Expr, right: Expr, join: Callable[[Expr, Expr], Expr]) -> Expr:
    (first, one), (second, other) = split_constant(left), split_constant(right)
    if (
        abs(first) != abs(second)
        or abs(first) in (0, 1)
        or number(one) is not None
        or number(other) is not None
    ):
        return expr
    joined = join(neg(one) if first < 0 else one, neg(other) if second < 0 else other)
    return Apply("mul", (Const(abs(first)), joined), span=expr.span)
