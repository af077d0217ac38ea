"""Tensors that a kernel changes in place: their old values may be read where nobody can have overwritten them yet.

Blocks run in any order, so an element of such a tensor is read only by the point of the problem that overwrites it; by
sums along a row, the elements of that row. Of one point's outputs, those that read an old value are stored before
the one that overwrites it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from spakc.ir.inline import free_indices
from spakc.ir.ops import Expr, Load, Reduce
from spakc.ir.visit import loads
from spakc.plan.launch import expressions_of, stores_of
from spakc.plan.mismatch import Mismatch
from spakc.plan.problem import (
    AttentionProblem,
    ChainProblem,
    ElementwiseProblem,
    Problem,
    ProductProblem,
    RowsProblem,
    StageProblem,
    Store,
)


def in_place(problem: Problem, changed: Iterable[str]) -> Problem:
    """The problem with its outputs in an order in which every old value is read before it is overwritten. `changed` are
    the tensors that the kernel changes in place. Raises Mismatch (SPAK419) where no order does."""
    names = set(changed)
    if not names:
        return problem
    stages = problem.stages if isinstance(problem, ChainProblem) else (problem,)
    for number, stage in enumerate(stages):
        before = {store.tensor for earlier in stages[:number] for store in stores_of(earlier)} & names
        for load in _old(expressions_of(stage, targets=False), before):
            raise _overwritten(load, "launches before this one have overwritten")
    ordered = tuple(_stage(stage, names) for stage in stages)
    return replace(problem, stages=ordered) if isinstance(problem, ChainProblem) else ordered[0]


@dataclass(frozen=True)
class _Changed:
    """What a stage overwrites: for each tensor the places of one point."""

    places: dict[str, set[tuple[Expr, ...]]]

    def only_here(self, value: Expr) -> None:
        """Refuses old values of elements that other points overwrite."""
        for load in _old([value], self.places):
            if load.indices not in self.places[load.tensor]:
                raise _overwritten(load, "another point of the kernel overwrites")

    def only_of_row(self, value: Expr, along: set[str]) -> None:
        """Refuses old values but those of elements of the row, `along` which indices of these names run."""
        for load in _old([value], self.places):
            if not any(_of_row(load.indices, place, along) for place in self.places[load.tensor]):
                raise _overwritten(load, "another row of the kernel overwrites")

    def nowhere(self, value: Expr) -> None:
        for load in _old([value], self.places):
            raise _overwritten(load, "other points of the kernel overwrite")


def _stage(stage: StageProblem, names: set[str]) -> StageProblem:
    places: dict[str, set[tuple[Expr, ...]]] = {}
    for store in stores_of(stage):
        if store.tensor in names:
            places.setdefault(store.tensor, set()).add(store.indices)
    if not places:
        return stage
    changed = _Changed(places)
    if isinstance(stage, ElementwiseProblem):  # each point loads all that it reads before it stores
        for value in expressions_of(stage, targets=False):
            changed.only_here(value)
        return stage
    if isinstance(stage, RowsProblem):
        return _rows(stage, changed)
    if isinstance(stage, ProductProblem):
        for operand in stage.operands:
            changed.nowhere(operand.load)
        return replace(stage, outputs=_before_overwritten(stage.outputs, changed))
    if isinstance(stage, AttentionProblem):
        mask = () if stage.mask is None else (stage.mask,)
        for value in (*(operand.load for operand in stage.operands), stage.score, *mask):  # by many blocks
            changed.nowhere(value)
        for store in stage.row_outputs:
            changed.only_here(store.value)
        return replace(stage, outputs=_before_overwritten(stage.outputs, changed))
    return stage  # gradients change nothing in place (SPAK420)


def _rows(stage: RowsProblem, changed: _Changed) -> RowsProblem:
    """Threads of a row go their own ways once it is summed: what one of them stores, no other may still read."""
    along = {index.name for index in stage.reduced}
    of_elements = {store.tensor for store in stage.element_outputs}
    elements = _Changed({name: at for name, at in changed.places.items() if name in of_elements})
    of_rows = _Changed({name: at for name, at in changed.places.items() if name not in of_elements})
    for step in stage.steps:
        if isinstance(step.value, Reduce):
            elements.only_of_row(step.value, along)
        else:
            elements.nowhere(step.value)
        of_rows.nowhere(step.value)
    for store in stage.row_outputs:
        elements.nowhere(store.value)
        of_rows.only_here(store.value)
    for store in stage.element_outputs:
        of_rows.nowhere(store.value)
    outputs = _before_overwritten(stage.element_outputs, elements)
    return replace(
        stage, row_outputs=_before_overwritten(stage.row_outputs, of_rows), element_outputs=outputs
    )


def _before_overwritten(stores: Sequence[Store], changed: _Changed) -> tuple[Store, ...]:
    """The stores of one point in the order given, but each after those that read what it overwrites."""
    for store in stores:
        changed.only_here(store.value)
    left, done = list(stores), list[Store]()
    while left:
        for store in left:
            others = [other for other in left if other is not store]
            places = {store.tensor} & changed.places.keys()
            reading = [
                load
                for other in others
                for load in _old([other.value], places)
                if load.indices == store.indices
            ]
            if not reading:
                break
        else:
            raise _overwritten(reading[0], "an output that is stored before this one overwrites")
        left.remove(store)
        done.append(store)
    return tuple(done)


def _of_row(read: Sequence[Expr], place: Sequence[Expr], along: set[str]) -> bool:
    """Whether an element lies in the row of a place: all axes that do not run along it have the same index."""
    return all(
        mine == own for mine, own in zip(read, place, strict=True) if not along & set(free_indices(own))
    )


def _old(values: Iterable[Expr], tensors: Iterable[str]) -> list[Load]:
    names = set(tensors)
    return [load for value in values for load in loads(value) if load.tensor in names and not load.new]


def _overwritten(load: Load, by: str) -> Mismatch:
    return Mismatch(
        "SPAK419",
        f"the old value of {load.tensor} is read here, which {by}",
        load.span,
        "an output apart from the input, instead of a tensor that is changed in place",
    )
