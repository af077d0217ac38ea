"""The template of the gradient of attention: tiles of rows stay, the others pass through a ring."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard
from spakc.ir.types import DType
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, fold, lower, product
from spakc.plan.problem import AttentionGradientProblem, IndexRange, Operand
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, multiple_of
from spakc.plan.templates_attention import compiled_sizes, depth_refusal, number, same_half_precision
from spakc.plan.templates_product import HALF, operand_guards, size
from spakc.plan.templates_rows import no_double

_ELEMENT, _ROW = 2, 8
"""Bytes of an element of a tile; of what is known of a row beside its elements."""


def rows_of(problem: AttentionGradientProblem) -> list[tuple[Operand, IndexRange, IndexRange]]:
    return [
        (problem.query_operand, problem.query, problem.depth),
        (problem.key_operand, problem.key, problem.depth),
        (problem.value_operand, problem.key, problem.value_depth),
        (problem.result_operand, problem.query, problem.value_depth),
    ]


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionGradientProblem)
    if problem.added is not None:
        return "its blocks add nothing to what others compute"
    return tiles_refusal(problem, signature)


def tiles_refusal(problem: AttentionGradientProblem, signature: Signature) -> str | None:
    """Why operands are none that tensor cores work on tile by tile."""
    if problem.accumulate is not DType.f32:
        return f"tensor cores accumulate in f32, and the file says `accumulate {problem.accumulate.value}`"
    for operand, row, along in rows_of(problem):
        name = operand.tensor
        if not set(HALF) & set(signature.alternatives(name)):
            return f"tensor cores multiply bf16 or f16, and `{name}` is neither"
        if signature.tensors[name].default is not None:
            return f"`{name}` may be absent"
        if operand.axis_of(row.name) is None or operand.axis_of(along.name) is None:
            return f"`{name}` is not indexed by {row.name} and {along.name} alone"
        if set(signature.contiguous_axes(name)) != {operand.axis_of(along.name)}:
            return f"rows of `{name}` do not lie in one piece"
    return depth_refusal(problem, signature) or no_double(problem, signature)


def _requirements(problem: StepProblem, signature: Signature, _: Config) -> Requirements:
    assert isinstance(problem, AttentionGradientProblem)
    return Requirements(tuple(tiles_guards(problem, signature)))


def tiles_guards(problem: AttentionGradientProblem, signature: Signature) -> list[Guard]:
    """What copies of rows in pieces of 16 bytes ask of a call."""
    guards: list[Guard] = same_half_precision([o.tensor for o in problem.operands], signature)
    for operand, row, along in rows_of(problem):
        guards += operand_guards(operand, row.name, along.name, signature)
    return guards


def _shared_bytes(problem: AttentionGradientProblem, signature: Signature, config: Config) -> Expression:
    """The rows that stay and the ring; after the last step, the warps' output slabs take their place."""
    depth, value_depth = lower(problem.depth.extent), lower(problem.value_depth.extent)
    own, other, stages = (number(config, knob) for knob in ("tile_own", "tile_other", "stages"))
    columns = fold(
        ["add", product([depth, own + stages * other]), product([value_depth, own + stages * other])]
    )
    total = fold(["add", product([columns, _ELEMENT]), stages * other * _ROW])
    for store, extent in zip(problem.outputs, (depth, value_depth), strict=False):
        row = fold(["add", product([extent, signature.element_bytes(store.tensor)]), 16])
        total = fold(["max", total, product([row, own])])
    return total


def _shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, AttentionGradientProblem)
    own = number(config, "tile_own")
    tiles: Expression = ["ceil_div", lower(problem.own.extent), own]
    grid = product([size(problem.space), tiles])
    return LaunchShape((grid, 1, 1), 2 * own, _shared_bytes(problem, signature, config))


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, AttentionGradientProblem)
    depth, value_depth = (
        max(compiled_sizes(index, signature) or (0,)) for index in (problem.depth, problem.value_depth)
    )
    own, other, stages = (number(config, knob) for knob in ("tile_own", "tile_other", "stages"))
    rows = own + stages * other
    ring = _ELEMENT * rows * (depth + value_depth) + stages * other * _ROW
    slabs = max(
        own * (extent * signature.largest_element(store.tensor) + 16)
        for store, extent in zip(problem.outputs, (depth, value_depth), strict=False)
    )
    sums = depth // 2 + (value_depth // 2 if problem.by_keys else 0)
    return Resources(2 * own, min(255, sums + other * 3 // 2 + 56), max(ring, slabs))


GRADIENT_TILES = Template(
    family="attention_gradient",
    name="gradient_tiles",
    path="attention/gradient.cu.j2",
    summary="weights computed again tile by tile (mma), sums in registers, no atomics: the same bits every time",
    knobs=(
        TemplateKnob(
            "tile_own",
            "rows",
            "multiples of 16 from 16 to 256",
            multiple_of(16, 16, 256),
            64,
            "rows that a block keeps, sixteen a warp",
        ),
        TemplateKnob(
            "tile_other",
            "rows",
            "multiples of 16 from 16 to 256",
            multiple_of(16, 16, 256),
            32,
            "rows of the other side in one step",
        ),
        TemplateKnob("stages", "tiles", "2 to 8", multiple_of(1, 2, 8), 2, "slots of the ring"),
    ),
    needs=("cp_async",),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
)
