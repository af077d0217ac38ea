"""Index variables of expressions: which are free, substitution without capture, inlining of intermediates.

An index variable is bound by a `Reduce` that removes its axis; `softmax` keeps its axis, so there the
variable stays free. Nothing here knows how large anything is (see `extents.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from spakc.ir.module import Equation
from spakc.ir.ops import Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import rebuild
from spakc.ir.visit import children, walk


def index_name(expr: Expr) -> str | None:
    """The name, if the expression is just an index variable."""
    return expr.name if isinstance(expr, Ref) and expr.kind is RefKind.index else None


def free_indices(expr: Expr) -> tuple[str, ...]:
    """Names of the free index variables in order of first appearance."""
    found: dict[str, None] = {}

    def visit(node: Expr, bound: frozenset[str]) -> None:
        name = index_name(node)
        if name is not None and name not in bound:
            found[name] = None
        if isinstance(node, Reduce) and node.op != "softmax":
            bound = bound | frozenset(node.axes)
        elif isinstance(node, Reduce):
            found.update(dict.fromkeys(a for a in node.axes if a not in bound))
        for child in children(node):
            visit(child, bound)

    visit(expr, frozenset())
    return tuple(found)


def all_index_names(exprs: Iterable[Expr]) -> set[str]:
    """Every index name in use, free or bound."""
    names: set[str] = set()
    for expr in exprs:
        for node in walk(expr):
            name = index_name(node)
            if name is not None:
                names.add(name)
            if isinstance(node, Reduce):
                names.update(node.axes)
    return names


def fresh(name: str, taken: Iterable[str]) -> str:
    """`name`, or `name_1`, `name_2` … if it is taken."""
    used = set(taken)
    if name not in used:
        return name
    return next(f"{name}_{i}" for i in range(1, len(used) + 2) if f"{name}_{i}" not in used)


def substitute(expr: Expr, mapping: Mapping[str, Expr]) -> Expr:
    """Replaces free index variables. Bound ones are renamed where a replacement would be captured. The axes
    of a `softmax` may only be replaced by index variables (they are what it runs along)."""
    if not mapping:
        return expr
    name = index_name(expr)
    if name is not None:
        return mapping.get(name, expr)
    if isinstance(expr, Reduce):
        return _substitute_reduce(expr, mapping)
    return rebuild(expr, lambda child: substitute(child, mapping))


def _substitute_reduce(expr: Reduce, mapping: Mapping[str, Expr]) -> Expr:
    axes = list(expr.axes)
    if expr.op == "softmax":
        for i, axis in enumerate(axes):
            target = index_name(mapping[axis]) if axis in mapping else axis
            if target is None:
                raise ValueError(f"softmax over {axis} read at an index that is no variable")
            axes[i] = target
        return Reduce(expr.op, tuple(axes), substitute(expr.body, mapping), span=expr.span)
    free = set(free_indices(expr.body)) - set(axes)
    inner = {name: value for name, value in mapping.items() if name in free}
    if not inner:
        return expr
    arriving = all_index_names(inner.values())
    for i, axis in enumerate(axes):
        if axis in arriving:
            axes[i] = fresh(axis, arriving | free | all_index_names((expr.body,)) | set(axes))
            inner[axis] = Ref(axes[i], RefKind.index)
    return Reduce(expr.op, tuple(axes), substitute(expr.body, inner), span=expr.span)


def replace(expr: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """Replaces nodes for which `change` gives something else, parents first; a replacement is not entered."""
    new = change(expr)
    if new is not None:
        return new
    return rebuild(expr, lambda child: replace(child, change))


def loads(expr: Expr) -> tuple[Load, ...]:
    """The distinct loads, those inside the indices of others too, in order of appearance."""
    return tuple(dict.fromkeys(node for node in walk(expr) if isinstance(node, Load)))


def reductions(expr: Expr) -> tuple[Reduce, ...]:
    """The distinct reductions, outer ones first."""
    return tuple(dict.fromkeys(node for node in walk(expr) if isinstance(node, Reduce)))


def same_up_to_indices(
    left: Expr, right: Expr, mapping: Mapping[str, str] | None = None
) -> dict[str, str] | None:
    """The one-to-one renaming of right's index variables that makes it left, or None."""
    found = dict(mapping or {})
    return found if _match(left, right, found) else None


