"""Divisions by zero that are seen without a run: the divisor is a number of the file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, members
from spakc.ir.experiment import Claim
from spakc.ir.lanes import Scalar
from spakc.ir.ops import Apply, Domain, Expr, Members, RefKind, Tuple
from spakc.ir.visit import references, walk

_DIVISIONS = frozenset(("div", "floordiv", "mod", "ceil_div"))


def check_divisors(expr: Expr, sink: Sink, claim: Claim | None = None) -> None:
    """Reports SPAK208 at every division whose divisor is zero whatever the points, calls and runs; in a claim, for
    any of the values that it names."""
    for node in walk(expr):
        if isinstance(node, Apply) and node.op in _DIVISIONS:
            for env in _points(node.args[1], claim):
                value = evaluate(node.args[1], env)
                if not isinstance(value, Unknown) and not isinstance(value, str) and value == 0:
                    sink.report("SPAK208", "this divides by zero", node.args[1].span or node.span, "zero")
                    break


def _points(divisor: Expr, claim: Claim | None) -> Iterator[Env]:
    """What the names that a claim binds stand for, as far as the divisor speaks of them."""
    asked = references(divisor, RefKind.parameter)
    axes = [
        [
            {(RefKind.parameter, name): value for name, value in zip(names, row, strict=True)}
            for row in _rows(domain)
        ]
        for names, domain in (() if claim is None else claim.quantifier)
        if asked & set(names)
    ]
    for chosen in product(*axes):
        yield Env({key: value for part in chosen for key, value in part.items()})


def _rows(domain: Domain) -> Iterator[list[Scalar]]:
    """The values of a domain, each with a part for every name that it binds."""
    if isinstance(domain, Members) and any(isinstance(item, Tuple) for item in domain.items):
        for item in domain.items:
            parts = [evaluate(part, Env()) for part in item.items] if isinstance(item, Tuple) else []
            yield [part for part in parts if not isinstance(part, Unknown)]
        return
    values = members(domain, Env())
    if not isinstance(values, TooMany | Unknown):
        yield from ([value] for value in values)
