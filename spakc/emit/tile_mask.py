"""Conditions over index variables as C++ over whole tiles: interval arithmetic that says whether a condition
may be and must be true (see tile_mask.cuh). Whatever has no such form is only sometimes true."""

from __future__ import annotations

from collections.abc import Collection

from spakc.emit.expressions import Scope, expression
from spakc.ir.inline import free_indices
from spakc.ir.ops import Apply, Expr, Load, Ref, RefKind
from spakc.ir.visit import walk

_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ARITHMETIC = {"add": "+", "sub": "-"}
_UNKNOWN = "sometimes()"


def tile_truth(condition: Expr, ranged: Collection[str], scope: Scope) -> str:
    """An expression of type Truth. `ranged` are the index variables that a tile spans: in the code they are
    a Range; every other name of the condition has one value."""
    if _is_single(condition, ranged):
        return f"Truth({expression(condition, scope).text})"
    if isinstance(condition, Apply):
        args = condition.args
        if condition.op in ("and", "or"):
            one, two = (tile_truth(arg, ranged, scope) for arg in args)
            return f"{'both' if condition.op == 'and' else 'either'}({one}, {two})"
        if condition.op == "not":
            inner = tile_truth(args[0], ranged, scope)
            return inner if inner == _UNKNOWN else f"!{inner}"
        if condition.op in _COMPARE:
            left, right = (_range(arg, ranged, scope) for arg in args)
            if left is not None and right is not None:
                return f"({left} {_COMPARE[condition.op]} {right})"
    return _UNKNOWN


def is_uniform(expr: Expr) -> bool:
    """Whether an expression has one value in a whole launch: dims, options and constants alone."""
    local = any(isinstance(n, Ref) and n.kind is RefKind.local for n in walk(expr))
    return not local and _is_single(expr, free_indices(expr))


def _is_single(expr: Expr, ranged: Collection[str]) -> bool:
    return not set(free_indices(expr)) & set(ranged) and not any(isinstance(n, Load) for n in walk(expr))


def _range(expr: Expr, ranged: Collection[str], scope: Scope) -> str | None:
    """An expression of type Range; None where there is none."""
    if _is_single(expr, ranged):
        single = expression(expr, scope)
        return f"Range({single.text})" if single.kind == "i32" else None
    if isinstance(expr, Ref):
        return expression(expr, scope).text
    if not isinstance(expr, Apply):
        return None
    if expr.op == "neg":
        inner = _range(expr.args[0], ranged, scope)
        return None if inner is None else f"(-{inner})"
    if len(expr.args) != 2:
        return None
    one, two = expr.args
    if expr.op == "mul" and _is_single(one, ranged):
        one, two = two, one
    if expr.op in ("mul", "floordiv", "mod"):
        left = _range(one, ranged, scope)
        if left is None or not _is_single(two, ranged) or expression(two, scope).kind != "i32":
            return None
        by = expression(two, scope).text
        name = {"floordiv": "floor_divide", "mod": "floor_modulo"}.get(expr.op)
        return f"({left} * {by})" if name is None else f"{name}({left}, {by})"
    left, right = _range(one, ranged, scope), _range(two, ranged, scope)
    if left is None or right is None:
        return None
    if expr.op in _ARITHMETIC:
        return f"({left} {_ARITHMETIC[expr.op]} {right})"
    return f"{expr.op}imum({left}, {right})" if expr.op in ("min", "max") else None
