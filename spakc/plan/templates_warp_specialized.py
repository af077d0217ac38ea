"""The template of the product family for sm_90a: TMA keeps a ring of tiles full, wgmma multiplies them."""

from __future__ import annotations

from dataclasses import replace

from spak_runtime.manifest import Expression, Guard, Param
from spakc.ir.ops import Load, RefKind
from spakc.ir.visit import references, walk
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, params_of, product
from spakc.plan.problem import Operand, ProductProblem
from spakc.plan.resources import Resources
from spakc.plan.template import KnobValue, LaunchShape, Template, TemplateKnob, multiple_of, one_of
from spakc.plan.templates_product import number, operand_requirements, size, tensor_core_refusal
from spakc.plan.tensor_maps import operand_map, output_guards, output_map
from spakc.plan.vector_guards import vector_requirements
from spakc.plan.vectors import loads_beside

MAX_AXES = 4
"""Of a tensor map in the template: the matrix and two batch axes."""

SHORT = 2**31
"""Multiplications of a launch that is over before it is worth asking where the next one lies."""

SLACK = 1024
"""Bytes of shared memory beside tiles and slabs: their alignment to 1024 bytes, and the barriers."""

# ---- what a block takes ---------------------------------------------------------------------------------


def owners(config: Config) -> int:
    """Warpgroups that share one tile of the outputs."""
    return number(config, "consumers") if config["mode"] == "cooperative" else 1


def _ring_bytes(config: Config) -> int:
    tiles = number(config, "tile_m") + number(config, "tile_n")
    return number(config, "stages") * tiles * number(config, "tile_k") * 2


def _slab_bytes(config: Config) -> int:
    """Memory through which one warpgroup stores outputs."""
    return 8192 if config["consumers"] == 3 else 16_384


def _derived(_problem: StepProblem, _signature: Signature, config: Config) -> dict[str, Expression]:
    return {"PLAN_slab_bytes": _slab_bytes(config)}


def slab_span(config: Config, element: int) -> int:
    """Bytes of a row of a slab, as `slab_span` of slab_store.cuh: the widest that divides a row of the tile, or
    of a block's share of it."""
    row = number(config, "tile_n") // number(config, "split_k") * element
    return next(span for span in (128, 64, 32) if row % span == 0)


def _shared_bytes(config: Config) -> int:
    return _ring_bytes(config) + number(config, "consumers") * _slab_bytes(config) + SLACK


def _shape(problem: StepProblem, _signature: Signature, config: Config) -> LaunchShape:
    """Blocks stay: there are as many as multiprocessors, or as tiles if those are fewer."""
    assert isinstance(problem, ProductProblem)
    cluster, parts = number(config, "cluster"), number(config, "split_k")
    blocks = product(
        (["min", _tiles(problem, config), places(["fact", "sms"], cluster * parts)], cluster * parts)
    )
    return LaunchShape((blocks, 1, 1), _threads(config), _shared_bytes(config), (cluster * parts, 1, 1))


def _tiles(problem: ProductProblem, config: Config) -> Expression:
    """Of the outputs, or pairs of them where two blocks share a tile of the right operand."""
    return product(
        (
            ["ceil_div", size(problem.rows), number(config, "tile_m") * number(config, "cluster")],
            ["ceil_div", size(problem.columns), number(config, "tile_n")],
            size(problem.batch),
        )
    )


def places(sms: Expression, cluster: int) -> Expression:
    """How many clusters are on a device at once. Those of four leave multiprocessors over, since each lies within
    one of the groups that a device consists of: up to two in a group of 14, 16 or 18."""
    if cluster == 1:
        return sms
    return ["max", 1, ["floordiv", sms if cluster == 2 else ["add", sms, -16], cluster]]


def _threads(config: Config) -> int:
    return 128 * (number(config, "consumers") + 1)


