"""The templates of the attention family: plain rows, an online softmax over tiles, the same through a ring."""

from __future__ import annotations

from collections.abc import Sequence

from spak_runtime.manifest import Expression, Guard
from spakc.ir.constraint import Env, TooMany, Unknown, members
from spakc.ir.ops import Const, Ref, RefKind
from spakc.ir.types import DType
from spakc.ir.visit import references
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, fold, lower, product
from spakc.plan.problem import AttentionGradientProblem, AttentionProblem, IndexRange, Operand
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, multiple_of, one_of
from spakc.plan.templates_product import HALF, operand_guards, size
from spakc.plan.templates_rows import no_double

LARGEST_DEPTH = 256
"""Beyond, a row of results does not fit into the registers of a warp."""

_ELEMENT = 2
"""Bytes of an element on tensor cores."""


def number(config: Config, knob: str) -> int:
    value = config[knob]
    assert isinstance(value, int)
    return value


def compiled_sizes(index: IndexRange, signature: Signature) -> tuple[int, ...] | None:
    """The sizes that an index may have where they are compiled in, else None."""
    extent = index.extent
    if isinstance(extent, Const) and isinstance(extent.value, int):
        return (extent.value,)
    if not isinstance(extent, Ref) or extent.kind is not RefKind.dim:
        return None
    domain = signature.dims[extent.name].domain
    found = None if domain is None else members(domain, Env())
    return None if found is None or isinstance(found, TooMany | Unknown) else tuple(map(int, found))


def _grid(problem: AttentionProblem, tile: int) -> tuple[Expression, Expression, Expression]:
    tiles: Expression = ["ceil_div", lower(problem.query.extent), tile]
    return (product([size(problem.batch), tiles]), 1, 1)


# ---- naive ----------------------------------------------------------------------------------------------

_NAIVE_THREADS = 256  # as in the template


def _naive_cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionProblem)
    if problem.accumulate is not DType.f32:
        return f"it accumulates in f32, and the file says `accumulate {problem.accumulate.value}`"
    return no_double(problem, signature)


def _naive_shape(problem: StepProblem, _: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, AttentionProblem)
    return LaunchShape(_grid(problem, number(config, "tile_q")), _NAIVE_THREADS, 0)


V1_NAIVE = Template(
    family="attention",
    name="v1_naive",
    path="attention/v1_naive.cu.j2",
    summary="a warp computes one row in two passes over the keys; any layout, stride, dtype and size",
    knobs=(
        TemplateKnob("tile_q", "rows", "8, 16, 32 or 64", one_of(8, 16, 32, 64), 16, "queries of a block"),
    ),
    needs=(),
    cannot=_naive_cannot,
    requirements=lambda _problem, _signature, _config: Requirements(),
    shape=_naive_shape,
    resources=lambda _problem, _signature, _config: Resources(_NAIVE_THREADS, 64, 0),
)


# ---- tiles on tensor cores ------------------------------------------------------------------------------


def depth_refusal(problem: AttentionProblem | AttentionGradientProblem, signature: Signature) -> str | None:
    """Why rows of an operand are no tiles of a size that is compiled in, or None."""
    for index in (problem.depth, problem.value_depth):
        sizes = compiled_sizes(index, signature)
        if sizes is None:
            return f"the size of `{index.name}` is not compiled in: `dim D in {{64, 128}}` would be"
        if any(value % 16 or value > LARGEST_DEPTH for value in sizes):
            return f"the size of `{index.name}` is not always a multiple of 16 up to {LARGEST_DEPTH}"
    return None


def tiles_refusal(problem: AttentionProblem, signature: Signature) -> str | None:
    """Why operands or outputs are none that tensor cores work on tile by tile."""
    for store in problem.outputs:
        target = Operand(store.tensor, store.indices)
        if None in (target.axis_of(problem.query.name), target.axis_of(problem.value_depth.name)):
            return f"`{store.tensor}` is not indexed by the query and the value's index alone"
        if problem.lse in references(store.value, RefKind.local):
            return f"`{store.tensor}` is computed from the logsumexp, too"
    if problem.accumulate is not DType.f32:
        return f"tensor cores accumulate in f32, and the file says `accumulate {problem.accumulate.value}`"
    for operand in problem.operands:
        if not set(HALF) & set(signature.alternatives(operand.tensor)):
            return f"tensor cores multiply bf16 or f16, and `{operand.tensor}` is neither"
        if signature.tensors[operand.tensor].default is not None:
            return f"`{operand.tensor}` may be absent"
    return depth_refusal(problem, signature) or no_double(problem, signature)


def _tiles_cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionProblem)
    return tiles_refusal(problem, signature)


def same_half_precision(names: Sequence[str], signature: Signature) -> list[Guard]:
    """Operands of one half-precision dtype, where a call may choose others."""
    guards = []
    if any(dtype not in HALF for dtype in signature.alternatives(names[0])):
        half = ["member", signature.dtype(names[0]), ["set", *(dtype.value for dtype in HALF)]]
        guards.append(
            Guard("half_precision", half, f"tensor cores multiply bf16 or f16, not other {names[0]}")
        )
    for other in names[1:]:
        if signature.dtype(other) != signature.dtype(names[0]):
            same = ["eq", signature.dtype(names[0]), signature.dtype(other)]
            guards.append(
                Guard("one_dtype", same, f"tensor cores multiply {names[0]} and {other} of one dtype")
            )
    return guards