def _match(left: Expr, right: Expr, found: dict[str, str]) -> bool:
    a, b = index_name(left), index_name(right)
    if a is not None or b is not None:
        return a is not None and b is not None and _pair(a, b, found)
    if type(left) is not type(right):
        return False
    if isinstance(left, Reduce) and isinstance(right, Reduce):
        if left.op != right.op or len(left.axes) != len(right.axes):
            return False
        # Bound names are local: two uses of one name in different sums need not map alike.
        scoped = dict(found)
        if left.op != "softmax":
            for axis in right.axes:
                scoped.pop(axis, None)
        if not all(_pair(x, y, scoped) for x, y in zip(left.axes, right.axes, strict=True)):
            return False
        if not _match(left.body, right.body, scoped):
            return False
        bound = set() if left.op == "softmax" else set(right.axes)
        found.update({name: to for name, to in scoped.items() if name not in bound})
        return True
    mine, theirs = children(left), children(right)
    if len(mine) != len(theirs) or not _same_node(left, right):
        return False
    return all(_match(x, y, found) for x, y in zip(mine, theirs, strict=True))


def _pair(left: str, right: str, found: dict[str, str]) -> bool:
    if right in found:
        return found[right] == left
    if left in found.values():
        return False
    found[right] = left
    return True


def _same_node(left: Expr, right: Expr) -> bool:
    """Equality of two nodes without what is below them."""
    marks = iter(range(len(children(right))))
    skeleton = dict(enumerate(children(left)))
    return rebuild(right, lambda _: skeleton[next(marks)]) == left if skeleton else left == right


def plain_target(equation: Equation) -> bool:
    """Whether every index on the left is a variable of its own (no `i + D // 2`, none twice)."""
    names = [index_name(index) for index in equation.indices]
    return None not in names and len(set(names)) == len(names)


def instance(equation: Equation, indices: tuple[Expr, ...]) -> Expr:
    """The value of `equation` with its (plain) left indices replaced by `indices`."""
    names = [index_name(index) for index in equation.indices]
    mapping = {n: e for n, e in zip(names, indices, strict=True) if n is not None and index_name(e) != n}
    return substitute(equation.value, mapping)


def inline(expr: Expr, table: Mapping[str, Equation]) -> Expr:
    """Replaces loads of the targets in `table` by their values, repeatedly. `new(p)` reads count as loads of
    `p`'s equation only if the table has it under "new p" (see `expand`)."""

    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Load):
            return None
        equation = table.get(f"new {node.tensor}" if node.new else node.tensor)
        if equation is None:
            return None
        indices = tuple(inline(index, table) for index in node.indices)
        return inline(instance(equation, indices), table)

    return replace(expr, change)


def own_bound_names(equation: Equation) -> Equation:
    """Renames bound index variables so that a name stands for one thing in the equation: a bound name is not
    free as well, and two different reductions share none. Equal reductions stay equal."""
    free = {name for e in (*equation.indices, equation.value) for name in free_indices(e)}
    names: dict[tuple[Reduce, str], str] = {}
    taken = free | all_index_names((equation.value,))

    def name_for(node: Reduce, axis: str) -> str:
        if (node, axis) not in names:
            clash = axis in free or axis in names.values()
            names[node, axis] = fresh(axis, taken) if clash else axis
            taken.add(names[node, axis])
        return names[node, axis]

    def rename(node: Expr) -> Expr:
        node = rebuild(node, rename)
        if not isinstance(node, Reduce) or node.op == "softmax":
            return node
        axes = tuple(name_for(node, axis) for axis in node.axes)
        pairs = zip(node.axes, axes, strict=True)
        body = substitute(node.body, {old: Ref(new, RefKind.index) for old, new in pairs if old != new})
        return Reduce(node.op, axes, body, span=node.span)

    return dataclasses.replace(equation, value=rename(equation.value))
