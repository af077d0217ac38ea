"""The normal form of a meaning: one tree for whatever says the same in other words.

Two forms. `normal` is exact: values are real numbers, so a sum is known by its terms and a comparison by the sum that
it holds against zero, however they are written. `rounded` goes no further than floating point does: it leaves every
rounding as it is, so operands of one operation may change places and nothing else may. What could be undefined stays:
`x - x` and `0 * x` keep their `x`, and `x / x` is not 1 (docs/decisions/0011).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

from spakc.ir.canonical import canonical
from spakc.ir.extents import split_offset
from spakc.ir.module import Equation
from spakc.ir.ops import Apply, Const, Expr, Interval, Members, Query, Reduce, Ref, RefKind
from spakc.ir.simplify import rebuild
from spakc.ir.types import NUMBER, Unit
from spakc.ir.visit import loads, substitute, walk
from spakc.record import record

_MOST_TERMS = 256
"""A product with more terms than this is not multiplied out."""

_MOST_ORDERED = 3
"""So many axes of a reduction are tried in every order, and in so many reductions within each other."""

_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
_TURNED = {"gt": "lt", "ge": "le"}
_ONE, _ZERO = Const(1), Const(0)


@record
class Factor:
    """A number in front of a term. `real` if it came of a division or was written with a point: `2.0 * n` and `2 * n`
    are of different types where `n` is an integer."""

    value: Fraction
    real: bool = False

    def __add__(self, other: Factor) -> Factor:
        return Factor(self.value + other.value, self.real or other.real)

    def __mul__(self, other: Factor) -> Factor:
        return Factor(self.value * other.value, self.real or other.real)


_PLUS_ONE, _MINUS_ONE = Factor(Fraction(1)), Factor(Fraction(-1))

Term = tuple[Unit, tuple[Expr, ...]]
"""The unit of its factor, and what is multiplied, in order."""

Sum = Mapping[Term, Factor]
_NUMBER: Term = (NUMBER, ())


def normal(thing: Any) -> Any:
    """An expression, a declaration, or a tuple or mapping of such, with every expression in it in its exact form."""
    return _Exact().of(thing)


def rounded(thing: Any) -> Any:
    """The same in the form that keeps every rounding."""
    return _Rounded().of(thing)


def terms(expr: Expr) -> Sum:
    """An expression as the sum that it is, over the reals."""
    return _Exact().sum(expr)


class _Form:
    """What both forms share: the order of operands that commute, comparisons, truth, names of indices."""

    def __init__(self) -> None:
        self.depth = 0
        self.texts: dict[Expr, str] = {}

    def text(self, expr: Expr) -> str:
        if expr not in self.texts:
            self.texts[expr] = canonical(expr)
        return self.texts[expr]

    def sorted(self, exprs: Iterable[Expr]) -> tuple[Expr, ...]:
        return tuple(sorted(exprs, key=self.text))

    # ---- declarations ---------------------------------------------------------------------------------

    def of(self, thing: Any) -> Any:
        if isinstance(thing, Expr):
            return self.expr(thing)
        if isinstance(thing, Equation):
            return self.equation(thing)
        if isinstance(thing, (tuple, frozenset)):
            return type(thing)(self.of(item) for item in thing)
        if isinstance(thing, Mapping):
            return {key: self.of(value) for key, value in thing.items()}
        if is_dataclass(thing) and not isinstance(thing, type):
            old = {field.name: getattr(thing, field.name) for field in fields(thing) if field.compare}
            new = {name: self.of(value) for name, value in old.items()}
            changed = {name: value for name, value in new.items() if value is not old[name]}
            return replace(thing, **changed) if changed else thing
        return thing

    def equation(self, equation: Equation) -> Equation:
        """Its index variables are its own: they are named by their places on the left."""
        found = [n for index in equation.indices for n in walk(index) if _is_index(n)]
        names = dict.fromkeys(ref.name for ref in found if isinstance(ref, Ref))
        own = {_index(name): Ref(f"@{i}", RefKind.index) for i, name in enumerate(names)}
        return replace(
            equation,
            indices=tuple(self.expr(substitute(index, own)) for index in equation.indices),
            value=self.expr(substitute(equation.value, own)),
        )

    # ---- expressions ----------------------------------------------------------------------------------

    def expr(self, expr: Expr) -> Expr:
        raise NotImplementedError

    def compared(self, op: str, left: Expr, right: Expr) -> Expr:
        raise NotImplementedError

    def other(self, expr: Expr) -> Expr:
        """What is neither arithmetic nor a reduction that tells the sizes of its axes: another reduction stays as it
        was written, for another place of the equation tells them, by name."""
        if isinstance(expr, Reduce):
            return expr
        if not isinstance(expr, Apply):
            if isinstance(expr, Query):
                expr = replace(expr, named=tuple(sorted(expr.named, key=lambda pair: pair[0])))
            return rebuild(expr, self.expr)
        args = expr.args
        match expr.op:
            case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
                return self._comparison(expr.op, *args)
            case "member":
                spelled = _spelled(expr)
                return rebuild(expr, self.expr) if spelled is expr else self.expr(spelled)
            case "not":
                opposite = _negated(args[0])
                stays = _is(opposite, "not") and opposite.args[0] is args[0]  # type: ignore[attr-defined]
                return rebuild(expr, self.expr) if stays else self.expr(opposite)
            case "and" | "or":
                return self._junction(expr)
            case "min" | "max":
                return self._gathered(expr.op, map(self.expr, args))
            case "where":
                return self._choice(*args)
            case "identity":
                return self.expr(args[0])
            case "call" if isinstance(args[0], Ref) and args[0].kind is RefKind.symbol:
                return self.expr(Apply(args[0].name, (args[1],), span=expr.span))
        return rebuild(expr, self.expr)

    def _comparison(self, op: str, left: Expr, right: Expr) -> Expr:
        if op in _TURNED:
            op, left, right = _TURNED[op], right, left
        for one, truth in ((left, right), (right, left)):
            if op in ("eq", "ne") and isinstance(truth, Const) and isinstance(truth.value, bool):
                return self.expr(one if truth.value is (op == "eq") else _negated(one))
        return self.compared(op, left, right)

    def _junction(self, expr: Apply) -> Expr:
        neutral = expr.op == "and"
        parts = self._flat(expr.op, map(self.expr, expr.args))
        if any(isinstance(part, Const) and part.value is not neutral for part in parts):
            return Const(not neutral)
        rest = [part for part in parts if not isinstance(part, Const)]
        return self._gathered(expr.op, rest) if rest else Const(neutral)

    def _gathered(self, op: str, parts: Iterable[Expr]) -> Expr:
        """What an operation makes of a set: neither order nor repetition counts."""
        found = self.sorted(dict.fromkeys(self._flat(op, parts)))
        return found[0] if len(found) == 1 else Apply(op, found)

    def _flat(self, op: str, parts: Iterable[Expr]) -> list[Expr]:
        return [
            each
            for part in parts
            for each in (part.args if isinstance(part, Apply) and _is(part, op) else (part,))
        ]

    def _choice(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        holds, fails = self.expr(condition), self.expr(_negated(condition))
        if isinstance(holds, Const) and isinstance(holds.value, bool):
            return self.expr(yes if holds.value else no)
        if self.text(fails) < self.text(holds):
            return Apply("where", (fails, self.expr(no), self.expr(yes)))
        return Apply("where", (holds, self.expr(yes), self.expr(no)))

    def reduced(self, expr: Reduce, orders: Iterable[tuple[str, ...]]) -> Expr:
        """A reduction with the names of places for its axes, in the best of some orders."""
        first = self.depth
        self.depth += len(expr.axes)
        found = []
        for order in orders:
            places = tuple(f"#{first + i}" for i in range(len(order)))
            body = _renamed(expr.body, dict(zip(order, places, strict=True)))
            found.append(Reduce(expr.op, places, self.expr(body), span=expr.span))
        self.depth = first
        return min(found, key=self.text)


class _Exact(_Form):
    """Over the reals."""

    def expr(self, expr: Expr) -> Expr:
        if _is(expr, "add", "sub", "neg", "mul", "div", "pow", "rsqrt") or _is_number(expr) or _is_sum(expr):
            return self.tree(self.sum(expr))
        return self._whole(expr) if isinstance(expr, Reduce) and _tells(expr) else self.other(expr)

    def sum(self, expr: Expr) -> Sum:
        if isinstance(expr, Const) and _is_number(expr):
            return _of_number(expr)
        if isinstance(expr, Reduce) and _is_sum(expr):
            return self._distributed(expr)
        if not isinstance(expr, Apply):
            return self._atom(self.expr(expr))
        args = expr.args
        match expr.op:
            case "add":
                return functools.reduce(self._plus, map(self.sum, args))
            case "sub":
                return self._plus(self.sum(args[0]), _scaled(self.sum(args[1]), _MINUS_ONE))
            case "neg":
                return _scaled(self.sum(args[0]), _MINUS_ONE)
            case "mul":
                return functools.reduce(self._times, map(self.sum, args))
            case "identity":
                return self.sum(args[0])
            case "div":
                return self._times(self.sum(args[0]), self._inverse(self.sum(args[1])))
            case "rsqrt":
                return self._inverse(self._atom(Apply("sqrt", (self.expr(args[0]),))))
            case "pow":
                return self._power(*args)
        found = self.other(expr)
        return self._atom(found) if _is(found, expr.op) else self.sum(found)

    def _atom(self, expr: Expr) -> Sum:
        return {(NUMBER, (expr,)): _PLUS_ONE}

    def _plus(self, left: Sum, right: Sum) -> Sum:
        found = dict(left)
        for term, factor in right.items():
            found[term] = found[term] + factor if term in found else factor
        return found

    def _times(self, left: Sum, right: Sum) -> Sum:
        if len(left) * len(right) > _MOST_TERMS:
            left, right = (each if len(each) == 1 else self._atom(self.tree(each)) for each in (left, right))
        found: dict[Term, Factor] = {}
        for (unit, factors), one in left.items():
            for (other, more), two in right.items():
                term = (unit * other, self.sorted((*factors, *more)))
                found[term] = found[term] + one * two if term in found else one * two
        return found

    def _power(self, base: Expr, exponent: Expr) -> Sum:
        number = exponent.value if isinstance(exponent, Const) and exponent.unit == NUMBER else None
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 8:
            return self._atom(Apply("pow", (self.expr(base), self.expr(exponent))))
        found = whole = self.sum(base)
        for _ in range(number - 1):
            found = self._times(found, whole)
        return found

    def _inverse(self, divisor: Sum) -> Sum:
        """One over a sum: of a product the product of inverses, of a sum that of the sum with a leading 1."""
        by = self._leading(divisor)
        if by is None:
            return self._atom(Apply("div", (_ONE, self.tree(divisor))))
        ((unit, factors), _), over = next(iter(divisor.items())), Factor(1 / by, real=True)
        if len(divisor) > 1:
            whole = self.tree({term: Factor(factor.value / by) for term, factor in divisor.items()})
            return {(NUMBER, (Apply("div", (_ONE, whole)),)): over}
        return {(NUMBER / unit, self.sorted(Apply("div", (_ONE, each)) for each in factors)): over}

    def _leading(self, terms: Sum, *, numbers: bool = True) -> Fraction | None:
        """The first factor that is not zero."""
        known = [t for t, factor in terms.items() if factor.value and (numbers or t[1])]
        known.sort(key=lambda term: (not term[1], self._key(term)))
        return terms[known[0]].value if known else None

    def _key(self, term: Term) -> str:
        return " ".join([*map(self.text, term[1]), str(term[0])])

    def tree(self, terms: Sum) -> Expr:
        """A sum as an expression. A number that came to nothing beside other terms is gone."""
        kept = {term: factor for term, factor in terms.items() if term[1] or factor.value}
        parts = [_product(term, kept[term]) for term in sorted(kept, key=self._key)]
        return _ZERO if not parts else parts[0] if len(parts) == 1 else Apply("add", tuple(parts))

    def compared(self, op: str, left: Expr, right: Expr) -> Expr:
        """Both sides as one sum against zero, its first factor 1 or, where the direction counts, -1."""
        gap = self._plus(self.sum(left), _scaled(self.sum(right), _MINUS_ONE))
        gap = {term: Factor(factor.value) for term, factor in gap.items()}
        by = self._leading(gap, numbers=False)
        if by is not None:
            gap = dict(_scaled(gap, Factor(1 / (by if op in ("eq", "ne") else abs(by)))))
        elif not any(factors for _, factors in gap):  # a law over lets: what it leaves to them is its meaning
            return Apply(op, (self.tree(self.sum(left)), self.tree(self.sum(right))))
        return Apply(op, (self.tree(gap), _ZERO))

    def _whole(self, expr: Reduce) -> Expr:
        few = len(expr.axes) <= _MOST_ORDERED and self.depth <= _MOST_ORDERED
        return self.reduced(expr, itertools.permutations(expr.axes) if few else [expr.axes])

    def _distributed(self, expr: Reduce) -> Sum:
        """A sum over axes term by term, with what does not depend on the axes in front of it."""
        axes = tuple(f"~{self.depth + i}" for i in range(len(expr.axes)))
        body = _renamed(expr.body, dict(zip(expr.axes, axes, strict=True)))
        self.depth += len(axes)
        parts = [(term, factor, *self._apart(term[1], axes)) for term, factor in self.sum(body).items()]
        self.depth -= len(axes)
        each = [
            replace(expr, axes=axes, body=_product((NUMBER, inside), _PLUS_ONE)) for _, _, inside, _ in parts
        ]
        if not all(map(_tells, each)):  # one term tells the size of an axis for another
            return self._atom(self._whole(expr))
        found: Sum = {}
        for ((unit, _), factor, _, outside), one in zip(parts, each, strict=True):
            factors = self.sorted((*map(self.expr, outside), self._whole(one)))
            found = self._plus(found, {(unit, factors): factor})
        return found

    def _apart(
        self, factors: Iterable[Expr], axes: tuple[str, ...]
    ) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        """Those that depend on some axes, and the others."""
        known = [(each, _depends(each, axes)) for each in factors]
        return tuple(each for each, does in known if does), tuple(each for each, does in known if not does)


class _Rounded(_Form):
    """As floating point computes it."""

    def expr(self, expr: Expr) -> Expr:
        if isinstance(expr, Reduce):
            return self.reduced(expr, [expr.axes]) if _tells(expr) else expr
        if not isinstance(expr, Apply):
            return _Exact().expr(expr) if _is_number(expr) else self.other(expr)
        if all(_is_number(leaf) or isinstance(leaf, Apply) for leaf in walk(expr)):
            return _Exact().expr(expr)  # of numbers alone
        if expr.op == "sub":
            return self.expr(Apply("add", (expr.args[0], Apply("neg", (expr.args[1],)))))
        if expr.op == "neg" and _is(expr.args[0], "neg"):
            return self.expr(expr.args[0].args[0])  # type: ignore[attr-defined]
        if expr.op in ("add", "mul"):
            return Apply(expr.op, self.sorted(map(self.expr, expr.args)))
        return self.other(expr)

    def compared(self, op: str, left: Expr, right: Expr) -> Expr:
        sides = self.expr(left), self.expr(right)
        return Apply(op, self.sorted(sides) if op in ("eq", "ne") else sides)


# ---- helpers that need no form ------------------------------------------------------------------------


def _is(expr: Expr, *ops: str) -> bool:
    return isinstance(expr, Apply) and expr.op in ops


def _is_sum(expr: Expr) -> bool:
    return isinstance(expr, Reduce) and expr.op == "sum" and _tells(expr)


def _is_index(expr: Expr) -> bool:
    return isinstance(expr, Ref) and expr.kind is RefKind.index


def _is_number(expr: Expr) -> bool:
    return (
        isinstance(expr, Const) and isinstance(expr.value, (int, float)) and not isinstance(expr.value, bool)
    )


def _of_number(expr: Const) -> Sum:
    """A number is what its digits say: 0.1 is a tenth. Infinity is a factor of its own."""
    value = expr.value
    if isinstance(value, int):
        return {(expr.unit, ()): Factor(Fraction(value))}
    if isinstance(value, float) and math.isfinite(value):
        return {(expr.unit, ()): Factor(Fraction(repr(value)), real=True)}
    sign = -1 if value == -math.inf else 1
    return {(expr.unit, (Const(math.inf),)): Factor(Fraction(sign))}


def _scaled(terms: Sum, by: Factor) -> Sum:
    return {term: factor * by for term, factor in terms.items()}


def _product(term: Term, factor: Factor) -> Expr:
    """A term as an expression."""
    unit, factors = term
    above, below = Const(factor.value.numerator, unit=unit), Const(factor.value.denominator)
    number: Expr = Apply("div", (above, below)) if factor.real or below.value != 1 else above
    if not factors:
        return number
    parts = factors if number == _ONE else (number, *factors)
    return parts[0] if len(parts) == 1 else Apply("mul", parts)


def _depends(expr: Expr, axes: tuple[str, ...]) -> bool:
    return any(isinstance(each, Ref) and _is_index(each) and each.name in axes for each in walk(expr))


def _tells(expr: Reduce) -> bool:
    """Whether all axes run along tensors in the body, so that nothing depends on how they are called."""
    names = {axis: f"?{axis}" for axis in expr.axes}
    along = [split_offset(index) for each in loads(_renamed(expr.body, names)) for index in each.indices]
    return set(names.values()) <= {place[0] for place in along if place is not None}


def _renamed(expr: Expr, names: Mapping[str, str]) -> Expr:
    """Free index variables by other names. A reduction inside that has one of these for an axis calls it otherwise."""
    if isinstance(expr, Ref) and _is_index(expr):
        return replace(expr, name=names[expr.name]) if expr.name in names else expr
    if isinstance(expr, Reduce):
        names = {old: new for old, new in names.items() if old not in expr.axes}
        caught = {axis: f"{axis}'" for axis in expr.axes if axis in names.values()}
        axes = tuple(caught.get(axis, axis) for axis in expr.axes)
        return replace(
            expr, axes=axes, body=_renamed(_renamed(expr.body, caught) if caught else expr.body, names)
        )
    return rebuild(expr, lambda each: _renamed(each, names))


def _index(name: str) -> tuple[RefKind, str]:
    return RefKind.index, name


def _negated(expr: Expr) -> Expr:
    """What is true where `expr` is false, with the negation as far inside as it goes."""
    if isinstance(expr, Const) and isinstance(expr.value, bool):
        return Const(not expr.value)
    if not isinstance(expr, Apply):
        return Apply("not", (expr,))
    if expr.op in _OPPOSITE:
        return Apply(_OPPOSITE[expr.op], expr.args, span=expr.span)
    match expr.op:
        case "not":
            return expr.args[0]
        case "and" | "or":
            return Apply("or" if expr.op == "and" else "and", tuple(map(_negated, expr.args)))
        case "member" if not _is(_spelled(expr), "member"):
            return _negated(_spelled(expr))
    return Apply("not", (expr,))


def _spelled(expr: Apply) -> Expr:
    """`x in 1..4` as comparisons that all hold, `x in {a, b}` as such of which one does."""
    item, domain = expr.args
    if isinstance(domain, Interval):
        parts = [Apply("ge", (item, domain.first)), Apply("le", (item, domain.last))]
        if domain.by is not None:
            steps = Apply("mod", (Apply("sub", (item, domain.first)), domain.by))
            parts.append(Apply("eq", (steps, _ZERO)))
        return Apply("and", tuple(parts))
    if isinstance(domain, Members) and domain.items:
        words = ("member" if isinstance(each, Interval) else "eq" for each in domain.items)
        return Apply(
            "or", tuple(Apply(word, (item, each)) for word, each in zip(words, domain.items, strict=True))
        )
    return expr
