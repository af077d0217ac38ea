"""The template of the attention family that joins copies by TMA with the mma of every architecture since sm_80: what
sm_120a has, which knows no wgmma."""

from __future__ import annotations

from spak_runtime.manifest import Guard, Param
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, lower
from spakc.plan.problem import AttentionProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template
from spakc.plan.templates_attention import V3_PIPELINED, number
from spakc.plan.templates_attention_tma import map_refusal, plain_params
from spakc.plan.tensor_maps import rows_map

SLACK = 1024 + 8 * (1 + 2 * 2 * 8)
"""Bytes beside tiles: their alignment to 1024 bytes, and a barrier for the queries and two for each of 8 slots of keys
and of values at most."""


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionProblem)
    return V3_PIPELINED.cannot(problem, signature) or map_refusal(problem, (), signature)


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, AttentionProblem)
    keys = Guard("keys", ["ge", lower(problem.key.extent), 1], "a tensor map has no empty axis")
    return Requirements((*V3_PIPELINED.requirements(problem, signature, config).guards, keys))


def _shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    """One warp more than multiply, and tiles aligned. Slabs that are larger than the tiles may use all of it."""
    tiled = V3_PIPELINED.shape(problem, signature, config)
    return LaunchShape(tiled.grid, tiled.threads + 32, ["add", tiled.shared_bytes, SLACK])


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    tiled = V3_PIPELINED.resources(problem, signature, config)
    return Resources(tiled.threads + 32, tiled.registers, tiled.shared_bytes + SLACK)


def _params(problem: StepProblem, signature: Signature, config: Config) -> tuple[Param, ...]:
    """The tensor maps of the operands; pointers and strides of the outputs and of what scores read besides; then
    dims and options."""
    assert isinstance(problem, AttentionProblem)
    rows, keys = number(config, "tile_q"), number(config, "tile_k")
    return (
        rows_map(0, problem.query_operand, problem.query, problem.depth, rows, signature),
        rows_map(1, problem.key_operand, problem.key, problem.depth, keys, signature),
        rows_map(2, problem.value_operand, problem.key, problem.value_depth, keys, signature),
        *plain_params(problem, (), signature),
    )


V3_TMA = Template(
    family="attention",
    name="v3_tma",
    path="attention/v3_tma.cu.j2",
    summary="online softmax through a ring of tiles that one warp keeps full by TMA; tensor cores (mma)",
    knobs=V3_PIPELINED.knobs,
    needs=("tma",),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
    params=_params,
)
