"""The template of the element-wise family."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard
from spakc.ir.ops import Load
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, product
from spakc.plan.problem import ElementwiseProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, one_of
from spakc.plan.templates_product import size
from spakc.plan.templates_rows import no_double
from spakc.plan.vector_guards import vector_requirements
from spakc.plan.vectors import stores_are_vectors, vector_loads

MAX_BLOCKS = 2**20
"""More work than this many blocks is done in further rounds of the loop."""


def _number(config: Config, knob: str) -> int:
    value = config[knob]
    assert isinstance(value, int)
    return value


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, ElementwiseProblem)
    return no_double(problem, signature)


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    """With vectors: whole ones, and every row of every tensor that moves in vectors begins at one."""
    assert isinstance(problem, ElementwiseProblem)
    vector = _number(config, "vector")
    if vector == 1:
        return Requirements()
    if not stores_are_vectors(problem):
        return Requirements((Guard("vectors", False, "an output does not run along the innermost index"),))
    stores = (Load(store.tensor, store.indices) for store in problem.outputs)
    return vector_requirements(
        problem.space[-1], (*vector_loads(problem, signature), *stores), vector, signature
    )


def _shape(problem: StepProblem, _: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, ElementwiseProblem)
    threads = _number(config, "threads")
    per_block = threads * _number(config, "vector")
    points: Expression = size(problem.space)
    if together := _together(problem):
        *outer, along, inner = problem.space
        points = product((size((*outer, inner)), ["ceil_div", size((along,)), together]))
    blocks: Expression = ["min", ["ceil_div", points, per_block], MAX_BLOCKS]
    return LaunchShape((blocks, 1, 1), threads, 0)


def _derived(problem: StepProblem, _: Signature, __: Config) -> dict[str, Expression]:
    assert isinstance(problem, ElementwiseProblem)
    together = _together(problem)
    return {"PLAN_together": together} if together else {}


def _together(problem: ElementwiseProblem) -> int:
    """Neighbours that a thread computes together; 0 where they share nothing."""
    from spakc.plan.shared import TOGETHER, shared_of  # not for `check`, which asks for knobs alone

    return 0 if shared_of(problem) is None else TOGETHER


GRID_STRIDE = Template(
    family="elementwise",
    name="grid_stride",
    path="elementwise/grid_stride.cu.j2",
    summary="each thread computes a few neighbouring points, then goes on a whole grid further",
    knobs=(
        TemplateKnob(
            "threads",
            "threads",
            "64, 128, 256, 512 or 1024",
            one_of(64, 128, 256, 512, 1024),
            128,
            "threads of a block",
        ),
        TemplateKnob(
            "vector",
            "elements",
            "1, 2, 4 or 8",
            one_of(1, 2, 4, 8),
            1,
            "neighbours that a thread moves together",
            (1, 2, 4, 8),
        ),
    ),
    needs=(),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=lambda _problem, _signature, config: Resources(_number(config, "threads"), 48, 0),
    derived=_derived,
)
