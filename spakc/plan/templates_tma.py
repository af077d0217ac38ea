"""The template of the product family that joins copies by TMA with the mma of every architecture since sm_80: what
sm_120a has, which knows no wgmma."""

from __future__ import annotations

from spak_runtime.manifest import Guard, Param
from spakc.ir.ops import Load
from spakc.ir.visit import walk
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, params_of
from spakc.plan.problem import ProductProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, multiple_of, one_of
from spakc.plan.templates_product import (
    TILES,
    number,
    size,
    tensor_core_refusal,
    tensor_requirements,
    tensor_resources,
    tensor_shape,
)
from spakc.plan.templates_warp_specialized import MAX_AXES
from spakc.plan.tensor_maps import operand_map

SLACK = 1024 + 2 * 8 * 8
"""Bytes beside the ring: its alignment to 1024 bytes, and two barriers for each of 8 slots at most."""


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, ProductProblem)
    for operand in problem.operands:
        if len(operand.indices) > MAX_AXES:
            return f"`{operand.tensor}` has more than {MAX_AXES} axes"
    return tensor_core_refusal(problem, signature)


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, ProductProblem)
    needed = tensor_requirements(problem, signature, config)
    depth = Guard("depth", ["ge", size(problem.reduced), 1], "a tensor map has no empty axis")
    return Requirements((*needed.guards, depth), needed.layouts)


def _shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    """One warp more than multiply, and the ring aligned. Slabs that are larger than the ring may use all of it."""
    tiled = tensor_shape(problem, signature, config)
    return LaunchShape(tiled.grid, tiled.threads + 32, ["add", tiled.shared_bytes, SLACK])


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    tiled = tensor_resources(problem, signature, config)
    return Resources(tiled.threads + 32, tiled.registers, tiled.shared_bytes + SLACK)


def _params(problem: StepProblem, signature: Signature, config: Config) -> tuple[Param, ...]:
    """The tensor maps of the operands; pointers and strides of the outputs and of what their values read; then dims
    and options."""
    assert isinstance(problem, ProductProblem)
    row, column, reduced = problem.rows[0], problem.columns[0], problem.reduced[0]
    maps = (
        operand_map(0, problem.left, row, reduced, number(config, "tile_m"), 1, signature),
        operand_map(1, problem.right, column, reduced, number(config, "tile_n"), 1, signature),
    )
    kept = {n.tensor for s in problem.outputs for n in walk(s.value) if isinstance(n, Load)}
    kept |= {store.tensor for store in problem.outputs}
    others = (
        param
        for param in params_of(problem, signature)
        if param.name in kept or param.kind not in ("pointer", "stride", "value")
    )
    return (*maps, *others)


TMA_PIPELINED = Template(
    family="product",
    name="tma_pipelined",
    path="product/tma_pipelined.cu.j2",
    summary="one warp keeps a ring of tiles full by TMA, the others multiply; tensor cores (mma)",
    knobs=(
        *(knob for knob in TILES if knob.name != "tile_k"),
        TemplateKnob("tile_k", "elements", "64", one_of(64), 64, "depth of one step"),
        TemplateKnob("stages", "tiles", "2 to 8", multiple_of(1, 2, 8), 3, "slots of the ring", (2, 3, 4)),
    ),
    needs=("tma",),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
    params=_params,
    portfolio=3,
)
