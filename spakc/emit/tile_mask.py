"""Conditions over index variables as C++ over whole tiles: interval arithmetic that says whether a condition
may be and must be true (see tile_mask.cuh). Whatever has no such form is only sometimes true."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from spakc.emit.expressions import Scope, expression
from spakc.ir.inline import free_indices
from spakc.ir.ops import Apply, Const, Expr, Load, Ref, RefKind
from spakc.ir.simplify import TRUE, ZERO, add, neg, negation, sub
from spakc.ir.visit import walk
from spakc.record import record

_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<="}
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
        if condition.op in ("gt", "ge"):
            return tile_truth(Apply(_TURNED[condition.op], (args[1], args[0])), ranged, scope)
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


# ---- limits of one index --------------------------------------------------------------------------------


@record
class Limit:
    """Where all of `conditions` hold, an index is at least (`least`) or at most `value`; `span` is that as a Range
    over all values of the other index of a tile."""

    conditions: tuple[str, ...]
    least: bool
    value: str
    span: str


_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}


def limits(condition: Expr, index: str, other: str, scope: Scope) -> list[Limit] | None:
    """A condition as limits of one of the two index variables that a tile spans; None where it is not of that
    form."""
    wanted = index_limits(condition, index)
    if wanted is None:
        return None
    found = []
    for limit in wanted:
        code, span = expression(limit.value, scope), _range(limit.value, (other,), scope)
        if (
            code.kind != "i32"
            or span is None
            or not all(_is_single(c, (index, other)) for c in limit.conditions)
        ):
            return None
        conditions = tuple(expression(c, scope).text for c in limit.conditions)
        found.append(Limit(conditions, limit.least, code.text, span))
    return found


@record
class IndexLimit:
    """Where all of `conditions` hold, an index is at least (`least`) or at most `value`."""

    conditions: tuple[Expr, ...]
    least: bool
    value: Expr

    def follows(self, other: str) -> bool:
        """Whether the limit moves with another index, at most, and the conditions stay as they are."""
        return _sum(self.value, other) is not None and other not in [
            name for condition in self.conditions for name in free_indices(condition)
        ]


def index_limits(condition: Expr, index: str) -> list[IndexLimit] | None:
    """A condition as limits of an index variable; None where it is not of that form."""
    if condition == TRUE:
        return []
    if not isinstance(condition, Apply):
        return None
    if condition.op == "and":
        parts = [index_limits(arg, index) for arg in condition.args]
        return None if None in parts else [limit for part in parts for limit in part or ()]
    if condition.op == "or":
        one, two = condition.args
        if index in free_indices(one):
            one, two = two, one
        found = index_limits(two, index)
        if found is None or not _known(one, index):
            return None
        return [replace(limit, conditions=(negation(one), *limit.conditions)) for limit in found]
    if condition.op in _TURNED:
        return _compared(condition, index)
    return None


def _known(expr: Expr, index: str) -> bool:
    """Whether an expression is the same for every value of the index, and reads no tensor."""
    return index not in free_indices(expr) and not any(isinstance(n, Load) for n in walk(expr))


def _compared(condition: Apply, index: str) -> list[IndexLimit] | None:
    """Of `a op b` where the index is added or subtracted once."""
    one, two = (_sum(arg, index) for arg in condition.args)
    if one is None or two is None:
        return None
    (times_left, left), (times_right, right) = one, two
    times = times_left - times_right
    if abs(times) != 1:
        return None
    op = condition.op if times > 0 else _TURNED[condition.op]
    bound = sub(right, left) if times > 0 else sub(left, right)
    found: list[IndexLimit] = []
    for least, wanted in ((True, ("gt", "ge", "eq")), (False, ("lt", "le", "eq"))):
        if op in wanted:
            found.append(IndexLimit((), least, add(bound, Const({"gt": 1, "lt": -1}.get(op, 0)))))
    return found


def _sum(expr: Expr, index: str) -> tuple[int, Expr] | None:
    """How often the index is added, and what else is."""
    if isinstance(expr, Ref) and expr.kind is RefKind.index and expr.name == index:
        return 1, ZERO
    if _known(expr, index):
        return 0, expr
    if not isinstance(expr, Apply) or expr.op not in ("add", "sub", "neg"):
        return None
    parts = [_sum(arg, index) for arg in expr.args]
    if any(part is None for part in parts):
        return None
    times: int = 0
    rest: Expr = ZERO
    for place, part in enumerate(parts):
        assert part is not None
        sign = -1 if expr.op == "neg" or (place == 1 and expr.op == "sub") else 1
        times += sign * part[0]
        rest = add(rest, part[1] if sign > 0 else neg(part[1]))
    return times, rest
