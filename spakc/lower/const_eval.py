"""Values of expressions that need nothing but numbers: the one scalar evaluator of lowering and shape
checking."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from spakc.ir.ops import Apply, Const, Expr, Interval, Members, Ref, RefKind

Scalar: TypeAlias = bool | int | float | str

_LARGEST = 1 << 256
"""Integers beyond this are nobody's tile size; folding stops there instead of filling the memory."""


class NotConstant(Exception):
    """The expression needs something that is not known yet, or has no value (a division by zero)."""

    def __init__(self, reason: str, at: Expr) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at = at


def evaluate(expr: Expr, values: Mapping[tuple[RefKind, str], Scalar]) -> Scalar:
    """The value of an expression under values of its references. A symbol is its own name. Integer division
    and remainder round towards minus infinity. Raises NotConstant, never anything else."""
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, Ref):
        if (expr.kind, expr.name) in values:
            return values[expr.kind, expr.name]
        if expr.kind is RefKind.symbol:
            return expr.name
        raise NotConstant(f"`{expr.name}` is not known here", expr)
    if isinstance(expr, Apply):
        return _apply(expr, values)
    raise NotConstant("this is not known before the kernel runs", expr)


def _apply(expr: Apply, values: Mapping[tuple[RefKind, str], Scalar]) -> Scalar:
    if expr.op == "where":
        chosen = expr.args[1] if evaluate(expr.args[0], values) else expr.args[2]
        return evaluate(chosen, values)
    if expr.op == "and":
        return bool(evaluate(expr.args[0], values)) and bool(evaluate(expr.args[1], values))
    if expr.op == "or":
        return bool(evaluate(expr.args[0], values)) or bool(evaluate(expr.args[1], values))
    if expr.op == "member":
        return is_member(evaluate(expr.args[0], values), expr.args[1], values)
    function = _FUNCTIONS.get(expr.op)
    if function is None:
        raise NotConstant("this is not computed before the kernel runs", expr)
    operands = [evaluate(operand, values) for operand in expr.args]
    if expr.op not in ("eq", "ne") and any(isinstance(operand, str) for operand in operands):
        raise NotConstant("a word is no number", expr)
    try:
        result = function(*operands)
    except ZeroDivisionError:
        raise NotConstant("this divides by zero", expr) from None
    except (ValueError, OverflowError, TypeError):
        raise NotConstant("this has no value", expr) from None
    if isinstance(result, complex) or (isinstance(result, int) and abs(result) > _LARGEST):
        raise NotConstant("this number is out of all bounds", expr)
    return result


def is_member(value: Scalar, domain: Expr, values: Mapping[tuple[RefKind, str], Scalar]) -> bool:
    """Whether a value is in a domain of scalars. Raises NotConstant."""
    if isinstance(domain, Members):
        return any(_same(value, evaluate(item, values)) for item in domain.items)
    if not isinstance(domain, Interval) or isinstance(value, str):
        raise NotConstant("this is no domain of numbers", domain)
    first, last = evaluate(domain.first, values), evaluate(domain.last, values)
    step = 1 if domain.by is None else evaluate(domain.by, values)
    if isinstance(first, str) or isinstance(last, str) or isinstance(step, str) or not step:
        raise NotConstant("this is no domain of numbers", domain)
    return first <= value <= last and (value - first) % step == 0


def _same(a: Scalar, b: Scalar) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _power(base: float, exponent: float) -> float:
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) > 1 and exponent * abs(base).bit_length() > 512:
            raise OverflowError
        result: int = base**exponent
        return result
    return math.pow(base, exponent)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


_FUNCTIONS: dict[str, Callable[..., Scalar]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "ceil_div": _ceil_div,
    "min": min,
    "max": max,
    "pow": _power,
    "neg": lambda a: -a,
    "abs": abs,
    "not": lambda a: not a,
    "eq": _same,
    "ne": lambda a, b: not _same(a, b),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "sqrt": math.sqrt,
    "rsqrt": lambda a: 1 / math.sqrt(a),
    "exp": math.exp,
    "exp2": lambda a: math.pow(2.0, a),
    "log": math.log,
    "log2": math.log2,
    "floor": math.floor,
    "ceil": math.ceil,
    "cast_int32": int,
    "cast_int64": int,
    "cast_f32": float,
    "cast_f64": float,
}