def _resources(_problem: StepProblem, _signature: Signature, config: Config) -> Resources:
    """Registers are those that a thread begins with."""
    return Resources(_threads(config), min(255, 65_536 // _threads(config) // 8 * 8), _shared_bytes(config))


def _most_accumulators(problem: ProductProblem, config: Config) -> int:
    """Of a thread, beside what the outputs' values need: those that read a matrix hold an address for each row."""
    matrix = {problem.rows[0].name, problem.columns[0].name}
    reads = (n for store in problem.outputs for n in walk(store.value) if isinstance(n, Load))
    of_matrices = any(
        matrix <= {name for index in load.indices for name in references(index, RefKind.index)}
        for load in reads
    )
    if config["consumers"] == 3:
        return 96 if of_matrices else 112
    return 112 if of_matrices else 176


def _refuses(problem: StepProblem, _signature: Signature, config: Config) -> str | None:
    assert isinstance(problem, ProductProblem)
    tile_m, tile_n, sharing = number(config, "tile_m"), number(config, "tile_n"), owners(config)
    if tile_m % (64 * sharing):
        return f"{sharing} warpgroups have no multiples of 64 of {tile_m} rows"
    if config["mode"] == "pingpong" and config["consumers"] != 2:
        return "two warpgroups take turns in ping-pong mode"
    accumulators, most = tile_m * tile_n // (128 * sharing), _most_accumulators(problem, config)
    if accumulators > most:
        return f"{accumulators} accumulators a thread, and there is room for {most}"
    if config["consumers"] == 3 and number(config, "cluster") * number(config, "split_k") > 1:
        return (
            "beside three warpgroups that multiply, the one that copies has too few registers for a cluster"
        )
    if config["consumers"] == 3 and tile_n > 200:
        return "a product of more than 200 columns does not fit into the registers of 512 threads"
    return _refuses_split(config) if number(config, "split_k") > 1 else None


def _refuses_split(config: Config) -> str | None:
    tile_m, tile_n, parts = (number(config, knob) for knob in ("tile_m", "tile_n", "split_k"))
    if config["mode"] != "cooperative" or config["cluster"] != 1:
        return "parts of a sum are the blocks of a cluster, with warpgroups that share their tile"
    if tile_n % (16 * parts):
        return f"{parts} blocks have no multiples of 16 of {tile_n} columns"
    if tile_m * tile_n * 4 > _ring_bytes(config):
        return "the ring does not hold the partial sums"
    return None


# ---- what a call must satisfy ---------------------------------------------------------------------------


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, ProductProblem)
    if problem.parts is not None:
        return "it computes whole sums"
    return _cannot_tile(problem, signature)


def _cannot_in_parts(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, ProductProblem)
    if problem.parts is None:
        return (
            "parts are those of a sum over one index for one row and one column, in f32 and without a batch"
        )
    return _cannot_tile(problem, signature)


def _cannot_tile(problem: ProductProblem, signature: Signature) -> str | None:
    reason = tensor_core_refusal(problem, signature)
    if reason is not None:
        return reason
    for operand in (problem.left, problem.right, *(Operand(s.tensor, s.indices) for s in problem.outputs)):
        if len(operand.indices) > MAX_AXES:
            return f"`{operand.tensor}` has more than {MAX_AXES} axes"
    for store in problem.outputs:
        column = Operand(store.tensor, store.indices).axis_of(problem.columns[0].name)
        if column not in signature.contiguous_axes(store.tensor):
            return f"`{store.tensor}` is not contiguous along its columns"
    return None


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, ProductProblem)
    needed = operand_requirements(problem, signature)
    guards = list(needed.guards)
    for store in problem.outputs:
        guards += output_guards(store, problem.columns[0], signature)
    guards += vector_requirements(problem.columns[0], loads_beside(problem, signature), 2, signature).guards
    guards.append(Guard("depth", ["ge", size(problem.reduced), 1], "a tensor map has no empty axis"))
    parts = number(config, "split_k")
    if parts > 1:
        steps: Expression = ["ceil_div", size(problem.reduced), number(config, "tile_k")]
        guards.append(Guard("parts", ["ge", steps, parts], f"each of {parts} blocks has a step to multiply"))
    return Requirements(tuple(guards), needed.layouts)


def _params(problem: StepProblem, signature: Signature, config: Config) -> tuple[Param, ...]:
    """The tensor maps; pointers and strides of what the outputs' values read; dims, options; then what is
    chosen at launch."""
    assert isinstance(problem, ProductProblem)
    row, column, reduced = problem.rows[0], problem.columns[0], problem.reduced[0]
    tiles = number(config, "tile_m"), number(config, "tile_n")
    cluster = number(config, "cluster")
    maps = [
        operand_map(0, problem.left, row, reduced, tiles[0], 1, signature),
        operand_map(1, problem.right, column, reduced, tiles[1], cluster, signature),
    ]
    for role, store in enumerate(problem.outputs, start=2):
        maps.append(output_map(role, store, row, column, lambda width: slab_span(config, width), signature))
    read = {n.tensor for s in problem.outputs for n in walk(s.value) if isinstance(n, Load)}
    others = [
        param
        for param in params_of(problem, signature)
        if param.name in read or param.name not in signature.tensors
    ]
    return (
        *maps,
        *others,
        Param("value", "i32", "early", value=_early(problem, config)),
        Param("value", "i32", "raster", value=["knob", "raster"]),
    )


