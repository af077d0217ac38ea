"""Which documents a split can hold: its parameters as values, and the digits that its samples can have."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.check.data_facts import DatasetFacts, Report, is_whole
from spakc.check.data_text import check_piece
from spakc.ir.constraint import Env, TooMany, Unknown, rows
from spakc.ir.experiment import Split
from spakc.ir.ops import Const, Expr, Interval, Query, Ref, RefKind
from spakc.ir.types import NUMBER
from spakc.ir.visit import with_unit

MOST_DIGITS = 10_000
MOST_CHOICES = 1 << 16


def find_support(check: Report, split: Split, facts: DatasetFacts) -> None:
    """The parameters of a split as values, and the digits its samples can have."""
    if split.fraction is not None:
        check.error(
            "SPAK525", f"split `{split.name}` is a fraction, but documents are drawn", split, "of what?"
        )
        return
    choices = []
    bound: dict[str, frozenset[int]] = {}
    for names, domain in split.binders:
        united = with_unit(domain)
        if united is not None:
            check.error("SPAK529", "a parameter of a split has no unit", united, "this number has one")
            return
        values = rows(domain, Env(), MOST_CHOICES)
        if isinstance(values, TooMany | Unknown) or not values:
            check.error(
                "SPAK529", f"the parameters of split `{split.name}` have no known values", split, "here"
            )
            return
        if any(len(row) != len(names) or not all(is_whole(v) for v in row) for row in values):
            check.error("SPAK529", "a parameter of a split is a whole number", split, "of this split")
            return
        integers = tuple(tuple(int(v) for v in row) for row in values)
        choices.append((names, integers))
        for column, name in enumerate(names):
            bound[name] = frozenset(row[column] for row in integers)
    facts.choices[split.name] = tuple(choices)
    facts.digits[split.name] = {
        name: _counts(check, value, bound, split)
        for name, value in check.dataset.samples.items()
        if name not in split.given
    }
    for name, value in split.given.items():
        check_piece(check, value, inner=True)
        if check.errors:
            return
        width = facts.number_width(value, split.name)
        if width > MOST_DIGITS:
            check.error("SPAK529", f"a number has 1 to {MOST_DIGITS} digits", value, f"up to {width} here")
        facts.digits[split.name][name] = frozenset(range(1, width + 1))


def _counts(check: Report, sample: Expr, bound: Mapping[str, frozenset[int]], split: Split) -> frozenset[int]:
    """How many digits a sample can have."""
    assert isinstance(sample, Query)
    found = _values(check, sample.args[0], bound, split)
    if (
        found is not None
        and (min(found) < 1 or max(found) > MOST_DIGITS)
        and not check.sink.has("SPAK529", sample.args[0].span)
    ):
        check.error(
            "SPAK529",
            f"a number has 1 to {MOST_DIGITS} digits",
            sample.args[0] if isinstance(sample.args[0], Const) else split,
            f"{min(found)} to {max(found)} here",
        )
    return found or frozenset((1,))


def _values(
    check: Report, node: Expr, bound: Mapping[str, frozenset[int]], split: Split
) -> frozenset[int] | None:
    match node:
        case Const(value=int(value)) if is_whole(value) and node.unit == NUMBER:
            return frozenset((value,))
        case Ref(kind=RefKind.parameter) if node.name in bound:
            return bound[node.name]
        case Ref(kind=RefKind.parameter):
            check.error(
                "SPAK529", f"split `{split.name}` does not bind `{node.name}`", split, "not bound here"
            )
            return None
        case Interval(by=None):
            first, last = (_values(check, bound_, bound, split) for bound_ in (node.first, node.last))
            if first is None or last is None:
                return None
            if _reversed(node, first, last, split):
                message = f"a range of digits of split `{split.name}` ends before it begins"
                check.error("SPAK529", message, node, f"from {max(first)} to {min(last)} somewhere")
                return None
            return frozenset(range(min(first), max(last) + 1))
    check.error(
        "SPAK526", "a number of digits is a number, a parameter or a range of them", node, "none of these"
    )
    return None


def _reversed(node: Interval, first: frozenset[int], last: frozenset[int], split: Split) -> bool:
    """Whether some document could have a range without a number. Parameters that are bound together have their
    values together."""
    names = tuple(n.name for n in (node.first, node.last) if isinstance(n, Ref))
    for bound, domain in split.binders:
        together = rows(domain, Env(), MOST_CHOICES)
        if len(names) == 2 and set(names) <= set(bound) and not isinstance(together, TooMany | Unknown):
            start, stop = (bound.index(name) for name in names)
            return any(row[start] > row[stop] for row in together)  # type: ignore[operator]
    return max(first) > min(last)
