"""A problem as launches: one for each stage, joined by workspace tensors where a stage hands values on."""

from __future__ import annotations

from dataclasses import replace

from spak_runtime.manifest import Guard
from spakc.ir.module import Kernel, Tensor
from spakc.ir.ops import Expr, Ref, RefKind
from spakc.ir.types import DType
from spakc.plan.launch import Signature, StepProblem, ranges_of, stores_of
from spakc.plan.one_pass import one_pass
from spakc.plan.partial_sums import partial_sums
from spakc.plan.parts import in_parts
from spakc.plan.problem import (
    ChainProblem,
    Problem,
    ProductProblem,
    RowsProblem,
)
from spakc.record import record


@record
class Steps:
    """`problems[i]` is computed by launch i; what it hands on is in `signature.carried`."""

    problems: tuple[StepProblem, ...]
    signature: Signature


def steps_of(problem: Problem, kernel: Kernel) -> Steps | str:
    """The launches that compute a problem, or why no template can."""
    steps = _stages(problem)
    names = _carried(problem)
    if not kernel.schedules:
        steps, parts = _with_partial_sums(steps, kernel, names)
        names += parts
    return _joined(steps, names, kernel)


def one_pass_of(problem: Problem, kernel: Kernel) -> Steps | None:
    """Launches of which the first also sums down the columns of its rows; None if nothing can be joined so."""
    if kernel.schedules:
        return None
    names = _carried(problem)
    found = one_pass(_stages(problem), {*kernel.tensors, *kernel.dims, *kernel.options, *names})
    if found is None:
        return None
    joined = _joined(list(found[0]), [*names, *found[1]], kernel)
    return None if isinstance(joined, str) else joined


def in_parts_of(problem: Problem, kernel: Kernel) -> tuple[Steps, Guard] | None:
    """Launches of which the first computes parts of a product's sums, and what they ask of a call; None where it has
    none."""
    if not isinstance(problem, ProductProblem):
        return None
    found = in_parts(problem, {*kernel.tensors, *kernel.dims, *kernel.options})
    if found is None:
        return None
    summed, added, handed, guard = found
    joined = _joined([summed, added], [handed], kernel)
    return None if isinstance(joined, str) else (joined, guard)


def _stages(problem: Problem) -> list[StepProblem]:
    return list(problem.stages) if isinstance(problem, ChainProblem) else [problem]


def _carried(problem: Problem) -> list[str]:
    return [n for group in problem.carried for n in group] if isinstance(problem, ChainProblem) else []


def _joined(steps: list[StepProblem], names: list[str], kernel: Kernel) -> Steps | str:
    """The steps with workspace for what they hand on."""
    carried: dict[str, Tensor] = {}
    for name in names:
        shape = _shape(name, steps)
        if shape is None:
            return f"the intermediate `{name}` is not stored by plain indices"
        carried[name] = Tensor(name, "workspace", (DType.f32,), None, shape, (), span=kernel.span)
    for name, partner in _partners(steps, carried).items():
        carried[name] = replace(carried[name], dtypes=(), same_as=partner)
    return Steps(tuple(steps), Signature(kernel, carried))


def _with_partial_sums(
    steps: list[StepProblem], kernel: Kernel, names: list[str]
) -> tuple[list[StepProblem], list[str]]:
    """Sums down columns in two launches each, and the names of what these hand on."""
    result: list[StepProblem] = []
    handed: list[str] = []
    for step in steps:
        taken = {*kernel.tensors, *kernel.dims, *kernel.options, *names, *handed}
        found = partial_sums(step, taken) if isinstance(step, RowsProblem) else None
        if found is None:
            result.append(step)
        else:
            result += found[:2]
            handed += found[2]
    return result, handed


def _shape(name: str, steps: list[StepProblem]) -> tuple[Expr, ...] | None:
    """The shape of an intermediate, by the indices under which it is stored."""
    for step in steps:
        extents = {index.name: index.extent for index in ranges_of(step)}
        for store in stores_of(step):
            if store.tensor == name:
                shape = tuple(_extent(index, extents) for index in store.indices)
                return None if None in shape else tuple(size for size in shape if size is not None)
    return None


def _extent(index: Expr, extents: dict[str, Expr]) -> Expr | None:
    if isinstance(index, Ref) and index.kind is RefKind.index:
        return extents.get(index.name)
    return None


def _partners(steps: list[StepProblem], carried: dict[str, Tensor]) -> dict[str, str]:
    """For each intermediate that a product reads, a declared tensor whose dtype it gets: that of its
    partner, since tensor cores want both operands of one dtype. Others keep f32."""
    found: dict[str, str] = {}
    products = [step for step in steps if isinstance(step, ProductProblem)]
    for _ in products:  # through products of two intermediates
        for step in products:
            left, right = (operand.tensor for operand in step.operands)
            for name, other in ((left, right), (right, left)):
                partner = found.get(other) if other in carried else other
                if name in carried and partner is not None:
                    found.setdefault(name, partner)
    return found
