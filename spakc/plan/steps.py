"""A problem as launches: one for each stage, joined by workspace tensors where a stage hands values on."""

from __future__ import annotations

from dataclasses import dataclass

from spakc.ir.module import Kernel, Tensor
from spakc.ir.ops import Expr, Load, Ref, RefKind
from spakc.ir.types import DType
from spakc.ir.visit import walk
from spakc.plan.launch import Signature, StepProblem, expressions_of
from spakc.plan.problem import (
    AttentionProblem,
    ChainProblem,
    IndexRange,
    Problem,
    ProductProblem,
    RowsProblem,
    Store,
)


@dataclass(frozen=True, slots=True)
class Steps:
    """`problems[i]` is computed by launch i; what it hands on is in `signature.carried`."""

    problems: tuple[StepProblem, ...]
    signature: Signature


def steps_of(problem: Problem, kernel: Kernel) -> Steps | str:
    """The launches that compute a problem, or why no template can."""
    stages = problem.stages if isinstance(problem, ChainProblem) else (problem,)
    steps: list[StepProblem] = []
    for stage in stages:
        if isinstance(stage, AttentionProblem):
            return "attention has no template yet"
        steps.append(stage)
    names = (
        tuple(name for group in problem.carried for name in group)
        if isinstance(problem, ChainProblem)
        else ()
    )
    carried: dict[str, Tensor] = {}
    for name in names:
        tensor = _carried(name, steps, kernel)
        if tensor is None:
            return f"the intermediate `{name}` is not stored by plain indices"
        carried[name] = tensor
    return Steps(tuple(steps), Signature(kernel, carried))


def stores_of(problem: StepProblem) -> tuple[Store, ...]:
    """Everything a step writes."""
    if isinstance(problem, RowsProblem):
        return (*problem.row_outputs, *problem.element_outputs)
    return problem.outputs


def ranges_of(problem: StepProblem) -> tuple[IndexRange, ...]:
    """Every index variable of a step."""
    if isinstance(problem, ProductProblem):
        return (*problem.batch, *problem.rows, *problem.columns, *problem.reduced)
    if isinstance(problem, RowsProblem):
        return (*problem.kept, *problem.reduced)
    return problem.space


def _carried(name: str, steps: list[StepProblem], kernel: Kernel) -> Tensor | None:
    """The workspace tensor for an intermediate: shaped by the indices under which it is stored."""
    for step in steps:
        for store in stores_of(step):
            if store.tensor == name:
                extents = {index.name: index.extent for index in ranges_of(step)}
                shape = tuple(_extent(index, extents) for index in store.indices)
                if None in shape:
                    return None
                same_as = _partner(name, steps, kernel)
                dtypes = () if same_as is not None else (DType.f32,)
                sizes = tuple(size for size in shape if size is not None)
                return Tensor(name, "workspace", dtypes, same_as, sizes, (), span=kernel.span)
    return None


def _extent(index: Expr, extents: dict[str, Expr]) -> Expr | None:
    if isinstance(index, Ref) and index.kind is RefKind.index:
        return extents.get(index.name)
    return None


def _partner(name: str, steps: list[StepProblem], kernel: Kernel) -> str | None:
    """The declared tensor that an intermediate is multiplied with in a product: tensor cores want both operands of
    one dtype. None where no product reads it: then it is kept in f32."""
    for step in steps:
        if isinstance(step, ProductProblem):
            operands = [operand.tensor for operand in step.operands]
            others = [tensor for tensor in operands if tensor != name and tensor in kernel.tensors]
            if name in operands and others:
                return others[0]
    return None


def reads(problem: StepProblem) -> frozenset[str]:
    """Names of the tensors that a step loads."""
    targets = {(store.tensor, store.indices) for store in stores_of(problem)}
    return frozenset(
        node.tensor
        for expr in expressions_of(problem)
        for node in walk(expr)
        if isinstance(node, Load) and (node.tensor, node.indices) not in targets
    )
