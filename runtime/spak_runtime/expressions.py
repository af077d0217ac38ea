"""Expressions of the manifest: JSON prefix lists over what a call knows, turned into closures.

`compile_expression` checks an expression once, when an artifact is loaded; the closure it returns is what a
launch calls. No text is ever evaluated: an operation that is not in the tables below is an error.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from spak_runtime.errors import ExpressionError

Value: TypeAlias = bool | int | float | str
Evaluator: TypeAlias = Callable[["Environment"], Any]


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What expressions may ask about one tensor of a call. `alignment` in bytes, at most 256; `strides` in
    elements."""

    dtype: str
    itemsize: int
    strides: tuple[int, ...]
    layout: str = "row"
    alignment: int = 256
    present: bool = True


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that a name can stand for. Sizes may be symbolic integers of a tracing framework."""

    dims: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)
    facts: Mapping[str, Value] = field(default_factory=dict)
    tensors: Mapping[str, TensorFacts] = field(default_factory=dict)


def compile_expression(expression: Any, where: str = "expression") -> Evaluator:
    """A closure that evaluates `expression` in an Environment. `where` names the expression in errors.

    Raises ExpressionError now for an unknown operation, a wrong number of operands or a malformed atom; the
    closure raises it for an unknown name or an operation without a value (a division by zero), showing the
    whole expression.
    """
    inner = _compile(expression, where)

    def evaluate(environment: Environment) -> Any:
        try:
            return inner(environment)
        except KeyError as error:
            raise ExpressionError(f"{where}: {render(expression)}: no value for {error}") from None
        except (ArithmeticError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise ExpressionError(f"{where}: {render(expression)}: {error}") from None

    return evaluate


def evaluate(expression: Any, environment: Environment, where: str = "expression") -> Any:
    """The value of `expression`: `compile_expression` for a single use."""
    return compile_expression(expression, where)(environment)


def names_of(expression: Any, kind: str) -> set[str]:
    """The names that an expression mentions as ["<kind>", name]."""
    if not isinstance(expression, list) or not expression:
        return set()
    if expression[0] in _ATOMS:
        return {expression[1]} if expression[0] == kind else set()
    return set().union(*(names_of(item, kind) for item in expression[1:]))


def _ceil_div(a: Any, b: Any) -> Any:
    return -(-a // b)


def _rsqrt(a: float) -> float:
    return 1.0 / math.sqrt(a)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "sub": operator.sub,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "ceil_div": _ceil_div,
}
_FOLDED: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "mul": operator.mul,
    "min": min,
    "max": max,
}
_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": operator.neg,
    "not": operator.not_,
    "abs": abs,
    "exp": math.exp,
    "log": math.log,
    "exp2": lambda a: 2.0**a,
    "log2": math.log2,
    "sqrt": math.sqrt,
    "rsqrt": _rsqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "erf": math.erf,
    "floor": math.floor,
    "ceil": math.ceil,
    "cast_f32": float,
    "cast_f64": float,
    "cast_int32": int,
    "cast_int64": int,
    "cast_bool": bool,
}


def _stride(name: str, axis: int) -> Evaluator:
    return lambda e: e.tensors[name].strides[axis]


_ATOMS: dict[str, Callable[..., Evaluator]] = {
    "dim": lambda name: lambda e: e.dims[name],
    "knob": lambda name: lambda e: e.knobs[name],
    "option": lambda name: lambda e: e.options[name],
    "fact": lambda name: lambda e: e.facts[name],
    "sizeof": lambda name: lambda e: e.tensors[name].itemsize,
    "dtype": lambda name: lambda e: e.tensors[name].dtype,
    "layout": lambda name: lambda e: e.tensors[name].layout,
    "alignment": lambda name: lambda e: e.tensors[name].alignment,
    "present": lambda name: lambda e: e.tensors[name].present,
    "stride": _stride,
}


def _compile(expression: Any, where: str) -> Evaluator:
    if isinstance(expression, (bool, int, float, str)):
        return lambda _: expression
    if not isinstance(expression, list) or not expression or not isinstance(expression[0], str):
        raise ExpressionError(f"{where}: {expression!r} is no expression")
    op, operands = expression[0], expression[1:]
    if op in _ATOMS:
        return _compile_atom(op, operands, where)
    if op == "member":
        return _compile_member(operands, where)
    arity = 1 if op in _UNARY else 2 if op in _BINARY else 3 if op == "where" else None
    if arity is None and op not in _FOLDED and op not in ("and", "or"):
        raise ExpressionError(f"{where}: unknown operation {op!r} in {render(expression)}")
    if (arity is not None and len(operands) != arity) or (arity is None and len(operands) < 2):
        raise ExpressionError(f"{where}: {op} does not take {len(operands)} operands: {render(expression)}")
    return _apply(op, [_compile(operand, where) for operand in operands])


def _apply(op: str, args: list[Evaluator]) -> Evaluator:
    if op in _UNARY:
        unary, a = _UNARY[op], args[0]
        return lambda e: unary(a(e))
    if op in _BINARY:
        binary, (a, b) = _BINARY[op], args
        return lambda e: binary(a(e), b(e))
    if op == "where":
        condition, yes, no = args
        return lambda e: yes(e) if condition(e) else no(e)
    if op == "and":
        return lambda e: all(arg(e) for arg in args)
    if op == "or":
        return lambda e: any(arg(e) for arg in args)
    folded, (first, *rest) = _FOLDED[op], args

    def fold(e: Environment) -> Any:
        value = first(e)
        for arg in rest:
            value = folded(value, arg(e))
        return value

    return fold


def _compile_atom(op: str, operands: list[Any], where: str) -> Evaluator:
    right = [str, int] if op == "stride" else [str]
    if [type(operand) for operand in operands] != right:
        raise ExpressionError(f"{where}: {[op, *operands]!r} is no atom")
    return _ATOMS[op](*operands)


def _compile_member(operands: list[Any], where: str) -> Evaluator:
    if len(operands) != 2 or not isinstance(operands[1], list) or not operands[1]:
        raise ExpressionError(f"{where}: member takes a value and a set or an interval: {operands!r}")
    x = _compile(operands[0], where)
    kind, *items = operands[1]
    parts = [_compile(item, where) for item in items]
    if kind == "set":
        return lambda e: x(e) in [part(e) for part in parts]
    if kind == "interval" and len(parts) in (2, 3):
        first, last = parts[:2]
        step: Evaluator = parts[2] if len(parts) == 3 else lambda _: 1

        def inside(e: Environment) -> bool:
            value = x(e)
            return bool(first(e) <= value <= last(e) and (value - first(e)) % step(e) == 0)

        return inside
    raise ExpressionError(f"{where}: {operands[1]!r} is neither a set nor an interval")


_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floordiv": "//",
    "mod": "%",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "and": "and",
    "or": "or",
}
_TIGHTNESS = {"or": 0, "and": 1, "==": 2, "!=": 2, "<": 2, "<=": 2, ">": 2, ">=": 2, "+": 3, "-": 3}


def render(expression: Any) -> str:
    """An expression as a reader would write it: `stride(A, 0) % 8 == 0`."""
    return _render(expression, 0)


def _render(expression: Any, outer: int) -> str:
    if not isinstance(expression, list) or not expression:
        return str(expression).lower() if isinstance(expression, bool) else str(expression)
    op, args = expression[0], expression[1:]
    if op in ("dim", "knob", "option") and len(args) == 1:
        return str(args[0])
    if op == "fact" and len(args) == 1:
        return f"device.{args[0]}"
    if op == "present" and len(args) == 1:
        return f"{args[0]} is given"
    if op == "member" and len(args) == 2:
        return f"{_render(args[0], 3)} in {_render(args[1], 3)}"
    if op == "set":
        return "{" + ", ".join(_render(a, 0) for a in args) + "}"
    if op == "interval" and len(args) >= 2:
        by = f" step {_render(args[2], 3)}" if len(args) == 3 else ""
        return f"{_render(args[0], 3)}..{_render(args[1], 3)}{by}"
    if op in _INFIX and len(args) >= 2:
        sign = _INFIX[op]
        level = _TIGHTNESS.get(sign, 4)
        text = f" {sign} ".join([_render(args[0], level), *(_render(a, level + 1) for a in args[1:])])
        return f"({text})" if level < outer else text
    return f"{op}(" + ", ".join(_render(a, 0) for a in args) + ")"
