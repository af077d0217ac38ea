"""Element-wise mathematics of whole tensors as that of one long row: where every tensor lies in one piece, the place in
memory is the only index that there is, and no counter is taken apart for it."""

from __future__ import annotations

from dataclasses import replace

from spak_runtime.manifest import Expression, Guard
from spakc.ir.ops import Apply, Const, Expr, Load, Ref, RefKind
from spakc.ir.visit import children, references, with_children
from spakc.plan.launch import lower, product
from spakc.plan.problem import ElementwiseProblem, IndexRange, Store
from spakc.plan.steps import Steps

_LARGEST = 2**31 - 1


def flat_of(steps: Steps) -> tuple[Steps, tuple[Guard, ...]] | None:
    """The same launch over one index, and what its tensors must satisfy; None where elements meet others than those of
    the same place."""
    if len(steps.problems) != 1:
        return None
    (problem,) = steps.problems
    if not isinstance(problem, ElementwiseProblem) or len(problem.space) < 2:
        return None
    whole = tuple(index.ref for index in problem.space)
    extent = problem.space[0].extent
    for index in problem.space[1:]:
        extent = Apply("mul", (extent, index.extent))
    flat = IndexRange(problem.space[-1].name, extent)
    at = (*(Const(0) for _ in whole[1:]), flat.ref)
    tensors: dict[str, None] = {}

    def changed(expr: Expr) -> Expr | None:
        """The expression over the one index; None if it asks for more."""
        if isinstance(expr, Load):
            if expr.indices == whole:
                tensors[expr.tensor] = None
                return replace(expr, indices=at)
            return None if references(expr, RefKind.index) else expr
        if isinstance(expr, Ref) and expr.kind is RefKind.index:
            return None
        old = children(expr)
        new = tuple(changed(child) for child in old)
        return None if None in new else with_children(expr, tuple(each for each in new if each is not None))

    locals_, outputs = [], []
    for local in problem.locals:
        value = changed(local.value)
        if value is None:
            return None
        locals_.append(replace(local, value=value))
    for store in problem.outputs:
        value = changed(store.value)
        if value is None or store.indices != whole:
            return None
        tensors[store.tensor] = None
        outputs.append(Store(store.tensor, at, value, span=store.span))
    if any(tensor in steps.signature.carried for tensor in tensors):
        return None
    points = lower(extent)
    guards = [Guard("flat", ["le", points, _LARGEST], "an index has 32 bits")]
    for name in tensors:
        pieces = _one_piece(name, steps, problem.space)
        guards.append(Guard("flat", pieces, f"{name} lies in one piece"))
    one = replace(problem, space=(flat,), locals=tuple(locals_), outputs=tuple(outputs))
    return Steps((one,), steps.signature), tuple(guards)


def _one_piece(name: str, steps: Steps, space: tuple[IndexRange, ...]) -> Expression:
    """Whether the last axis is contiguous, and each other axis a whole number of those behind it."""
    sizes = [lower(index.extent) for index in space]
    conditions: list[Expression] = [
        ["eq", steps.signature.stride(name, axis), product(sizes[axis + 1 :])] for axis in range(len(sizes))
    ]
    return ["and", *conditions]
