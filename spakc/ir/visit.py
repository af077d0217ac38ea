"""Walking and rewriting expressions. Nothing here knows what an expression means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from spakc.ir.experiment import Phased
from spakc.ir.ops import Apply, Const, Expr, Interval, Load, Members, Query, Reduce, Ref, RefKind, Tuple
from spakc.ir.types import NUMBER


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct operands of an expression, in the order written."""
    if isinstance(expr, (Ref, Const)):  # most of all
        return ()
    if isinstance(expr, Apply):
        return expr.args
    if isinstance(expr, Load):
        return expr.indices
    if isinstance(expr, Reduce):
        return (expr.body,)
    if isinstance(expr, Query):
        return (*expr.args, *(value for _, value in expr.named))
    if isinstance(expr, (Members, Tuple)):
        return expr.items
    if isinstance(expr, Interval):
        return (expr.first, expr.last) if expr.by is None else (expr.first, expr.last, expr.by)
    if isinstance(expr, Phased):
        return (expr.first, expr.second)
    return ()


def with_unit(expr: Expr) -> Const | None:
    """The first number of an expression that has a unit, where none belongs."""
    return next((n for n in walk(expr) if isinstance(n, Const) and n.unit != NUMBER), None)


def with_children(expr: Expr, new: tuple[Expr, ...]) -> Expr:
    """The same expression over other operands; `new` is as long as `children(expr)`. Keeps the span."""
    if isinstance(expr, Apply):
        return replace(expr, args=new)
    if isinstance(expr, Load):
        return replace(expr, indices=new)
    if isinstance(expr, Reduce):
        return replace(expr, body=new[0])
    if isinstance(expr, Query):
        count = len(expr.args)
        named = tuple((name, value) for (name, _), value in zip(expr.named, new[count:], strict=True))
        return replace(expr, args=new[:count], named=named)
    if isinstance(expr, (Members, Tuple)):
        return replace(expr, items=new)
    if isinstance(expr, Interval):
        return replace(expr, first=new[0], last=new[1], by=new[2] if len(new) == 3 else None)
    if isinstance(expr, Phased):
        return replace(expr, first=new[0], second=new[1])
    return expr


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything in it, outermost first, left to right."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def transform(expr: Expr, rewrite: Callable[[Expr], Expr]) -> Expr:
    """Rewrites from the leaves up: `rewrite` sees every node after its operands. Unchanged parts are
    shared."""
    old = children(expr)
    if old:
        new = tuple(transform(child, rewrite) for child in old)
        if any(a is not b for a, b in zip(old, new, strict=True)):
            expr = with_children(expr, new)
    return rewrite(expr)


def substitute(expr: Expr, values: Mapping[tuple[RefKind, str], Expr]) -> Expr:
    """Replaces references by kind and name. A reduction's own axes hide index variables of the same name."""
    if isinstance(expr, Ref):
        return values.get((expr.kind, expr.name), expr)
    if isinstance(expr, Reduce) and any((RefKind.index, axis) in values for axis in expr.axes):
        values = {
            key: value
            for key, value in values.items()
            if key[0] is not RefKind.index or key[1] not in expr.axes
        }
    old = children(expr)
    new = tuple(substitute(child, values) for child in old)
    if all(a is b for a, b in zip(old, new, strict=True)):
        return expr
    return with_children(expr, new)


def references(expr: Expr, kind: RefKind) -> frozenset[str]:
    """Names of one kind that occur in the expression. Index variables bound by a reduction inside count
    too."""
    return frozenset(node.name for node in walk(expr) if isinstance(node, Ref) and node.kind is kind)


def loads(expr: Expr) -> Iterator[Load]:
    """Every tensor access in the expression, also those inside indices."""
    return (node for node in walk(expr) if isinstance(node, Load))
