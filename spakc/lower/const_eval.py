"""Values that must be known now: domains of dims and knobs, configs, device facts, counts."""

from __future__ import annotations

from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.lanes import Scalar
from spakc.ir.ops import Const, Domain, Expr, Interval, Members, Ref, RefKind, Tuple
from spakc.ir.types import NUMBER
from spakc.ir.visit import walk
from spakc.lower.resolve import is_unresolved, report_again

MOST_VALUES = 1 << 16
"""A dim or knob with more values than this is no axis of a space that anyone compiles or searches."""


def constant(expr: Expr, sink: Sink, what: str) -> Scalar | None:
    """The value of an expression over literals; a word is its own name. `what` names it in SPAK305; None
    after it."""
    if is_unresolved(expr):
        return None
    value = evaluate(expr, Env())
    if isinstance(value, Unknown):
        sink.report("SPAK305", f"{what} must be known when the file is read", expr.span, f"needs {value}")
        return None
    return value


def constant_domain(
    domain: Domain, sink: Sink, what: str, *, integers: bool = False, names: int = 1
) -> Domain:
    """The domain with every bound and item folded to a constant (words stay symbols, tuples tuples).

    Reports SPAK305 for what is not constant, an empty domain, a step below one, more than MOST_VALUES values,
    items that are not one value for each of so many `names`, or, with `integers`, no positive integers, and SPAK319
    where these have a unit; the empty set stands for a domain that has a mistake.
    """
    if is_unresolved(domain) or not _one_for_each(domain, names, sink):
        return Members((), span=domain.span)
    measured = [n for n in walk(domain) if isinstance(n, Const) and n.unit != NUMBER]
    if integers and measured:
        sink.report("SPAK319", f"{what} has no unit", measured[0].span, "this number has one")
        return Members((), span=domain.span)
    if isinstance(domain, Interval):
        return _interval(domain, sink, what, integers)
    items: list[Expr] = []
    for item in domain.items:
        folded = _item(item, sink, what, integers)
        if folded is None:
            return Members((), span=domain.span)
        if folded not in items:
            items.append(folded)
        elif item.span is not None:
            report_again(f"`{item.span.text}`", item.span, items[items.index(folded)].span, sink)
    if not items:
        sink.report("SPAK305", f"{what} has no value", domain.span, "the empty set")
    elif len({_sort(item) for item in items}) > 1:
        sink.report(
            "SPAK305", f"{what} mixes values of different kinds", domain.span, "numbers, words or truths"
        )
    return Members(tuple(items), span=domain.span)


def _one_for_each(domain: Domain, names: int, sink: Sink) -> bool:
    """Whether every item has one value for each name: a tuple of plain values where there are several."""
    if isinstance(domain, Interval):
        items: tuple[Expr, ...] = () if names == 1 else (domain,)
    else:
        items = tuple(item for item in domain.items if not is_unresolved(item))
    for item in items:
        parts = item.items if isinstance(item, Tuple) else (item,)
        nested = any(isinstance(part, Tuple | Members) for part in parts)
        if len(parts) != names or nested or isinstance(item, Interval):
            message = f"{names} name{'s' * (names > 1)} and {len(parts)} value{'s' * (len(parts) > 1)}"
            if nested:
                message = "a member is a number, a word or a truth, or a tuple of these"
            sink.report("SPAK305", message, item.span or domain.span, "one value for each name")
            return False
    return True


def _sort(item: Expr) -> str:
    if isinstance(item, Const):
        return (
            "truth"
            if isinstance(item.value, bool)
            else "number"
            if not isinstance(item.value, str)
            else "text"
        )
    return f"{len(item.items)}-tuple" if isinstance(item, Tuple) else "word"


def _item(item: Expr, sink: Sink, what: str, integers: bool) -> Expr | None:
    if isinstance(item, Tuple):
        parts = [_item(part, sink, what, integers) for part in item.items]
        known = tuple(part for part in parts if part is not None)
        return Tuple(known, span=item.span) if len(known) == len(parts) else None
    if isinstance(item, Ref) and item.kind in (RefKind.symbol, RefKind.entity):
        if integers:
            _no_integer(item, sink, what)
            return None
        return item
    value = constant(item, sink, what)
    if value is None:
        return None
    if integers and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        _no_integer(item, sink, what)
        return None
    return _as(value, item)


def _as(value: Scalar, expr: Expr) -> Const:
    """A value in the unit in which it was written."""
    return Const(value, unit=expr.unit if isinstance(expr, Const) else NUMBER, span=expr.span)


def _no_integer(item: Expr, sink: Sink, what: str) -> None:
    sink.report("SPAK305", f"{what} takes positive integers", item.span, "not a positive integer")


def _interval(domain: Interval, sink: Sink, what: str, integers: bool) -> Domain:
    broken = Members((), span=domain.span)
    bounds: list[int] = []
    for bound in (domain.first, domain.last, domain.by or Const(1)):
        value = constant(bound, sink, what)
        if value is None:
            return broken
        if not isinstance(value, int) or isinstance(value, bool):
            sink.report("SPAK305", f"the range of {what} is over integers", bound.span, "not an integer")
            return broken
        bounds.append(value)
    first, last, by = bounds
    if by < 1:
        sink.report("SPAK305", f"the step of {what} must be at least 1", domain.span, f"the step is {by}")
    elif last < first:
        sink.report("SPAK305", f"{what} has no value", domain.span, f"no integer from {first} to {last}")
    elif (last - first) // by >= MOST_VALUES:
        count = (last - first) // by + 1
        sink.report("SPAK305", f"{what} has {count} values", domain.span, f"more than {MOST_VALUES}")
    elif integers and first < 1:
        _no_integer(domain.first, sink, what)
    else:
        step = None if domain.by is None else _as(by, domain.by)
        return Interval(_as(first, domain.first), _as(last, domain.last), step, span=domain.span)
    return broken
