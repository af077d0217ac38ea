"""Which accesses of an element-wise problem run along the innermost index, so that neighbours move
together."""

from __future__ import annotations

from collections.abc import Iterator

from spakc.ir.extents import split_offset
from spakc.ir.ops import Apply, Expr, Load, RefKind
from spakc.ir.visit import children, references
from spakc.plan.launch import Signature
from spakc.plan.problem import ElementwiseProblem


def innermost_offset(indices: tuple[Expr, ...], innermost: str) -> Expr | None:
    """The offset c of an access `[…, innermost + c]` whose other indices are free of the innermost; else
    None."""
    if not indices:
        return None
    *outer, last = indices
    if any(innermost in references(index, RefKind.index) for index in outer):
        return None
    split = split_offset(last)
    return split[1] if split is not None and split[0] == innermost else None


def vector_loads(problem: ElementwiseProblem, signature: Signature) -> tuple[Load, ...]:
    """The loads that are vectors along the innermost index, each once, in order of appearance.

    Left out are loads that a point may not evaluate (in a branch of `where`, after `and` or `or`), since
    reading them might leave the tensor, and loads of optional tensors, which may be absent.
    """
    if not problem.space:
        return ()
    innermost = problem.space[-1].name
    found: dict[Load, None] = {}
    for value in (*(local.value for local in problem.locals), *(store.value for store in problem.outputs)):
        for node in _always_evaluated(value):
            if (
                isinstance(node, Load)
                and signature.tensors[node.tensor].default is None
                and innermost_offset(node.indices, innermost) is not None
            ):
                found[node] = None
    return tuple(found)


def stores_are_vectors(problem: ElementwiseProblem) -> bool:
    """Whether every store runs along the innermost index too."""
    return bool(problem.space) and all(
        innermost_offset(store.indices, problem.space[-1].name) is not None for store in problem.outputs
    )


def _always_evaluated(expr: Expr) -> Iterator[Expr]:
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Apply) and node.op in ("where", "and", "or"):
            stack.append(node.args[0])
        else:
            stack.extend(reversed(children(node)))
