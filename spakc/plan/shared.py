"""What neighbours along an outer index have in common, so that one thread computes it once for several of them: of a
rotation by position the sines and cosines, which are the same in every head."""

from __future__ import annotations

from dataclasses import replace

from spakc.ir.inline import fresh
from spakc.ir.ops import Apply, Expr, Load, Ref, RefKind
from spakc.ir.visit import children, loads, references, walk, with_children
from spakc.plan.problem import ElementwiseProblem, IndexRange, Local
from spakc.record import record

TOGETHER = 4
"""Neighbours that a thread computes one after the other: what they share costs a quarter, and threads are left."""

_COSTLY = frozenset(("pow", "exp", "exp2", "log", "log2", "sin", "cos", "tanh", "erf"))
"""Operations that take a thread longer than reading the element that they are for."""


@record
class Shared:
    """`locals` are the same for all values of `along`; `rest` is the problem that reads them."""

    along: IndexRange
    locals: tuple[Local, ...]
    rest: ElementwiseProblem


def shared_of(problem: ElementwiseProblem) -> Shared | None:
    """What a thread computes once for TOGETHER neighbours along the index beside the innermost; None where that is
    nothing that costs much."""
    if len(problem.space) < 2:
        return None
    along = problem.space[-2]
    values = [*(local.value for local in problem.locals), *(store.value for store in problem.outputs)]
    taken = {node.name for value in values for node in walk(value) if isinstance(node, Ref)}
    taken |= {index.name for index in problem.space} | {local.name for local in problem.locals}
    found: dict[Expr, Local] = {}
    changing: set[str] = set()  # locals that are not the same

    def same(expr: Expr) -> bool:
        """Whether it reads no element, and nothing that changes along the index."""
        return (
            not any(loads(expr))
            and along.name not in references(expr, RefKind.index)
            and not changing & references(expr, RefKind.local)
        )

    def without(expr: Expr) -> Expr:
        """The expression with a local for each part that is the same and costs much."""
        if isinstance(expr, Load):
            return expr
        if isinstance(expr, Apply) and _costs(expr) and same(expr):
            if expr not in found:
                name = fresh(expr.op, taken)
                taken.add(name)
                found[expr] = Local(name, expr)
            return found[expr].ref
        old = children(expr)
        new = tuple(without(child) for child in old)
        return expr if new == old else with_children(expr, new)

    kept, once = [], []
    for local in problem.locals:
        if same(local.value):
            once.append(local)
        else:
            changing.add(local.name)
            kept.append(replace(local, value=without(local.value)))
    outputs = tuple(replace(store, value=without(store.value)) for store in problem.outputs)
    once += found.values()
    if not any(_costs(local.value) for local in once):
        return None
    return Shared(along, tuple(once), replace(problem, locals=tuple(kept), outputs=outputs))


def _costs(expr: Expr) -> bool:
    return any(isinstance(node, Apply) and node.op in _COSTLY for node in walk(expr))
