"""The normal form of a meaning: one tree for whatever says the same in other words.

Two forms. `normal` is exact: values are real numbers, so a sum is known by its terms and a comparison by the sum that
it holds against zero, however they are written. `rounded` goes no further than floating point does: it leaves every
rounding as it is, so operands of one operation may change places and nothing else may. What could be undefined stays:
`x - x` and `0 * x` keep their `x`, and `x / x` is not 1. What the evaluator, which computes with 64-bit floats, would
make something else of (`x + 1e30 - 1e30`), the exact form leaves as it is written (docs/decisions/0011).
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

from spakc.ir.canonical import canonical
from spakc.ir.extents import split_offset
from spakc.ir.module import Equation
from spakc.ir.ops import Apply, Const, Expr, Interval, Members, Query, Reduce, Ref, RefKind
from spakc.ir.simplify import rebuild
from spakc.ir.sums import (
    MINUS_ONE,
    PLUS_ONE,
    WRITTEN,
    Factor,
    Lossy,
    Sum,
    Term,
    atom,
    is_number,
    of_number,
    plus,
    product,
    scaled,
)
from spakc.ir.types import NUMBER
from spakc.ir.visit import loads, substitute, walk

_MOST_TERMS = 256
"""A product with more terms than this is not multiplied out."""

_MOST_ORDERED = 3
"""So many axes of a reduction are tried in every order, and in so many reductions within each other."""

_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
_TURNED = {"gt": "lt", "ge": "le"}
_ONE, _ZERO = Const(1), Const(0)
_WHOLE: Mapping[str, Callable[..., int]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg,
}  # fmt: skip
_SMALL = 256
"""Whole numbers up to this are exact in bf16."""


def normal(thing: Any) -> Any:
    """An expression, a declaration, or a tuple or mapping of such, with every expression in it in its exact form."""
    return _Exact().of(thing)


def rounded(thing: Any) -> Any:
    """The same in the form that keeps every rounding."""
    return _Rounded().of(thing)


def terms(expr: Expr) -> Sum:
    """An expression as the sum that it is, over the reals; as one term that nothing is known of where floating point
    would make another sum of it."""
    form = _Exact()
    try:
        return form.sum(expr)
    except Lossy:
        return atom(form.written(expr))


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
    """Over the reals, as far as the evaluator follows: `mathematics` has the slack of a tolerance, a law has none."""

    mathematics = False

    def equation(self, equation: Equation) -> Equation:
        self.mathematics = True
        found = super().equation(equation)
        self.mathematics = False
        return found

    def expr(self, expr: Expr) -> Expr:
        if _is(expr, WRITTEN):
            return self.written(expr.args[0])  # type: ignore[attr-defined]
        if _is(expr, "add", "sub", "neg", "mul", "div", "pow", "rsqrt") or is_number(expr) or _is_sum(expr):
            try:
                return self.tree(self.sum(expr))
            except Lossy:
                return self.written(expr)
        return self._whole(expr) if isinstance(expr, Reduce) and _tells(expr) else self.other(expr)

    def written(self, expr: Expr) -> Expr:
        """An expression with all its roundings; its reductions are named like those around it."""
        form = _Rounded()
        form.depth = self.depth
        return Apply(WRITTEN, (form.expr(expr),), span=expr.span)

    def plus(self, left: Sum, right: Sum) -> Sum:
        return plus(left, right, self.mathematics)

    def sum(self, expr: Expr) -> Sum:
        if isinstance(expr, Const) and is_number(expr):
            return of_number(expr)
        if isinstance(expr, Reduce) and _is_sum(expr):
            return self._distributed(expr)
        if not isinstance(expr, Apply):
            return atom(self.expr(expr))
        args = expr.args
        match expr.op:
            case "add":
                return functools.reduce(self.plus, map(self.sum, args))
            case "sub":
                return self.plus(self.sum(args[0]), scaled(self.sum(args[1]), MINUS_ONE))
            case "neg":
                return scaled(self.sum(args[0]), MINUS_ONE)
            case "mul":
                return functools.reduce(self._times, map(self.sum, args))
            case "identity":
                return self.sum(args[0])
            case "div":
                return self._times(self.sum(args[0]), self._inverse(self.sum(args[1])))
            case "rsqrt":
                return self._inverse(atom(Apply("sqrt", (self.expr(args[0]),))))
            case "pow":
                return self._power(*args)
        found = self.other(expr)
        return atom(found) if _is(found, expr.op) else self.sum(found)

    def _times(self, left: Sum, right: Sum) -> Sum:
        if len(left) * len(right) > _MOST_TERMS:
            left, right = (each if len(each) == 1 else atom(self.tree(each)) for each in (left, right))
        found: Sum = {}
        for (unit, factors), one in left.items():
            for (other, more), two in right.items():
                found = self.plus(found, {(unit * other, self.sorted((*factors, *more))): one * two})
        return found

    def _power(self, base: Expr, exponent: Expr) -> Sum:
        number = exponent.value if isinstance(exponent, Const) and exponent.unit == NUMBER else None
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 8:
            return atom(Apply("pow", (self.expr(base), self.expr(exponent))))
        found = whole = self.sum(base)
        for _ in range(number - 1):
            found = self._times(found, whole)
        return found

    def _inverse(self, divisor: Sum) -> Sum:
        """One over a sum: of a product the product of inverses, of a sum that of the sum with a leading 1."""
        by = self._leading(divisor)
        if by is None:
            return atom(Apply("div", (_ONE, self.tree(divisor))))
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
        parts = [product(term, kept[term]) for term in sorted(kept, key=self._key)]
        return _ZERO if not parts else parts[0] if len(parts) == 1 else Apply("add", tuple(parts))

    def compared(self, op: str, left: Expr, right: Expr) -> Expr:
        """Both sides as one sum against zero, its first factor 1 or, where the direction counts, -1."""
        try:
            return self._against_zero(op, left, right)
        except Lossy:
            return self.written(Apply(op, (left, right)))

    def _against_zero(self, op: str, left: Expr, right: Expr) -> Expr:
        sides = self.sum(left), self.sum(right)
        if not any(factors for side in sides for _, factors in side):
            return Apply(
                op, tuple(map(self.tree, sides))
            )  # a law over lets: what it leaves to them is its meaning
        gap = self.plus(sides[0], scaled(sides[1], MINUS_ONE))
        gap = {term: Factor(factor.value) for term, factor in gap.items()}
        by = self._leading(gap, numbers=False)
        if by is not None:
            gap = dict(scaled(gap, Factor(1 / (by if op in ("eq", "ne") else abs(by)))))
        return Apply(op, (self.tree(gap), _ZERO))

    def _whole(self, expr: Reduce) -> Expr:
        few = len(expr.axes) <= _MOST_ORDERED and self.depth <= _MOST_ORDERED
        return self.reduced(expr, itertools.permutations(expr.axes) if few else [expr.axes])

    def _distributed(self, expr: Reduce) -> Sum:
        """A sum over axes term by term, with what does not depend on the axes in front of it."""
        axes = tuple(f"~{self.depth + i}" for i in range(len(expr.axes)))
        body = _renamed(expr.body, dict(zip(expr.axes, axes, strict=True)))
        self.depth += len(axes)
        try:
            parts = [(term, factor, *self._apart(term[1], axes)) for term, factor in self.sum(body).items()]
        finally:
            self.depth -= len(axes)
        each = [
            replace(expr, axes=axes, body=product((NUMBER, inside), PLUS_ONE)) for _, _, inside, _ in parts
        ]
        if not all(map(_tells, each)):  # one term tells the size of an axis for another
            return atom(self._whole(expr))
        found: Sum = {}
        for ((unit, _), factor, _, outside), one in zip(parts, each, strict=True):
            factors = self.sorted((*map(self.expr, outside), self._whole(one)))
            found = self.plus(found, {(unit, factors): factor})
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
            return _number(expr) if is_number(expr) else self.other(expr)
        if expr.op == "neg" and is_number(expr.args[0]):
            return _number(expr)
        if (whole := _small(expr)) is not None:
            return Const(whole)
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


def _number(expr: Expr) -> Expr:
    """A number, or one with a minus, in one way of writing it."""
    form = _Exact()
    try:
        return form.tree(form.sum(expr))
    except Lossy:
        return expr


def _small(expr: Expr) -> int | None:
    """What whole numbers come to where no type rounds anything on the way."""
    if isinstance(expr, Const):
        value = expr.value if expr.unit == NUMBER and type(expr.value) is int else None
    else:
        parts = [_small(each) for each in expr.args] if _is(expr, "add", "sub", "mul", "neg") else [None]  # type: ignore[attr-defined]
        known = [part for part in parts if part is not None]
        value = _WHOLE[expr.op](*known) if len(known) == len(parts) else None  # type: ignore[attr-defined]
    return value if value is not None and abs(value) <= _SMALL else None


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
        case "written":
            return Apply(WRITTEN, (_negated(expr.args[0]),), span=expr.span)
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
