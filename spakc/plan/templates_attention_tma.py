"""The template of the attention family for sm_90a: TMA keeps tiles of keys and values coming, warpgroups multiply them
with wgmma and compute exponentials in turns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from spak_runtime.manifest import Expression, Guard, Param
from spakc.ir.ops import Load
from spakc.ir.visit import walk
from spakc.plan.launch import (
    Config,
    Requirements,
    Signature,
    StepProblem,
    expressions_of,
    fold,
    lower,
    params_of,
    product,
)
from spakc.plan.problem import AttentionGradientProblem, AttentionProblem, Operand, Store
from spakc.plan.resources import Resources
from spakc.plan.template import KnobValue, LaunchShape, Template, TemplateKnob, multiple_of, one_of
from spakc.plan.templates_attention import (
    compiled_sizes,
    copied_in_pieces,
    copy_guards,
    number,
    same_half_precision,
    tiles_refusal,
)
from spakc.plan.templates_product import size
from spakc.plan.tensor_maps import ROW, output_guards, output_map, rows_map

MAX_AXES = 4
"""Of a tensor map in the template: the matrix and two batch axes."""

MOST_SHARED = 232_448
"""Bytes of shared memory that a block may have where there is wgmma."""

SLACK = 1024
"""Bytes beside tiles and slabs: their alignment to 1024 bytes, and the barriers."""

ELEMENT = 2
SLAB = 8192
"""Bytes of an output slab of a warpgroup."""

# ---- what a block takes ---------------------------------------------------------------------------------


def _shared_bytes(depth: Expression, value_depth: Expression, config: Config) -> Expression:
    """Tiles of queries, the rings of keys and values, and the slabs that outputs leave through."""
    two, one = (_shared_with(slots, depth, value_depth, config) for slots in (2, 1))
    return _where_two_fit(two, two, one)


def _query_slots(depth: Expression, value_depth: Expression, config: Config) -> Expression:
    """Tiles of queries at once: two where they fit beside the rings."""
    return _where_two_fit(_shared_with(2, depth, value_depth, config), 2, 1)


def _where_two_fit(two: Expression, then: Expression, otherwise: Expression) -> Expression:
    if isinstance(two, int):
        return then if two <= MOST_SHARED else otherwise
    return ["where", ["le", two, MOST_SHARED], then, otherwise]


def _shared_with(slots: int, depth: Expression, value_depth: Expression, config: Config) -> Expression:
    """What a block takes with so many tiles of queries."""
    passing = number(config, "stages") * number(config, "tile_k")
    rows = slots * number(config, "tile_q")
    tiles = fold(
        [
            "add",
            product((depth, ELEMENT * (rows + passing))),
            product((value_depth, ELEMENT * passing)),
        ]
    )
    slabs = product((_slab_bytes(value_depth, config), number(config, "consumers")))
    return fold(["add", fold(["add", tiles, slabs]), SLACK])


def _slab_bytes(value_depth: Expression, config: Config) -> Expression:
    """Output slabs of one consumer: for whole rows, or where tiles leave no room for these one after the other."""
    return product((value_depth, SLAB // 64)) if number(config, "tile_k") <= 160 else SLAB


def _apart(config: Config) -> bool:
    """Whether steps that ask about no element have code of their own: shorter steps, and more code to fetch where rows
    are few."""
    return config["consumers"] == 3 or number(config, "tile_k") > 128


def _derived(problem: StepProblem, _: Signature, config: Config) -> dict[str, Expression]:
    assert isinstance(problem, AttentionProblem)
    depth, value_depth = lower(problem.depth.extent), lower(problem.value_depth.extent)
    return {
        "PLAN_query_slots": _query_slots(depth, value_depth, config),
        "PLAN_slab_bytes": _slab_bytes(value_depth, config),
        "PLAN_apart": _apart(config),
    }


def _fits(depth: int, value_depth: int, config: Config) -> bool:
    """Whether scores, weights and sums have room in registers, and tiles in shared memory."""
    tile_k = number(config, "tile_k")
    registers = tile_k // 2 + tile_k // 4 + value_depth // 2
    shared = _shared_bytes(depth, value_depth, config)
    assert isinstance(shared, int)
    return registers <= (128 if config["consumers"] == 3 else 200) and shared <= MOST_SHARED


def depths_of(
    problem: AttentionProblem | AttentionGradientProblem, signature: Signature
) -> list[tuple[int, int]]:
    """Every depth with every depth of the values that a call may have."""
    depths = compiled_sizes(problem.depth, signature) or ()
    if problem.depth.extent == problem.value_depth.extent:
        return [(value, value) for value in depths]
    return list(itertools.product(depths, compiled_sizes(problem.value_depth, signature) or ()))


def _served(problem: AttentionProblem, signature: Signature, config: Config) -> list[tuple[int, int]]:
    """Those of them that the config has room for, all up to a largest."""
    ordered = sorted(depths_of(problem, signature), key=max)
    return list(itertools.takewhile(lambda pair: _fits(*pair, config), ordered))


def _refuses(problem: StepProblem, signature: Signature, config: Config) -> str | None:
    assert isinstance(problem, AttentionProblem)
    if number(config, "tile_q") != 64 * number(config, "consumers"):
        return f"{config['consumers']} warpgroups of 64 rows do not compute {config['tile_q']}"
    if not _served(problem, signature, config):
        return "scores, weights and sums do not fit into registers, or the rings into shared memory"
    return None


def threads_of(config: Config) -> int:
    """A warpgroup that copies beside those that compute."""
    return 128 * (number(config, "consumers") + 1)


def resources_of(shared: Sequence[Expression], config: Config) -> Resources:
    """`shared` by depths, all of them numbers. Registers are those that a thread begins with."""
    threads = threads_of(config)
    numbers = [each for each in shared if isinstance(each, int)]
    assert len(numbers) == len(shared)
    return Resources(threads, min(255, 65_536 // threads // 8 * 8), max(numbers))


def shape_of(tiles: Expression, shared: Expression, config: Config) -> LaunchShape:
    """A block for each tile, or as many as there are multiprocessors."""
    blocks: Expression = ["min", tiles, ["fact", "sms"]] if config["grid"] == "persistent" else tiles
    return LaunchShape((blocks, 1, 1), threads_of(config), shared)


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, AttentionProblem)
    served = _served(problem, signature, config) or depths_of(problem, signature)
    return resources_of([_shared_bytes(depth, values, config) for depth, values in served], config)


def _shape(problem: StepProblem, _: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, AttentionProblem)
    tiles = product([size(problem.batch), ["ceil_div", lower(problem.query.extent), config["tile_q"]]])
    return shape_of(
        tiles, _shared_bytes(lower(problem.depth.extent), lower(problem.value_depth.extent), config), config
    )


# ---- what a call must satisfy ---------------------------------------------------------------------------


def map_refusal(
    problem: AttentionProblem | AttentionGradientProblem, stores: Sequence[Store], signature: Signature
) -> str | None:
    """Why no tensor maps of the template cover the operands and what is stored, or None."""
    for index in (problem.depth, problem.value_depth):
        if any(value % 64 for value in compiled_sizes(index, signature) or ()):
            return f"the size of `{index.name}` is not always a multiple of 64"
    for operand in (*problem.operands, *(Operand(s.tensor, s.indices) for s in stores)):
        if len(operand.indices) > MAX_AXES:
            return f"`{operand.tensor}` has more than {MAX_AXES} axes"
    return None


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionProblem)
    reason = tiles_refusal(problem, signature) or copied_in_pieces(problem, signature)
    if reason is not None:
        return reason
    reason = map_refusal(problem, problem.outputs, signature)
    if reason is not None:
        return reason
    for store in problem.outputs:
        along = Operand(store.tensor, store.indices).axis_of(problem.value_depth.name)
        if set(signature.contiguous_axes(store.tensor)) != {along}:
            return f"rows of `{store.tensor}` do not lie in one piece"
    return None


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, AttentionProblem)
    guards = [
        *same_half_precision([o.tensor for o in problem.operands], signature),
        *copy_guards(problem, signature),
    ]
    for store in problem.outputs:
        guards += output_guards(store, problem.value_depth, signature)
    guards.append(Guard("keys", ["ge", lower(problem.key.extent), 1], "a tensor map has no empty axis"))
    served = _served(problem, signature, config)
    if len(served) < len(depths_of(problem, signature)):
        largest = max(max(pair) for pair in served)
        for index in dict.fromkeys((problem.depth.extent, problem.value_depth.extent)):
            reason = f"scores and sums of rows of up to {largest} fit into registers and shared memory"
            guards.append(Guard("width", ["le", lower(index), largest], reason))
    return Requirements(tuple(guards))


def _params(problem: StepProblem, signature: Signature, config: Config) -> tuple[Param, ...]:
    """The tensor maps; pointers and strides of what scores and outputs read besides, and of outputs a row; dims and
    options."""
    assert isinstance(problem, AttentionProblem)
    rows, keys = number(config, "tile_q"), number(config, "tile_k")
    maps = [
        rows_map(0, problem.query_operand, problem.query, problem.depth, rows, signature),
        rows_map(1, problem.key_operand, problem.key, problem.depth, keys, signature),
        rows_map(2, problem.value_operand, problem.key, problem.value_depth, keys, signature),
    ]
    for role, store in enumerate(problem.outputs, 3):
        maps.append(output_map(role, store, problem.query, problem.value_depth, lambda _: ROW, signature))
    return (*maps, *params_beside(problem, problem.outputs, signature))


_SMS = Param("value", "i32", "sms", value=["fact", "sms"])


def params_beside(
    problem: AttentionProblem | AttentionGradientProblem, stores: Sequence[Store], signature: Signature
) -> tuple[Param, ...]:
    """`plain_params`, and multiprocessors."""
    return (*plain_params(problem, stores, signature), _SMS)


def plain_params(
    problem: AttentionProblem | AttentionGradientProblem, stores: Sequence[Store], signature: Signature
) -> tuple[Param, ...]:
    """Of what no tensor map brings: pointers and strides of what else is read or stored, dims and options."""
    by_map = {operand.load for operand in problem.operands} | {
        Load(store.tensor, store.indices) for store in stores
    }
    read = {
        node.tensor
        for expr in expressions_of(problem)
        if expr not in by_map
        for node in walk(expr)
        if isinstance(node, Load)
    }
    return tuple(
        param
        for param in params_of(problem, signature)
        if param != _SMS and (param.name in read or param.kind not in ("pointer", "stride", "value"))
    )


# ---- the template ---------------------------------------------------------------------------------------


def _ladder(_problem: StepProblem, _signature: Signature) -> tuple[Config, ...]:
    """What is worth building: wide rows want few large tiles, narrow ones three warpgroups; blocks that leave serve
    long masked sequences, those that stay short ones."""
    shapes = ((128, 128, 2, 2), (192, 128, 3, 3), (128, 176, 2, 2))
    names = ("tile_q", "tile_k", "stages", "consumers")
    return tuple(
        {**dict(zip(names, shape, strict=True)), "grid": grid, "polynomial": 0}
        for shape in shapes
        for grid in ("persistent", "tiles")
    )


def _grid(value: KnobValue) -> bool:
    return value in ("persistent", "tiles")


GRID = TemplateKnob(
    "grid",
    "word",
    "persistent or tiles",
    _grid,
    "persistent",
    "whether blocks stay and compute tile after tile, or there is one for each tile",
    ("persistent", "tiles"),
    at_launch=True,
)

V4_TMA = Template(
    family="attention",
    name="v4_tma",
    path="attention/v4_tma.cu.j2",
    summary="one warp copies by TMA, warpgroups multiply with wgmma and compute exponentials in turns",
    knobs=(
        TemplateKnob(
            "tile_q",
            "rows",
            "64, 128 or 192",
            one_of(64, 128, 192),
            128,
            "queries of a tile, 64 a warpgroup",
            (64, 128, 192),
        ),
        TemplateKnob(
            "tile_k",
            "rows",
            "multiples of 16 from 64 to 192",
            multiple_of(16, 64, 192),
            128,
            "keys of one step",
            (64, 96, 128, 160, 176),
        ),
        TemplateKnob(
            "stages",
            "tiles",
            "2 to 4",
            multiple_of(1, 2, 4),
            2,
            "slots of the rings of keys and values",
            (2, 3),
        ),
        TemplateKnob(
            "consumers",
            "warpgroups",
            "1 to 3",
            multiple_of(1, 1, 3),
            2,
            "how many compute, beside one that copies",
            (1, 2, 3),
        ),
        GRID,
        TemplateKnob(
            "polynomial",
            "column pairs",
            "0, 4, 8 or 16",
            one_of(0, 4, 8, 16),
            0,
            "one in so many takes its exponentials on the multiply-add units (0: none)",
        ),
    ),
    needs=("tma", "wgmma"),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
    refuses=_refuses,
    ladder=_ladder,
    params=_params,
    derived=_derived,
)
