"""The template of the gradient of attention for sm_90a: blocks keep keys and values, TMA keeps queries coming,
warpgroups multiply them with wgmma, and parts of the gradient of queries are added up in memory."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard, Param
from spakc.plan.launch import (
    Config,
    Requirements,
    Signature,
    StepProblem,
    fold,
    lower,
    product,
)
from spakc.plan.problem import AttentionGradientProblem, IndexRange, Operand, Store
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, multiple_of, one_of
from spakc.plan.templates_attention import number
from spakc.plan.templates_attention_gradient import rows_guards, rows_of, rows_refusal
from spakc.plan.templates_attention_tma import (
    ELEMENT,
    GRID,
    MOST_SHARED,
    SLAB,
    SLACK,
    depths_of,
    map_refusal,
    params_beside,
    resources_of,
    shape_of,
)
from spakc.plan.templates_product import size
from spakc.plan.templates_rows import no_double
from spakc.plan.tensor_maps import ROW, output_guards, output_map, rows_map

_KNOWN = 8
"""Bytes of what is known of a query beside its elements."""
_KNOWN_TILE = 32
"""The same of a tile of them."""


# ---- what a block takes ---------------------------------------------------------------------------------


def _queries(depth: Expression, config: Config) -> Expression:
    """Rows of a tile of queries."""
    return fold(["floordiv", 64 * number(config, "tile_q"), depth])


def _shared_bytes(depth: Expression, value_depth: Expression, config: Config) -> Expression:
    """Keys and values, the rings of queries and gradients of results, slopes twice, and slabs."""
    queries, keys, stages = _queries(depth, config), number(config, "tile_k"), number(config, "stages")
    rows = fold(["add", product((queries, stages)), keys])
    columns = product((fold(["add", depth, value_depth]), rows, ELEMENT))
    beside = product((queries, 2 * ELEMENT * keys + stages * _KNOWN))
    fixed = 2 * SLAB * (number(config, "tile_q") // 64) + stages * _KNOWN_TILE + SLACK
    return fold(["add", fold(["add", columns, beside]), fixed])


def _derived(problem: StepProblem, _: Signature, config: Config) -> dict[str, Expression]:
    """Slopes pass through shared memory where wide sums leave no registers for them beside the next scores."""
    assert isinstance(problem, AttentionGradientProblem)
    depth, value_depth = lower(problem.depth.extent), lower(problem.value_depth.extent)
    return {
        "PLAN_tile_q": _queries(depth, config),
        "PLAN_shared_slopes": ["gt", fold(["add", depth, value_depth]), 128],
    }


def _fits(depth: int, value_depth: int, config: Config) -> bool:
    """Whether scores, slopes and sums have room in registers, tiles in shared memory, and each warpgroup its part."""
    queries, shared = _queries(depth, config), _shared_bytes(depth, value_depth, config)
    assert isinstance(queries, int) and isinstance(shared, int)
    registers = queries + depth // 2 + value_depth // 2
    most = 128 if config["consumers"] == 3 else 192
    return queries % 64 == 0 < queries and registers <= most and shared <= MOST_SHARED


def _served(problem: AttentionGradientProblem, signature: Signature, config: Config) -> list[tuple[int, int]]:
    return [pair for pair in depths_of(problem, signature) if _fits(*pair, config)]


def _refuses(problem: StepProblem, signature: Signature, config: Config) -> str | None:
    assert isinstance(problem, AttentionGradientProblem)
    if number(config, "tile_k") != 64 * number(config, "consumers"):
        return f"{config['consumers']} warpgroups of 64 keys do not keep {config['tile_k']}"
    if number(config, "tile_q") // 64 % number(config, "consumers") > 0:
        return f"{config['consumers']} warpgroups do not share {config['tile_q']} queries evenly"
    if not _served(problem, signature, config):
        return "scores, slopes and sums do not fit into registers, or the rings into shared memory"
    return None


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, AttentionGradientProblem)
    served = _served(problem, signature, config) or depths_of(problem, signature)
    return resources_of([_shared_bytes(depth, values, config) for depth, values in served], config)


def _shape(problem: StepProblem, _: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, AttentionGradientProblem)
    tiles = product([size(problem.space), ["ceil_div", lower(problem.key.extent), config["tile_k"]]])
    return shape_of(
        tiles, _shared_bytes(lower(problem.depth.extent), lower(problem.value_depth.extent), config), config
    )


# ---- what a call must satisfy ---------------------------------------------------------------------------


def _stores(problem: AttentionGradientProblem) -> list[tuple[Store, IndexRange, IndexRange]]:
    """What is stored by TMA, with the indices of its rows and columns."""
    assert problem.added is not None
    outputs = [
        (store, problem.key, problem.value_depth if problem.of_weights(store) else problem.depth)
        for store in problem.outputs
    ]
    return [*outputs, (problem.added, problem.query, problem.depth)]


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionGradientProblem)
    if problem.added is None:
        return "the gradient of queries is a launch of its own"
    reason = rows_refusal(problem, signature) or no_double(problem, signature)
    if reason is not None:
        return reason
    stores = _stores(problem)
    reason = map_refusal(problem, [store for store, _, _ in stores], signature)
    if reason is not None:
        return reason
    for store, row, along in stores:
        target = Operand(store.tensor, store.indices)
        if target.axis_of(row.name) is None or target.axis_of(along.name) is None:
            return f"`{store.tensor}` is not indexed by {row.name} and {along.name} alone"
        if set(signature.contiguous_axes(store.tensor)) != {target.axis_of(along.name)}:
            return f"rows of `{store.tensor}` do not lie in one piece"
    return None


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, AttentionGradientProblem)
    guards = rows_guards(problem, signature)
    for store, _, along in _stores(problem):
        guards += output_guards(store, along, signature)
    for index in (problem.query, problem.key):
        guards.append(Guard("rows", ["ge", lower(index.extent), 1], "a tensor map has no empty axis"))
    served = _served(problem, signature, config)
    if len(served) < len(depths_of(problem, signature)):
        for place, index in enumerate((problem.depth, problem.value_depth)):
            widths = sorted({pair[place] for pair in served})
            reason = f"this tile is for rows of {' or '.join(map(str, widths))}"
            guards.append(Guard("width", ["member", lower(index.extent), ["set", *widths]], reason))
    return Requirements(tuple(guards))


def _params(problem: StepProblem, signature: Signature, config: Config) -> tuple[Param, ...]:
    """The tensor maps; pointers and strides of what scores read besides, and of what is known of a query; dims and
    options."""
    assert isinstance(problem, AttentionGradientProblem)
    queries, keys = _queries(lower(problem.depth.extent), config), number(config, "tile_k")
    tiles: dict[IndexRange, Expression] = {problem.query: queries, problem.key: keys}
    query, key, value, result = rows_of(problem)
    maps = [
        rows_map(role, operand, row, along, tiles[row], signature)
        for role, (operand, row, along) in enumerate((key, value, query, result))
    ]
    for role, (store, row, along) in enumerate(_stores(problem), 4):
        maps.append(output_map(role, store, row, along, lambda _: ROW, signature))
    return (*maps, *params_beside(problem, [store for store, _, _ in _stores(problem)], signature))


# ---- the template ---------------------------------------------------------------------------------------


def _ladder(_problem: StepProblem, _signature: Signature) -> tuple[Config, ...]:
    return tuple({**GRADIENT_TMA.defaults, "grid": grid} for grid in ("persistent", "tiles"))


GRADIENT_TMA = Template(
    family="attention_gradient",
    name="gradient_tma",
    path="attention/gradient_tma.cu.j2",
    summary="one warp copies by TMA, warpgroups keep keys and multiply with wgmma; parts of the gradient of queries "
    "are added in memory, in any order",
    knobs=(
        TemplateKnob(
            "tile_q",
            "rows",
            "64, 128, 192 or 256",
            one_of(64, 128, 192, 256),
            128,
            "queries of one step where rows have 64 columns, as many fewer where they have more",
            (64, 128),
        ),
        TemplateKnob(
            "tile_k",
            "rows",
            "64, 128 or 192",
            one_of(64, 128, 192),
            128,
            "keys of a block, 64 a warpgroup",
            (64, 128),
        ),
        TemplateKnob(
            "stages",
            "tiles",
            "2 to 4",
            multiple_of(1, 2, 4),
            2,
            "slots of the rings of queries and of gradients of results",
            (2, 3),
        ),
        TemplateKnob(
            "consumers",
            "warpgroups",
            "1 to 3",
            multiple_of(1, 1, 3),
            2,
            "how many compute, beside one that copies",
            (1, 2),
        ),
        GRID,
    ),
    needs=("tma", "wgmma"),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
    unordered=True,
    refuses=_refuses,
    ladder=_ladder,
    params=_params,
    derived=_derived,
)
