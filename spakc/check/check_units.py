"""Units: bytes are compared with bytes, seconds with seconds."""

from __future__ import annotations

from typing import TypeAlias

from spakc.check.propositions import Proposition
from spakc.diagnostics import Sink
from spakc.ir.facts import FACTS
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Const, Expr, Interval, Members, Query, Reduce, Ref, RefKind
from spakc.ir.queries import QUERIES
from spakc.ir.types import BYTES, NUMBER, Unit
from spakc.ir.visit import children

Measure: TypeAlias = Unit | None
"""The unit of an expression; None for one that takes the unit of its partner: a bare literal, what is not
known."""

_SAME = frozenset(("add", "sub", "min", "max", "mod", "eq", "ne", "lt", "le", "gt", "ge"))
_KEEP = frozenset(("neg", "abs", "floor", "ceil"))
_VERBS = {"add": "added", "sub": "subtracted", "mod": "divided", "min": "compared", "max": "compared"}


def check_units(proposition: Proposition, sink: Sink) -> None:
    """That the proposition compares, adds and subtracts only what has one unit. Reports SPAK319 with both
    places.

    A bare literal takes the unit of its partner, and so does a product with one: `4 * tile` may be bytes of
    four each. A knob, a dim and a count have no unit: to be compared with bytes they need `sizeof(…)`."""
    _Units(proposition.kernel, sink).of(proposition.expr)


class _Units:
    def __init__(self, kernel: Kernel | None, sink: Sink) -> None:
        self.kernel = kernel
        self.sink = sink

    def of(self, expr: Expr) -> Measure:
        """The unit of an expression; reports what does not fit inside it."""
        if isinstance(expr, Const):
            return None if expr.unit == NUMBER else expr.unit
        if isinstance(expr, Ref):
            if expr.kind is RefKind.fact:
                return FACTS[expr.name].unit
            if expr.kind is RefKind.knob:
                return self._knob(expr.name)
            return NUMBER if expr.kind in _COUNTS else None
        if isinstance(expr, Query):
            return self._query(expr)
        if isinstance(expr, Reduce):
            return self.of(expr.body)
        if isinstance(expr, Apply):
            return self._application(expr)
        for child in children(expr):
            self.of(child)
        return None

    def _knob(self, name: str) -> Unit:
        """A knob counts, unless its domain has a unit: `knob buffer in {16 KiB, 32 KiB}`."""
        for schedule in self.kernel.schedules.values() if self.kernel is not None else ():
            knob = schedule.knobs.get(name)
            for value in children(knob.domain) if knob is not None else ():
                if isinstance(value, Const) and value.unit != NUMBER:
                    return value.unit
        return NUMBER

    def _query(self, expr: Query) -> Measure:
        measures = [self.of(argument) for argument in expr.args]
        spec = QUERIES.get(expr.name)
        if spec is None or spec.result in ("value", "text", "bool"):
            return None
        if spec.unit is None:
            return measures[0] if measures else None
        return spec.unit

    def _application(self, expr: Apply) -> Measure:
        if expr.op == "where":
            self.of(expr.args[0])
            return self._alike(expr, expr.args[1], expr.args[2])
        if expr.op == "member":
            return self._member(expr)
        if expr.op in _SAME:
            return self._alike(expr, expr.args[0], expr.args[1])
        measures = [self.of(operand) for operand in expr.args]
        if expr.op == "mul":
            left, right = measures
            if left is None or right is None:
                known = left if right is None else right
                return None if known in (None, NUMBER) else known
            return left * right
        if expr.op in ("div", "floordiv", "ceil_div"):
            left, right = measures
            return left if right is None else None if left is None else left / right
        return measures[0] if expr.op in _KEEP else None

    def _alike(self, expr: Apply, left: Expr, right: Expr) -> Measure:
        a, b = self.of(left), self.of(right)
        if a is None or b is None or a == b:
            return b if a is None else a
        self._report(expr, left, a, right, b)
        return a

    def _member(self, expr: Apply) -> Measure:
        item, domain = expr.args
        unit = self.of(item)
        others = domain.items if isinstance(domain, Members) else ()
        if isinstance(domain, Interval):
            others = (domain.first, domain.last)
        for other in others:
            found = self.of(other)
            if unit is not None and found is not None and found != unit:
                self._report(expr, item, unit, other, found)
                break
        return None

    def _report(self, expr: Apply, left: Expr, a: Unit, right: Expr, b: Unit) -> None:
        help_: tuple[str, ...] = ()
        if {a, b} == {BYTES, NUMBER}:
            help_ = ("a count times `sizeof(…)` is bytes; a literal in bytes has a unit: `1 KiB`",)
        self.sink.report(
            "SPAK319",
            f"{a} and {b} cannot be {_VERBS.get(expr.op, 'compared')}",
            left.span,
            f"this is in {a}" if a != NUMBER else "this is a number",
            also=[(right.span, f"this is in {b}" if b != NUMBER else "this is a number")]
            if right.span
            else (),
            help=help_,
        )


_COUNTS = frozenset((RefKind.dim, RefKind.option, RefKind.index))
