"""One respect in which a statement demands something else than before, and whether that is more or less."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from spakc.ir.constraint import show
from spakc.ir.ops import Expr
from spakc.record import record


class Strength(Enum):
    """What a statement demands now, beside what it demanded before."""

    same = "same"
    weaker = "weaker"
    stronger = "stronger"
    unclear = "unclear"


@record
class Difference:
    """`aspect` was `old` and is `new`. `allowed` is an example of what was refused and is let through now, `refused` of
    what was let through and is refused now; empty where there is none, or where nobody can name one."""

    aspect: str
    old: str
    new: str
    strength: Strength
    allowed: str = ""
    refused: str = ""

    def __str__(self) -> str:
        examples = [f"let through now: {self.allowed}"] if self.allowed else []
        examples += [f"refused now: {self.refused}"] if self.refused else []
        return "; ".join([f"{self.aspect}: {self.old or 'nothing'}, now {self.new or 'nothing'}", *examples])


def differs(
    aspect: str, texts: Iterable[str], strength: Strength, allowed: str = "", refused: str = ""
) -> Difference:
    """A difference of what both sides say."""
    old, new = texts
    return Difference(aspect, old, new, strength, allowed, refused)


def together(*parts: Strength) -> Strength:
    """The strength of several demands that must all be met."""
    found = set(parts) - {Strength.same}
    if not found:
        return Strength.same
    return found.pop() if len(found) == 1 else Strength.unclear


def by_sets(lost: bool, gained: bool) -> Strength:
    """From whether something that was allowed is refused now, and the other way round."""
    if lost and gained:
        return Strength.unclear
    return Strength.stronger if lost else Strength.weaker if gained else Strength.same


def said(expr: Expr | None) -> str:
    """An expression as it was written, on one line."""
    if expr is None:
        return ""
    if expr.span is not None:
        return " ".join(expr.span.text.split())
    value = getattr(expr, "value", None)
    return show(value) if isinstance(value, (bool, int, float, str)) else str(getattr(expr, "name", ""))
