"""Which accesses run along the innermost index of a problem, so that neighbours move together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spakc.ir.extents import split_offset
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.visit import children, references, walk
from spakc.plan.launch import Signature
from spakc.plan.problem import ElementwiseProblem, IndexRange, Local, ProductProblem, RowsProblem
from spakc.record import record


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
    """The loads that are vectors along the innermost index, each once, in order of appearance."""
    if not problem.space:
        return ()
    values = (*(local.value for local in problem.locals), *(store.value for store in problem.outputs))
    return _loads_along(problem.space, values, signature)


def _loads_along(
    space: tuple[IndexRange, ...], values: Iterable[Expr], signature: Signature
) -> tuple[Load, ...]:
    """The loads of `values` that run along the last index of `space`, each once, in order of appearance.

    Left out are loads of optional tensors, which may be absent, and loads that a point may not evaluate (in
    a branch of `where`, after `and` or `or`) and that might leave the tensor there.
    """
    found: dict[Load, None] = {}
    for value in values:
        always = {node for node in _always_evaluated(value) if isinstance(node, Load)}
        for node in walk(value):
            if (
                isinstance(node, Load)
                and signature.tensors[node.tensor].default is None
                and innermost_offset(node.indices, space[-1].name) is not None
                and (node in always or _stays_inside(node, space, signature))
            ):
                found[node] = None
    return tuple(found)


def loads_beside(problem: ProductProblem, signature: Signature) -> tuple[Load, ...]:
    """The loads of a product's outputs from matrices that lie as a tile does, of which a thread reads neighbouring
    columns: nobody changes them, and they have an element for every one of the tile."""
    space = (*problem.batch, *problem.rows, *problem.columns)
    if len(problem.rows) != 1 or len(problem.columns) != 1:
        return ()
    return tuple(
        load
        for load in _loads_along(space, (store.value for store in problem.outputs), signature)
        if signature.tensors[load.tensor].role == "input"
        and isinstance(load.indices[-1], Ref)
        and problem.rows[0].name in references(load, RefKind.index)
    )


def _stays_inside(load: Load, space: tuple[IndexRange, ...], signature: Signature) -> bool:
    """Whether every point of the space reads an element that there is: each index runs over the whole
    axis."""
    extents = {index.name: index.extent for index in space}
    axes = zip(load.indices, signature.tensors[load.tensor].shape, strict=True)
    return all(
        isinstance(index, Ref) and index.kind is RefKind.index and extents.get(index.name) == extent
        for index, extent in axes
    )


@record
class RowPass:
    """A pass over a row: `sums` are reduced in it, together, from `loads`; `scalars` are known after it."""

    sums: tuple[Local, ...]
    scalars: tuple[Local, ...]
    loads: tuple[Load, ...]


@record
class RowPasses:
    """The passes over a row that reduce, in order, and the vector loads of the `last` one, which writes the elements
    and adds to the sums down columns. So that memory is read once, `held` is what more than one pass reads, and
    `fixed` what is the same in every row."""

    reducing: tuple[RowPass, ...]
    last: tuple[Load, ...]
    fixed: tuple[Load, ...]

    @property
    def all(self) -> tuple[Load, ...]:
        every = (*(one.loads for one in self.reducing), self.last)
        return tuple(dict.fromkeys(load for loads in every for load in loads))

    @property
    def held(self) -> tuple[Load, ...]:
        every = (*(one.loads for one in self.reducing), self.last)
        several = (load for load in self.all if sum(load in loads for loads in every) > 1)
        return tuple(load for load in several if load not in self.fixed)


def row_passes(problem: RowsProblem, signature: Signature) -> RowPasses:
    """Needs a problem that reduces along a single index."""
    space = (*problem.kept, *problem.reduced)
    reducing = []
    for sums, scalars in row_levels(problem.steps):
        bodies = [step.value.body for step in sums if isinstance(step.value, Reduce)]
        reducing.append(RowPass(sums, scalars, _loads_along(space, bodies, signature)))
    outputs = [store.value for store in (*problem.element_outputs, *problem.column_sums)]
    last = _loads_along(space, outputs, signature)
    rows = {index.name for index in problem.kept}
    loads = dict.fromkeys((*(load for one in reducing for load in one.loads), *last))
    fixed = (load for load in loads if not rows & references(load, RefKind.index))
    return RowPasses(tuple(reducing), last, tuple(fixed))


def row_levels(steps: Iterable[Local]) -> list[tuple[tuple[Local, ...], tuple[Local, ...]]]:
    """The steps by how many reductions they wait for, one after the other: in each level the reductions and what
    is known after them."""
    level: dict[str, int] = {}
    sums: dict[int, list[Local]] = {}
    scalars: dict[int, list[Local]] = {}
    for step in steps:
        known = max((level.get(name, 0) for name in references(step.value, RefKind.local)), default=0)
        level[step.name] = known + isinstance(step.value, Reduce)
        (sums if isinstance(step.value, Reduce) else scalars).setdefault(level[step.name], []).append(step)
    return [
        (tuple(sums.get(number, ())), tuple(scalars.get(number, ()))) for number in sorted({*sums, *scalars})
    ]


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
