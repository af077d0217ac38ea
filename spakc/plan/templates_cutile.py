"""What is written for cuTile: a program over tiles, for whose threads and copies its own compiler answers."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard, Param
from spakc.ir.types import DType
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, lower, params_of, product, uses_of
from spakc.plan.problem import AttentionProblem, ProductProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, one_of
from spakc.plan.templates_attention import compiled_sizes, same_half_precision, tiles_refusal
from spakc.plan.templates_product import by_layout, number, size, stride_by_layout, tensor_core_refusal

REACH = 2**31
"""Elements that 32-bit offsets reach."""

TMA = TemplateKnob(
    "tma",
    "",
    "true or false",
    lambda value: isinstance(value, bool),
    False,
    "operands and outputs lie as TMA wants them, within the reach of 32 bits",
    (True,),
)


def _params(problem: StepProblem, signature: Signature, config: Config) -> tuple[Param, ...]:
    """A tensor is its pointer, sizes and strides, as the calling convention of cuTile has it."""
    number_type = "i32" if config["tma"] else "i64"
    params: list[Param] = []
    for name in uses_of(problem, signature).tensors:
        shape = signature.tensors[name].shape
        params.append(Param("pointer", "u64", name))
        params += [
            Param("value", number_type, name, axis, lower(extent)) for axis, extent in enumerate(shape)
        ]
        params += [Param("stride", number_type, name, axis) for axis in range(len(shape))]
    return (*params, *(p for p in params_of(problem, signature) if p.kind in ("dim", "option")))


def moved_whole(problem: ProductProblem | AttentionProblem) -> list[str]:
    """The tensors whose tiles are loaded and stored as wholes."""
    operands = [operand.tensor for operand in problem.operands]
    return list(dict.fromkeys([*operands, *(store.tensor for store in problem.outputs)]))


def _as_tma_wants(name: str, signature: Signature) -> list[Guard]:
    """One axis in one piece, all others at multiples of 16 bytes; and every offset within reach."""
    contiguous = signature.contiguous_axes(name)
    rank = len(signature.tensors[name].shape)
    unit: Expression = ["eq", stride_by_layout(name, contiguous, signature), 1]
    along = by_layout(name, contiguous, signature)
    apart: list[Expression] = []
    for axis in range(rank):
        step = product([signature.stride(name, axis), signature.element_bytes(name)])
        multiple: Expression = ["eq", ["mod", step, 16], 0]
        if axis in contiguous:
            multiple = ["or", ["eq", along, axis], multiple]
        if axis != along:
            apart.append(multiple)
    reach: list[Expression] = [
        ["lt", ["mul", signature.stride(name, axis), lower(extent)], REACH]
        for axis, extent in enumerate(signature.tensors[name].shape)
    ]
    aligned: Expression = ["and", ["ge", signature.alignment(name), 16], *apart]
    return [
        Guard("contiguous", unit, f"rows or columns of {name} lie in one piece"),
        Guard("aligned", aligned, f"TMA copies {name} from multiples of 16 bytes"),
        Guard("reach", reach[0] if rank == 1 else ["and", *reach], f"32 bits reach all of {name}"),
    ]


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, ProductProblem | AttentionProblem)
    operands = list(dict.fromkeys(operand.tensor for operand in problem.operands))
    guards = same_half_precision(operands, signature)
    if not config["tma"]:
        return Requirements(tuple(guards))
    moved = moved_whole(problem)
    guards += [guard for name in moved for guard in _as_tma_wants(name, signature)]
    chosen = [name for name in moved if len(set(signature.contiguous_axes(name))) > 1]
    return Requirements(tuple(guards), tuple(chosen))


# ---- product --------------------------------------------------------------------------------------------


def _product_cannot(problem: StepProblem, signature: Signature) -> str | None:
    return tensor_core_refusal(problem, signature) or _double(signature)


def _double(signature: Signature) -> str | None:
    doubles = [name for name in signature.tensors if DType.f64 in signature.alternatives(name)]
    return f"`{doubles[0]}` may be f64" if doubles else None


def _product_shape(problem: StepProblem, _: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, ProductProblem)
    rows: Expression = ["ceil_div", size(problem.rows), number(config, "tile_m")]
    columns: Expression = ["ceil_div", size(problem.columns), number(config, "tile_n")]
    return LaunchShape((product([size(problem.batch), rows, columns]), 1, 1), _ONE, 0)


_ONE = 1
"""Threads of a block, as a launch of tiles counts them."""

_THREADS = 256
"""What the compiler of tiles makes of a block, for the cost model: it says so in the cubin alone."""

_MOST_SUMS = 128 * 256
"""Accumulators that eight warps hold in registers, 128 a thread."""


def _product_refuses(_: StepProblem, __: Signature, config: Config) -> str | None:
    sums = number(config, "tile_m") * number(config, "tile_n")
    return f"{sums} sums a block, and its registers hold {_MOST_SUMS}" if sums > _MOST_SUMS else None


_SIDES = "32, 64, 128 or 256"
_SIDE = one_of(32, 64, 128, 256)

TILE_PRODUCT = Template(
    family="product",
    name="cutile",
    path="product.py.j2",
    summary="a block computes one tile after the other's depth; cuTile's compiler does the rest",
    knobs=(
        TemplateKnob("tile_m", "rows", _SIDES, _SIDE, 64, "rows of a block's tile", (64, 128)),
        TemplateKnob("tile_n", "columns", _SIDES, _SIDE, 64, "columns of a block's tile", (64, 128, 256)),
        TemplateKnob("tile_k", "elements", "32, 64 or 128", one_of(32, 64, 128), 64, "depth of one step"),
        TMA,
    ),
    needs=(),
    cannot=_product_cannot,
    requirements=_requirements,
    shape=_product_shape,
    resources=lambda _problem, _signature, config: Resources(
        _THREADS,
        168,
        2 * 3 * (number(config, "tile_m") + number(config, "tile_n")) * number(config, "tile_k"),
    ),
    tensor_cores=True,
    refuses=_product_refuses,
    portfolio=3,
    params=_params,
    backend="cutile",
)


# ---- attention ------------------------------------------------------------------------------------------


def _attention_cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionProblem)
    return tiles_refusal(problem, signature) or _double(signature)


def _attention_shape(problem: StepProblem, _: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, AttentionProblem)
    tiles: Expression = ["ceil_div", lower(problem.query.extent), number(config, "tile_q")]
    return LaunchShape((product([size(problem.batch), tiles]), 1, 1), _ONE, 0)


def _attention_resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, AttentionProblem)
    depth = max(compiled_sizes(problem.depth, signature) or (128,))
    rows = number(config, "tile_q") + 4 * number(config, "tile_k")
    return Resources(_THREADS, 168, 2 * depth * rows)


TILE_ATTENTION = Template(
    family="attention",
    name="cutile",
    path="attention.py.j2",
    summary="an online softmax over tiles of keys; cuTile's compiler does the rest",
    knobs=(
        TemplateKnob("tile_q", "rows", _SIDES, _SIDE, 64, "queries of a block", (128,)),
        TemplateKnob("tile_k", "rows", _SIDES, _SIDE, 64, "keys of a step", (64,)),
        TMA,
    ),
    needs=(),
    cannot=_attention_cannot,
    requirements=_requirements,
    shape=_attention_shape,
    resources=_attention_resources,
    tensor_cores=True,
    params=_params,
    backend="cutile",
)


def tile_template(problem: object) -> Template | None:
    """What cuTile has for a problem."""
    if isinstance(problem, ProductProblem):
        return TILE_PRODUCT
    return TILE_ATTENTION if isinstance(problem, AttentionProblem) else None
