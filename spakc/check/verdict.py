"""What is known of a statement: verdict × means × freshness × witnesses × target."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from spakc.ir.constraint import mentions
from spakc.ir.module import Dim, Kernel, Law, Option
from spakc.ir.ops import Expr, Load, Query, Reduce, Ref, RefKind
from spakc.ir.queries import QUERIES, Means
from spakc.record import record


class Verdict(Enum):
    holds = "holds"
    violated = "violated"
    undecided = "undecided"


@record
class Status:
    """`witnesses` counts what was looked at: points of a space, problems, guards, compiled kernels, cases,
    samples. A verdict `holds` without a witness does not exist. `applicable` is false where the statement has
    nothing to say: its schedule is absent on the target, or the device does not state a fact it is about."""

    verdict: Verdict
    means: Means
    target: str = ""
    witnesses: int = 0
    fresh: bool = True
    note: str = ""
    applicable: bool = True

    def __post_init__(self) -> None:
        assert self.verdict is not Verdict.holds or self.witnesses > 0, "no witness is an error"


@record
class LawStatus:
    """The status of one law on one target, or (for a law of a model) in one experiment."""

    law: Law
    status: Status
    subject: str = ""


_ORDER = (Means.proof, Means.guard, Means.compiled, Means.cases, Means.measurement, Means.none)
"""From what is known first to what is known last; a proposition waits for the last of its parts."""


def means_of(
    *parts: Expr | None, dims: Mapping[str, Dim] | None = None, options: Mapping[str, Option] | None = None
) -> Means:
    """By which means a proposition over `parts` is established; `dims` and `options` are its kernel's."""
    found = [_means(e, dims or {}, options or {}) for e in mentions(*parts)]
    return max(found, key=_ORDER.index, default=Means.proof)


def means_of_law(law: Law, kernel: Kernel | None = None) -> Means:
    """By which means a law is established."""
    if kernel is None:
        return means_of(law.proposition, law.when)
    return means_of(law.proposition, law.when, dims=kernel.dims, options=kernel.options)


def _means(expr: Expr, dims: Mapping[str, Dim], options: Mapping[str, Option]) -> Means:
    if isinstance(expr, (Load, Reduce)):
        return Means.cases
    if isinstance(expr, Query):
        spec = QUERIES.get(expr.name)
        if spec is None:
            return Means.none
        if spec.means is not None:
            return spec.means
        return means_of(*expr.args, *(value for _, value in expr.named), dims=dims, options=options)
    assert isinstance(expr, Ref)
    match expr.kind:
        case RefKind.knob | RefKind.fact | RefKind.hyper:
            return Means.proof
        case RefKind.dim:
            dim = dims.get(expr.name)
            return Means.proof if dim is not None and dim.domain is not None else Means.guard
        case RefKind.option:
            option = options.get(expr.name)
            return Means.proof if option is not None and option.compiled_in else Means.guard
        case RefKind.sample | RefKind.parameter:
            return Means.cases
        case _:
            return Means.none
