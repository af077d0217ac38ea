"""The templates of the chain family: stages joined by intermediates that stay on chip."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard
from spakc.ir.types import DType
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, fold, product
from spakc.plan.problem import PanelProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, multiple_of, one_of
from spakc.plan.templates_product import (
    TILE,
    is_tile,
    largest_slab,
    number,
    operand_guards,
    operand_refusal,
    output_refusal,
    size,
    slab_bytes,
    tensor_threads,
)
from spakc.plan.templates_rows import no_double

# ---- panel ----------------------------------------------------------------------------------------------


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    if not isinstance(problem, PanelProblem):
        return "it joins a pass over rows with the product that reads its result, and this chain is another"
    if {problem.rows.accumulate, problem.product.accumulate} != {DType.f32}:
        return "it accumulates in f32, and the file says otherwise"
    product = problem.product
    right = operand_refusal(product.right, product.columns[0].name, product, signature)
    return right or output_refusal(product, signature) or no_double(problem, signature)


def _refuses(_: StepProblem, __: Signature, config: Config) -> str | None:
    if number(config, "depth") % number(config, "tile_k"):
        return "`depth` is no multiple of `tile_k`"
    return None


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, PanelProblem)
    right, reduced = problem.product.right, problem.product.reduced
    guards = operand_guards(right, problem.product.columns[0].name, reduced[0].name, signature)
    deepest = number(config, "depth")
    guards.append(
        Guard("depth", ["le", size(reduced), deepest], f"rows of {deepest} elements at most stay on chip")
    )
    several = len(set(signature.contiguous_axes(right.tensor))) > 1
    return Requirements(tuple(guards), (right.tensor,) if several else ())


def _panel_bytes(depth: Expression, config: Config) -> Expression:
    steps = fold(["ceil_div", depth, number(config, "tile_k")])
    return product([steps, number(config, "tile_m") * number(config, "tile_k") * 2])


def _ring_bytes(config: Config) -> int:
    return number(config, "stages") * number(config, "tile_n") * number(config, "tile_k") * 2


def _shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, PanelProblem)
    rows = fold(["ceil_div", size(problem.product.rows), number(config, "tile_m")])
    wide = number(config, "tile_n") * number(config, "wide")
    columns = fold(["ceil_div", size(problem.product.columns), wide])
    slabs = [slab_bytes(config, signature.element_bytes(store.tensor)) for store in problem.product.outputs]
    slab = slabs[0] if len(slabs) == 1 else ["max", *slabs]
    panel = _panel_bytes(size(problem.product.reduced), config)
    shared = fold(["add", fold(["add", panel, _ring_bytes(config)]), slab])
    return LaunchShape((rows, columns, 1), tensor_threads(config), shared)


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, PanelProblem)
    threads = tensor_threads(config)
    accumulators = number(config, "tile_m") * number(config, "tile_n") // threads
    slabs = [largest_slab(config, signature, store.tensor) for store in problem.product.outputs]
    panel = _panel_bytes(number(config, "depth"), config)
    assert isinstance(panel, int)
    return Resources(threads, accumulators + 80, panel + _ring_bytes(config) + max(slabs))


def _ladder(_: StepProblem, __: Signature) -> tuple[Config, ...]:
    """Short rows by tall tiles; longer ones where shared memory holds them."""
    return (
        {"tile_m": 64, "tile_n": 128, "tile_k": 32, "stages": 3, "depth": 256, "wide": 4, "lanes": 8},
        {"tile_m": 64, "tile_n": 64, "tile_k": 32, "stages": 4, "depth": 1024, "wide": 8, "lanes": 32},
    )


_DEPTH = "multiples of 64 from 64 to 2048"

PANEL = Template(
    family="chain",
    name="panel",
    path="chain/panel.cu.j2",
    summary="rows are computed once, stay on chip and are multiplied by many columns; tensor cores (mma)",
    knobs=(
        TemplateKnob("tile_m", "rows", TILE, is_tile, 64, "rows that a block computes and multiplies"),
        TemplateKnob("tile_n", "columns", TILE, is_tile, 128, "columns of a tile of the product", (64, 128)),
        TemplateKnob("tile_k", "elements", "16, 32 or 64", one_of(16, 32, 64), 32, "depth of one step"),
        TemplateKnob(
            "stages", "tiles", "2 to 8", multiple_of(1, 2, 8), 3, "slots of the ring of right tiles", (3, 4)
        ),
        TemplateKnob(
            "depth", "elements", _DEPTH, multiple_of(64, 64, 2048), 256, "longest row that fits", (256, 1024)
        ),
        TemplateKnob(
            "wide", "tiles", "1 to 64", multiple_of(1, 1, 64), 4, "tiles of columns of a block", (4, 8)
        ),
        TemplateKnob("lanes", "threads", "8, 16 or 32", one_of(8, 16, 32), 16, "that compute a row", (8, 32)),
    ),
    needs=("cp_async",),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
    refuses=_refuses,
    ladder=_ladder,
)
