"""What a value may be whatever is measured: ranges of expressions, and propositions that they decide."""

from __future__ import annotations

import math
from collections.abc import Callable

from spakc.ir.constraint import SYMBOLS, Env, Unknown, evaluate, explain, show
from spakc.ir.ops import Apply, Expr, Query, Ref, RefKind
from spakc.ir.queries import QUERIES

Range = tuple[float, float]

LARGE = 1 << 53
"""From here on a float may stand for several whole numbers, and decides nothing."""


def truth_of(proposition: Expr, env: Env) -> tuple[bool | None, str]:
    """Whether a proposition is true whatever is measured, false whatever is measured, or neither (None); and why."""
    value = evaluate(proposition, env)
    if isinstance(value, bool):
        return value, explain(proposition, env).text
    if isinstance(proposition, Apply) and proposition.op in ("and", "or"):
        parts = [truth_of(arg, env) for arg in proposition.args]
        decisive = proposition.op == "or"
        return next((p for wanted in (decisive, None) for p in parts if p[0] is wanted), parts[0])
    if isinstance(proposition, Apply) and proposition.op == "not":
        truth, note = truth_of(proposition.args[0], env)
        return None if truth is None else not truth, note
    if isinstance(proposition, Apply) and proposition.op in SYMBOLS:
        left, right = (range_of(side, env) for side in proposition.args)
        if left and right and (truth := _compare(proposition.op, left, right)) is not None:
            return truth, f"{_shown(left)} {SYMBOLS[proposition.op]} {_shown(right)} is {show(truth)}"
    return None, f"waits for {value}" if isinstance(value, Unknown) else "no truth value"


def range_of(expr: Expr, env: Env) -> Range | None:
    """The least and the most that a value may be, whatever is measured, as if no two parts hung together; None where
    nothing is known of a part."""
    value = evaluate(expr, env)
    if isinstance(value, int | float):
        return (float(value), float(value)) if abs(value) < LARGE else None
    if isinstance(expr, Query):
        spec = QUERIES[expr.name]
        return spec.least, spec.most
    if isinstance(expr, Ref) and expr.kind is RefKind.dim:
        return 0.0, math.inf
    if not isinstance(expr, Apply) or expr.op not in _RANGES:
        return None
    parts = [range_of(arg, env) for arg in expr.args]
    known = [part for part in parts if part is not None]
    return _RANGES[expr.op](*known) if len(known) == len(parts) else None


def _times(left: Range, right: Range) -> Range:
    ends = [0.0 if a == 0 or b == 0 else a * b for a in left for b in right]
    return min(ends), max(ends)


def _divided(left: Range, right: Range) -> Range:
    if right[0] > 0 or right[1] < 0:
        return _times(left, (1 / right[1], 1 / right[0]))
    return (0.0, math.inf) if left[0] >= 0 and right[0] >= 0 else (-math.inf, math.inf)


def _absolute(of: Range) -> Range:
    ends = sorted(map(abs, of))
    return (0.0 if of[0] <= 0 <= of[1] else ends[0]), ends[1]


_RANGES: dict[str, Callable[..., Range]] = {
    "neg": lambda a: (-a[1], -a[0]),
    "abs": _absolute,
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": _times,
    "div": _divided,
    "min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
}


def _compare(op: str, left: Range, right: Range) -> bool | None:
    if op in ("gt", "ge"):
        op, left, right = {"gt": "lt", "ge": "le"}[op], right, left
    if op in ("eq", "ne"):
        apart = left[1] < right[0] or right[1] < left[0]
        return (op == "ne") if apart else None
    surely = left[1] < right[0] if op == "lt" else left[1] <= right[0]
    never = left[0] >= right[1] if op == "lt" else left[0] > right[1]
    return True if surely else False if never else None


def _shown(found: Range) -> str:
    low, high = found
    return f"{low:.6g}" if low == high else f"[{low:.6g}, {high:.6g}]"
