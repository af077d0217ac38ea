"""Sums of products: numbers in front of terms, and what floating point would lose of them.

A sum over the reals is known by its terms. The evaluator of laws and the float64 reference of mathematics follow it but
for their last places, except where large numbers cancel (`x + 1e30 - 1e30` is 0 there), and where a number leaves their
range (`x * 1e-200 * 1e-200`). Both are `Lossy` here: whoever says so in such words does not say the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from spakc.ir.facts import FACTS
from spakc.ir.ops import Apply, Const, Expr, Query, Ref, RefKind
from spakc.ir.queries import QUERIES
from spakc.ir.types import NUMBER, Unit
from spakc.record import record

WRITTEN = "written"
"""The operation around what stays as it was written."""

_LARGEST = 2**256
"""No number, and not its inverse, may be larger: some factors later float64 has no such number."""

_SLACK = 2**27
"""So many times as large as what is left may be what cancels in mathematics: half of the digits of a float64."""

_WHOLE_OPS = frozenset(("add", "sub", "mul", "neg", "floordiv", "mod", "ceil_div", "min", "max", "identity"))
_WHOLE_NAMES = frozenset((RefKind.dim, RefKind.knob, RefKind.index, RefKind.sample))


class Lossy(Exception):
    """Floating point makes something else of an expression than the reals do."""


@record
class Factor:
    """A number in front of a term. `real` if it came of a division or was written with a point: `2.0 * n` and `2 * n`
    are of different types where `n` is an integer."""

    value: Fraction
    real: bool = False

    def __add__(self, other: Factor) -> Factor:
        return Factor(self.value + other.value, self.real or other.real)

    def __mul__(self, other: Factor) -> Factor:
        return Factor(_in_range(self.value * other.value), self.real or other.real)


PLUS_ONE, MINUS_ONE = Factor(Fraction(1)), Factor(Fraction(-1))

Term = tuple[Unit, tuple[Expr, ...]]
"""The unit of its factor, and what is multiplied, in order."""

Sum = Mapping[Term, Factor]


def atom(expr: Expr) -> Sum:
    """The sum of one thing that nothing is known of."""
    return {(NUMBER, (expr,)): PLUS_ONE}


def is_number(expr: Expr) -> bool:
    return (
        isinstance(expr, Const) and isinstance(expr.value, (int, float)) and not isinstance(expr.value, bool)
    )


def of_number(expr: Const) -> Sum:
    """A number is what its digits say: 0.1 is a tenth. Infinity is a factor of its own."""
    value = expr.value
    if isinstance(value, int):
        return {(expr.unit, ()): Factor(_in_range(Fraction(value)))}
    if isinstance(value, float) and math.isfinite(value):
        return {(expr.unit, ()): Factor(_in_range(Fraction(repr(value))), real=True)}
    sign = -1 if value == -math.inf else 1
    return {(expr.unit, (Const(math.inf),)): Factor(Fraction(sign))}


def _in_range(value: Fraction) -> Fraction:
    if value and not 1 <= abs(value) * _LARGEST <= _LARGEST**2:
        raise Lossy
    return value


def scaled(terms: Sum, by: Factor) -> Sum:
    return {term: factor * by for term, factor in terms.items()}


def plus(left: Sum, right: Sum, mathematics: bool) -> Sum:
    """Both together. Raises Lossy where more cancels than floating point bears: nothing, but in `mathematics`, which is
    judged within a tolerance, and among integers, which are exact."""
    found = dict(left)
    lost = Fraction(0)
    for term, factor in right.items():
        before = found.get(term)
        if before is None:
            found[term] = factor
            continue
        if before.value * factor.value < 0:
            lost = max(lost, min(abs(before.value), abs(factor.value)))
        found[term] = before + factor
    if lost and not (lost <= _SLACK * _least(found) if mathematics else _are_whole(left, right)):
        raise Lossy
    return found


def _least(terms: Sum) -> Fraction:
    return min((abs(each.value) for each in terms.values() if each.value), default=Fraction(1))


def _are_whole(*sums: Sum) -> bool:
    """Whether the evaluator computes sums with integers, of any size."""
    return all(
        not factor.real and _all_whole(factors) for each in sums for (_, factors), factor in each.items()
    )


def _all_whole(exprs: Iterable[Expr]) -> bool:
    return all(map(_is_whole, exprs))


def _is_whole(expr: Expr) -> bool:
    match expr:
        case Const(value=value):
            return type(value) is int
        case Ref(kind=RefKind.fact, name=name):
            return name in FACTS and FACTS[name].kind is int
        case Ref(kind=kind):
            return kind in _WHOLE_NAMES
        case Query(name=name):
            return name in QUERIES and QUERIES[name].result == "int"
        case Apply(op="where", args=(_, yes, no)):
            return _is_whole(yes) and _is_whole(no)
        case Apply(op=op, args=args):
            return op in _WHOLE_OPS and _all_whole(args)
    return False


def product(term: Term, factor: Factor) -> Expr:
    """A term as an expression."""
    unit, factors = term
    above, below = Const(factor.value.numerator, unit=unit), Const(factor.value.denominator)
    number: Expr = Apply("div", (above, below)) if factor.real or below.value != 1 else above
    if not factors:
        return number
    parts = factors if number == Const(1) else (number, *factors)
    return parts[0] if len(parts) == 1 else Apply("mul", parts)
