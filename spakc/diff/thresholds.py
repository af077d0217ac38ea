"""What a proposition lets through, before and after, by its thresholds.

Each comparison of its normal form is brought to `terms <= number`, and the two propositions are compared at every
threshold, between and beyond them, as if different terms were independent. So `weaker` and `stronger` are true as they
stand, with an example; what depends on how terms hang together is `unclear`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction

from spakc.diff.difference import Strength, by_sets
from spakc.ir.canonical import canonical
from spakc.ir.constraint import describe
from spakc.ir.normal import normal, terms
from spakc.ir.ops import Apply, Const, Expr
from spakc.ir.sums import WRITTEN
from spakc.record import record

_MOST_CASES = 50_000

Key = tuple[tuple[str, Fraction], ...]
Point = Mapping[Key, Fraction]
_TURNED = {"lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}


@record
class Compared:
    """With an example of what is let through now and was not (`allowed`), and the other way round."""

    strength: Strength
    allowed: str = ""
    refused: str = ""


def compare_propositions(old: Expr, new: Expr) -> Compared:
    """The strength of a proposition by its thresholds."""
    old, new = normal(old), normal(new)
    if canonical(old) == canonical(new):
        return Compared(Strength.same)
    names: dict[str, str] = {}
    thresholds: dict[Key, set[Fraction]] = {}
    for expr in (old, new):
        _thresholds(expr, thresholds, names)
    values = {key: _between(found) for key, found in thresholds.items()}
    if math.prod(len(v) for v in values.values()) > _MOST_CASES:
        return Compared(Strength.unclear)
    gained: list[Point] = []
    lost: list[Point] = []
    for case in itertools.product(*values.values()):
        point = dict(zip(values, case, strict=True))
        before, after = _truth(old, point), _truth(new, point)
        if before != after:
            (lost if before else gained).append(point)

    def example(points: list[Point]) -> str:
        plain = min(points, key=lambda point: _oddity(point, thresholds), default={})
        told = {_shown(key, names): value for key, value in plain.items() if names.get(key[0][0]) != ""}
        return ", ".join(f"{name} = {_number(value)}" for name, value in told.items())

    return Compared(by_sets(bool(lost), bool(gained)), example(gained), example(lost))


def _oddity(point: Point, thresholds: Mapping[Key, set[Fraction]]) -> tuple[int, int, int]:
    """How far an example is from one that a reader would give: by values that may be negative, made up, or broken."""
    return (
        sum(value < 0 for value in point.values()),
        sum(value not in thresholds[key] for key, value in point.items()),
        sum(value.denominator for value in point.values()),
    )


def _thresholds(expr: Expr, found: dict[Key, set[Fraction]], names: dict[str, str]) -> None:
    if isinstance(expr, Apply) and expr.op in ("and", "or", "not"):
        for part in expr.args:
            _thresholds(part, found, names)
    elif isinstance(expr, Apply) and expr.op in _TURNED:
        key, _, number = _comparison(expr, names)
        found.setdefault(key, set()).add(number)
    elif not (isinstance(expr, Const) and isinstance(expr.value, bool)):
        names.setdefault(
            canonical(expr), "" if isinstance(expr, Apply) and expr.op == WRITTEN else _name(expr)
        )
        found.setdefault(_truth_of(expr), set()).add(Fraction(0))


def _truth_of(expr: Expr) -> Key:
    return ((canonical(expr), Fraction(1)),)


def _truth(expr: Expr, point: Point) -> bool:
    if isinstance(expr, Const) and isinstance(expr.value, bool):
        return expr.value
    if isinstance(expr, Apply) and expr.op in ("and", "or"):
        return (all if expr.op == "and" else any)(_truth(part, point) for part in expr.args)
    if isinstance(expr, Apply) and expr.op == "not":
        return not _truth(expr.args[0], point)
    if isinstance(expr, Apply) and expr.op in _TURNED:
        key, op, number = _comparison(expr, {})
        value = point[key]
        holds = {
            "lt": value < number, "le": value <= number, "gt": value > number,
            "ge": value >= number, "eq": value == number, "ne": value != number,
        }  # fmt: skip
        return holds[op]
    return point[_truth_of(expr)] > 0


def _comparison(expr: Apply, names: dict[str, str]) -> tuple[Key, str, Fraction]:
    """A comparison as `terms op number`, the first term taken once."""
    (left, less), (right, more) = (linear(side, names) for side in expr.args)
    gap = {name: left.get(name, Fraction(0)) - right.get(name, Fraction(0)) for name in {**left, **right}}
    gap = {name: factor for name, factor in sorted(gap.items()) if factor}
    number, op = more - less, expr.op
    if gap:
        first = next(iter(gap.values()))
        op = _TURNED[op] if first < 0 else op
        gap = {name: factor / first for name, factor in gap.items()}
        number /= first
    if not gap:  # of numbers alone: it is a truth that nothing is known of, for lets may change
        names.setdefault(canonical(expr), "")
        return _truth_of(expr), "gt", Fraction(0)
    return tuple(gap.items()), op, number


def linear(expr: Expr, names: dict[str, str] | None = None) -> tuple[dict[str, Fraction], Fraction]:
    """An expression as factors of terms that nothing is known of, and a number. `names` learns what to call terms."""
    found: dict[str, Fraction] = {}
    number = Fraction(0)
    for (_, factors), factor in terms(expr).items():
        if not factors:
            number += factor.value
            continue
        text = " ".join(map(canonical, factors))
        found[text] = found.get(text, Fraction(0)) + factor.value
        if names is not None:
            names.setdefault(text, " * ".join(map(_operand, factors) if factors[1:] else map(_name, factors)))
    return found, number


def _between(found: set[Fraction]) -> list[Fraction]:
    """Every threshold, one value between each two, one beyond each end."""
    at = sorted(found)
    middle = [(a + b) / 2 for a, b in itertools.pairwise(at)]
    return sorted({at[0] - 1, *at, *middle, at[-1] + 1})


# ---- what a reader sees -------------------------------------------------------------------------------


def _name(expr: Expr) -> str:
    if isinstance(expr, Apply) and expr.span is None:
        parts = [_name(arg) for arg in expr.args]
        if expr.op == "div" and len(parts) == 2:
            return f"({parts[0]} / {parts[1]})"
        sign = {"add": " + ", "mul": " * "}.get(expr.op)
        return f"({sign.join(parts)})" if sign else f"{expr.op}({', '.join(parts)})"
    return describe(expr)


def _operand(expr: Expr) -> str:
    name = _name(expr)
    return (
        f"({name})"
        if isinstance(expr, Apply) and " " in name and not (name[0] == "(" and name[-1] == ")")
        else name
    )


def _shown(key: Key, names: Mapping[str, str]) -> str:
    parts = []
    for text, factor in key:
        name = f"`{names.get(text, text)}`"
        parts.append(name if factor == 1 else f"-{name}" if factor == -1 else f"{_number(factor)} * {name}")
    return " + ".join(parts).replace("+ -", "- ")


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.6g}"
