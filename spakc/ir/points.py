"""Points: those of a claim's `for every`, and those of a sweep that its queries ask about."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, rows
from spakc.ir.experiment import Claim, Experiment
from spakc.ir.lanes import Scalar
from spakc.ir.ops import Const, Expr, Query, Ref, RefKind

Point = Mapping[str, Scalar]

MOST = 1 << 16


def points_of(claim: Claim) -> Iterator[tuple[tuple[str, Scalar], ...]]:
    """The points of `for every`, as (name, value) pairs; one without a pair where nothing is quantified. Needs a
    lowered claim, whose domains are finite sets of constants."""
    axes: list[list[tuple[tuple[str, Scalar], ...]]] = []
    for names, domain in claim.quantifier:
        values = rows(domain, Env(), MOST)
        assert not isinstance(values, TooMany | Unknown), "lowering lets no open quantifier through"
        axes.append([tuple(zip(names, row, strict=True)) for row in values])
    for point in itertools.product(*axes):
        yield tuple(pair for part in point for pair in part)


def at_point(query: Query, point: Point) -> Query:
    """The query with what is quantified replaced by its values."""

    def fixed(expr: Expr) -> Expr:
        if isinstance(expr, Ref) and expr.kind is RefKind.parameter and expr.name in point:
            value = point[expr.name]
            if isinstance(value, str):
                return Ref(value, RefKind.symbol, span=expr.span)
            return Const(value, span=expr.span)
        return expr

    args = tuple(fixed(arg) for arg in query.args)
    return replace(query, args=args, named=tuple((name, fixed(value)) for name, value in query.named))


def varied(experiment: Experiment) -> tuple[str, ...]:
    """The names that a sweep varies, in its order."""
    return tuple(name for names, _ in experiment.vary for name in names)


def label_of(values: Mapping[str, object]) -> str:
    """How a point of a sweep is called: `loops=4,inject=true`; empty without a sweep."""

    def plain(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    return ",".join(f"{name}={plain(value)}" for name, value in values.items())


def label_asked(query: Query, experiment: Experiment) -> str | None:
    """The point of the sweep that a query asks about; None unless it says every value that the sweep varies. A text is
    no value, whatever number or word it spells."""
    named = dict(query.named)
    values: dict[str, object] = {}
    for name in varied(experiment):
        given = named.get(name)
        value = None if given is None else evaluate(given, Env())
        if (
            value is None
            or isinstance(value, Unknown)
            or (isinstance(given, Const) and isinstance(value, str))
        ):
            return None
        values[name] = value
    return label_of(values)