def copied_in_pieces(problem: AttentionProblem, signature: Signature) -> str | None:
    """Why rows of the operands are not what 16-byte copies want."""
    for operand, along in (
        (problem.query_operand, problem.depth),
        (problem.key_operand, problem.depth),
        (problem.value_operand, problem.value_depth),
    ):
        if set(signature.contiguous_axes(operand.tensor)) != {operand.axis_of(along.name)}:
            return f"rows of `{operand.tensor}` do not lie in one piece"
    return None


def copy_guards(problem: AttentionProblem, signature: Signature) -> list[Guard]:
    guards: list[Guard] = []
    for operand, outer, along in (
        (problem.query_operand, problem.query, problem.depth),
        (problem.key_operand, problem.key, problem.depth),
        (problem.value_operand, problem.key, problem.value_depth),
    ):
        guards += operand_guards(operand, outer.name, along.name, signature)
    return guards


def _online_requirements(problem: StepProblem, signature: Signature, _: Config) -> Requirements:
    assert isinstance(problem, AttentionProblem)
    return Requirements(tuple(same_half_precision([o.tensor for o in problem.operands], signature)))


def _pipelined_cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionProblem)
    return tiles_refusal(problem, signature) or copied_in_pieces(problem, signature)


def _pipelined_requirements(problem: StepProblem, signature: Signature, _: Config) -> Requirements:
    assert isinstance(problem, AttentionProblem)
    guards = [
        *same_half_precision([o.tensor for o in problem.operands], signature),
        *copy_guards(problem, signature),
    ]
    return Requirements(tuple(guards))


def _warps(config: Config) -> int:
    return number(config, "tile_q") // 16


def _shared_bytes(problem: AttentionProblem, signature: Signature, config: Config) -> Expression:
    """The tile of queries and the ring; after the last step, the warps' output slabs take their place."""
    depth, value_depth = lower(problem.depth.extent), lower(problem.value_depth.extent)
    rows, keys = number(config, "tile_q"), number(config, "tile_k")
    stages = number({"stages": 1, **config}, "stages")
    columns = fold(["add", product([depth, rows + stages * keys]), product([value_depth, stages * keys])])
    total = product([columns, _ELEMENT])
    for store in problem.outputs:
        row = fold(["add", product([value_depth, signature.element_bytes(store.tensor)]), 16])
        total = fold(["max", total, product([row, rows])])
    return total


def _tiles_shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, AttentionProblem)
    shared = _shared_bytes(problem, signature, config)
    return LaunchShape(_grid(problem, number(config, "tile_q")), 32 * _warps(config), shared)


def _tiles_resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, AttentionProblem)
    depth, value_depth = (
        max(compiled_sizes(index, signature) or (0,)) for index in (problem.depth, problem.value_depth)
    )
    rows, keys = number(config, "tile_q"), number(config, "tile_k")
    stages = number({"stages": 1, **config}, "stages")
    ring = _ELEMENT * (depth * (rows + stages * keys) + value_depth * stages * keys)
    slabs = max(rows * (value_depth * signature.largest_element(s.tensor) + 16) for s in problem.outputs)
    registers = keys // 2 + keys // 4 + value_depth // 2 + 56  # scores, weights, results, the rest
    return Resources(32 * _warps(config), registers, max(ring, slabs))


_TILES = (
    TemplateKnob(
        "tile_q",
        "rows",
        "multiples of 16 from 16 to 256",
        multiple_of(16, 16, 256),
        128,
        "queries of a block, sixteen a warp",
    ),
    TemplateKnob(
        "tile_k", "rows", "multiples of 16 from 16 to 256", multiple_of(16, 16, 256), 64, "keys of one step"
    ),
)

V2_ONLINE = Template(
    family="attention",
    name="v2_online",
    path="attention/v2_online.cu.j2",
    summary="online softmax over tiles in shared memory, copied by element; tensor cores (mma); any strides",
    knobs=_TILES,
    needs=(),
    cannot=_tiles_cannot,
    requirements=_online_requirements,
    shape=_tiles_shape,
    resources=_tiles_resources,
    tensor_cores=True,
)

V3_PIPELINED = Template(
    family="attention",
    name="v3_pipelined",
    path="attention/v3_pipelined.cu.j2",
    summary="online softmax through a ring of tiles: cp.async runs ahead while the tensor cores work",
    knobs=(*_TILES, TemplateKnob("stages", "tiles", "2 to 8", multiple_of(1, 2, 8), 2, "slots of the ring")),
    needs=("cp_async",),
    cannot=_pipelined_cannot,
    requirements=_pipelined_requirements,
    shape=_tiles_shape,
    resources=_tiles_resources,
    tensor_cores=True,
)