def _early(problem: ProductProblem, config: Config) -> Expression:
    """Whether the next launch may place its blocks while this one computes: as multiprocessors fall free, not in their
    order. That costs launches that read a matrix many times from the second-level cache more than it hides."""
    cluster, parts = number(config, "cluster"), number(config, "split_k")
    one_round = ["le", _tiles(problem, config), places(["fact", "sms"], cluster * parts)]
    batch = 1 if problem.parts is not None else size(problem.batch)
    sizes = (size(problem.rows), size(problem.columns), size(problem.reduced), batch)
    return ["where", ["and", one_round, ["le", product(sizes), SHORT]], 1, 0]


# ---- the template ---------------------------------------------------------------------------------------


def _mode(value: KnobValue) -> bool:
    return value in ("cooperative", "pingpong")


_TILE_N = "multiples of 16 from 16 to 256"

WARP_SPECIALIZED = Template(
    family="product",
    name="warp_specialized",
    path="product/warp_specialized.cu.j2",
    summary="one warpgroup copies by TMA, others multiply with wgmma; blocks stay and compute tile after tile",
    knobs=(
        TemplateKnob(
            "tile_m",
            "rows",
            "64, 128, 192 or 256",
            one_of(64, 128, 192, 256),
            128,
            "rows of a tile of outputs",
            (64, 128, 256),
        ),
        TemplateKnob(
            "tile_n",
            "columns",
            _TILE_N,
            multiple_of(16, 16, 256),
            128,
            "columns of a tile of outputs",
            (64, 128, 160, 192, 256),
        ),
        TemplateKnob("tile_k", "elements", "64", one_of(64), 64, "depth of one step"),
        TemplateKnob("stages", "tiles", "2 to 8", multiple_of(1, 2, 8), 4, "slots of the ring", (3, 4, 6)),
        TemplateKnob(
            "consumers",
            "warpgroups",
            "1 to 3",
            multiple_of(1, 1, 3),
            2,
            "how many multiply, beside one that copies",
        ),
        TemplateKnob(
            "mode",
            "word",
            "cooperative or pingpong",
            _mode,
            "cooperative",
            "whether they share each tile or take turns with tiles of their own",
            ("cooperative", "pingpong"),
        ),
        TemplateKnob(
            "cluster",
            "blocks",
            "1 or 2",
            one_of(1, 2),
            1,
            "blocks that share tiles of the right operand",
            (1, 2),
        ),
        TemplateKnob(
            "raster",
            "rows of tiles",
            "1 to 64",
            multiple_of(1, 1, 64),
            8,
            "tiles of a band, walked together",
            at_launch=True,
        ),
        TemplateKnob(
            "split_k",
            "parts",
            "1, 2 or 4",
            one_of(1, 2, 4),
            1,
            "blocks of a cluster that multiply a part of the sum each",
            (1, 2, 4),
        ),
    ),
    needs=("tma", "wgmma"),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
    portfolio=24,
    refuses=_refuses,
    params=_params,
    derived=_derived,
)


def _refuses_in_parts(problem: StepProblem, signature: Signature, config: Config) -> str | None:
    if config["split_k"] != 1:
        return "parts of a sum are blocks of their own, not those of a cluster"
    return _refuses(problem, signature, config)


IN_PARTS = replace(
    WARP_SPECIALIZED,
    name="in_parts",
    summary="the same for parts of each sum, by as many blocks as a device has; another launch adds the parts",
    knobs=(
        *WARP_SPECIALIZED.knobs,
        TemplateKnob(
            "parts",
            "warps",
            "1, 2, 4, 8 or 16",
            one_of(1, 2, 4, 8, 16),
            4,
            "warps of the second launch that share a result",
        ),
    ),
    cannot=_cannot_in_parts,
    portfolio=6,
    in_parts=True,
    refuses=_refuses_in_parts,
)
