"""The templates of the rows family: one result, or one row of results, for each point of the kept indices."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard
from spakc.ir.types import DType
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, uses_of
from spakc.plan.problem import RowsProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, one_of
from spakc.plan.templates_product import size

REDUCER_BYTES = 8
"""Shared memory for one thread's or warp's part of a reduction, as in the header."""

SHORT_ROW = 1024
"""Up to here a warp a row is preferred: no barrier, and a block still has several rows in flight."""


def no_double(problem: StepProblem, signature: Signature) -> str | None:
    """Why a memory-bound template cannot compute the problem: generated kernels compute in f32."""
    for name in uses_of(problem, signature).tensors:
        if DType.f64 in signature.alternatives(name):
            return f"`{name}` may be f64, and generated kernels compute in f32"
        kinds = {d.value if not d.is_float else "floating-point" for d in signature.alternatives(name)}
        if len(kinds) > 1:
            return f"`{name}` may be of several kinds of number"
    return None


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, RowsProblem)
    if problem.accumulate is not DType.f32:
        return f"it accumulates in f32, and the file says `accumulate {problem.accumulate.value}`"
    if problem.column_sums:
        return "it does not hold what it would add up down the columns"
    return no_double(problem, signature)


def along_rows(problem: StepProblem, signature: Signature) -> str | None:
    """Why a template whose neighbouring threads read along a row cannot compute the problem."""
    assert isinstance(problem, RowsProblem)
    if not problem.reduced_is_contiguous:
        return "neighbouring threads would read elements that lie far apart"
    return _cannot(problem, signature)


def _warps(config: Config) -> int:
    warps = config["warps"]
    assert isinstance(warps, int)
    return warps


def _threads(config: Config) -> int:
    threads = config["threads"]
    assert isinstance(threads, int)
    return threads


def _parts(config: Config) -> int:
    parts = config["parts"]
    assert isinstance(parts, int)
    return parts


def _row_grid(problem: StepProblem, rows_a_block: int) -> tuple[Expression, Expression, Expression]:
    assert isinstance(problem, RowsProblem)
    kept = size(problem.kept)
    return (kept if rows_a_block == 1 else ["ceil_div", kept, rows_a_block], 1, 1)


def _short_rows(problem: StepProblem, _signature: Signature, _config: Config) -> Requirements:
    assert isinstance(problem, RowsProblem)
    reason = f"a row of up to {SHORT_ROW} elements is one warp's work"
    return Requirements((Guard("short_rows", ["le", size(problem.reduced), SHORT_ROW], reason),))


_WARPS = TemplateKnob("warps", "warps", "1, 2, 4, 8 or 16", one_of(1, 2, 4, 8, 16), 4, "warps of a block")

BLOCK = Template(
    family="rows",
    name="block",
    path="rows/block.cu.j2",
    summary="a block computes one row; neighbouring threads read neighbouring elements",
    knobs=(
        TemplateKnob(
            "threads",
            "threads",
            "32, 64, 128, 256, 512 or 1024",
            one_of(32, 64, 128, 256, 512, 1024),
            256,
            "threads of a block",
        ),
    ),
    needs=(),
    cannot=_cannot,
    requirements=lambda _problem, _signature, _config: Requirements(),
    shape=lambda problem, _signature, config: LaunchShape(
        _row_grid(problem, 1), _threads(config), REDUCER_BYTES * _threads(config) // 32
    ),
    resources=lambda _problem, _signature, config: Resources(
        _threads(config), 40, REDUCER_BYTES * _threads(config) // 32
    ),
)

WARP = Template(
    family="rows",
    name="warp",
    path="rows/warp.cu.j2",
    summary="a warp computes one row, without a barrier; for short rows",
    knobs=(_WARPS,),
    needs=(),
    cannot=along_rows,
    requirements=_short_rows,
    shape=lambda problem, _signature, config: LaunchShape(
        _row_grid(problem, _warps(config)), 32 * _warps(config), 0
    ),
    resources=lambda _problem, _signature, config: Resources(32 * _warps(config), 40, 0),
)

COLUMNS = Template(
    family="rows",
    name="columns",
    path="rows/columns.cu.j2",
    summary="neighbouring lanes compute neighbouring results; the warps of a block share the reduced axis",
    knobs=(
        TemplateKnob(
            "parts",
            "warps",
            "1, 2, 4, 8, 16 or 32",
            one_of(1, 2, 4, 8, 16, 32),
            16,
            "warps that share a result",
        ),
    ),
    needs=(),
    cannot=_cannot,
    requirements=lambda _problem, _signature, _config: Requirements(),
    shape=lambda problem, _signature, config: LaunchShape(
        _row_grid(problem, 32), 32 * _parts(config), REDUCER_BYTES * 32 * _parts(config)
    ),
    resources=lambda _problem, _signature, config: Resources(
        32 * _parts(config), 40, REDUCER_BYTES * 32 * _parts(config)
    ),
)
