"""Arithmetic on numbers, on arrays of them and on manifest expressions alike, so that one formula ranks configs at a
known size, at many at once, and tells the runtime how to rank them at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from spak_runtime.manifest import Expression
from spakc.record import record


@record
class Term:
    """A number that only a call knows. Constants are kept to four digits: they are estimates."""

    expression: Expression

    def __add__(self, other: Amount) -> Term:
        return _joined("add", self, other)

    def __radd__(self, other: Amount) -> Term:
        return _joined("add", other, self)

    def __mul__(self, other: Amount) -> Term:
        return _joined("mul", self, other)

    def __rmul__(self, other: Amount) -> Term:
        return _joined("mul", other, self)

    def __truediv__(self, other: Amount) -> Term:
        return _joined("div", self, other)

    def __rtruediv__(self, other: Amount) -> Term:
        return _joined("div", other, self)


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Amount: TypeAlias = float | Term | NDArray[Any]
else:
    Amount: TypeAlias = Any  # numpy takes a third of the start of a command that asks for no time
"""A number, known now or at the call, or an array of known ones: one for each of several calls."""


def is_array(amount: Amount) -> TypeGuard[NDArray[Any]]:
    return not isinstance(amount, (int, float, Term))


def ceil_div(a: Amount, b: Amount) -> Amount:
    """The smallest whole number that is at least a / b."""
    return _rounded("ceil_div", "ceil", a, b)


def floor_div(a: Amount, b: Amount) -> Amount:
    """The greatest whole number that is at most a / b."""
    return _rounded("floordiv", "floor", a, b)


def greatest(amounts: Sequence[Amount]) -> Amount:
    return _extreme("max", amounts)


def least(amounts: Sequence[Amount]) -> Amount:
    return _extreme("min", amounts)


def expression_of(amount: Amount) -> Expression:
    """As the manifest writes it."""
    if isinstance(amount, Term):
        return amount.expression
    assert not is_array(amount), "an expression is about one call"
    return amount if isinstance(amount, int) else float(f"{amount:.4g}")


def _rounded(operation: str, function: str, a: Amount, b: Amount) -> Amount:
    if isinstance(a, Term) or isinstance(b, Term):
        return _joined(operation, a, b)
    if is_array(a) or is_array(b):
        import numpy as np

        whole: Amount = getattr(np, function)(np.asarray(a) / b)
    else:
        whole = getattr(math, function)(a / b)
    return whole


def _extreme(operation: str, amounts: Sequence[Amount]) -> Amount:
    if any(map(is_array, amounts)):
        import numpy as np

        extreme: Any = np.maximum if operation == "max" else np.minimum
        return reduce(extreme, amounts)
    terms = [amount for amount in amounts if isinstance(amount, Term)]
    if not terms:
        return max(amounts) if operation == "max" else min(amounts)  # type: ignore[type-var]
    known = [amount for amount in amounts if not isinstance(amount, Term)]
    parts: list[Amount] = [*terms, *([max(known) if operation == "max" else min(known)] if known else [])]
    return _joined(operation, *parts) if len(parts) > 1 else terms[0]


def _joined(operation: str, *amounts: Amount) -> Term:
    return Term([operation, *(expression_of(amount) for amount in amounts)])
