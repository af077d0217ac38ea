"""The templates of the product family: each rung of the ladder is one idea more than the one before."""

from __future__ import annotations

from collections.abc import Sequence

from spak_runtime.manifest import Expression, Guard
from spakc.ir.types import DType
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, fold, lower, product
from spakc.plan.problem import IndexRange, Operand, ProductProblem
from spakc.plan.resources import Resources
from spakc.plan.template import KnobValue, LaunchShape, Template, TemplateKnob, multiple_of, one_of

HALF = (DType.bf16, DType.f16)


def size(group: tuple[IndexRange, ...]) -> Expression:
    """How many points a group of index variables has."""
    return product(lower(index.extent) for index in group)


def number(config: Config, knob: str) -> int:
    """The value of a knob that is a whole number."""
    value = config[knob]
    assert isinstance(value, int), f"knob {knob} is a whole number in every template"
    return value


# ---- naive ----------------------------------------------------------------------------------------------


def _naive_cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, ProductProblem)
    if problem.accumulate is not DType.f32:
        return f"it accumulates in f32, and the file says `accumulate {problem.accumulate.value}`"
    return _not_float(problem, signature)


def _not_float(problem: ProductProblem, signature: Signature) -> str | None:
    for operand in problem.operands:
        for dtype in signature.alternatives(operand.tensor):
            if not dtype.is_float or dtype is DType.f64:
                return f"`{operand.tensor}` may be {dtype.value}, and products are of f32, bf16 and f16"
    return None


def _naive_shape(problem: StepProblem, _: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, ProductProblem)
    block = number(config, "block")
    rows: Expression = ["ceil_div", size(problem.rows), block]
    columns: Expression = ["ceil_div", size(problem.columns), block]
    return LaunchShape((product([size(problem.batch), rows, columns]), 1, 1), block * block, 0)


NAIVE = Template(
    family="product",
    name="naive",
    path="product/naive.cu.j2",
    summary="one thread computes one element; any layout, stride, dtype and size",
    knobs=(
        TemplateKnob(
            "block", "threads", "8, 16 or 32", one_of(8, 16, 32), 16, "a block is this many threads squared"
        ),
    ),
    needs=(),
    cannot=_naive_cannot,
    requirements=lambda _problem, _signature, _config: Requirements(),
    shape=_naive_shape,
    resources=lambda _problem, _signature, config: Resources(number(config, "block") ** 2, 40, 0),
)


# ---- tiled ----------------------------------------------------------------------------------------------

_SIDE = 16
"""Threads along either side of a tile, as in the template."""

_BANK = 4
"""Bytes of a bank of shared memory."""


def _tile_elements(problem: StepProblem, signature: Signature, config: Config) -> Expression:
    """Bytes of the two operand tiles, their rows one bank further apart than their length."""
    assert isinstance(problem, ProductProblem)
    depth = number(config, "tile_k")
    left = product([signature.element_bytes(problem.left.tensor), number(config, "tile_m") * depth])
    right = product([signature.element_bytes(problem.right.tensor), number(config, "tile_n") * depth])
    return fold(["add", fold(["add", left, right]), 2 * _BANK * depth])


def _tiled_shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, ProductProblem)
    rows: Expression = ["ceil_div", size(problem.rows), number(config, "tile_m")]
    columns: Expression = ["ceil_div", size(problem.columns), number(config, "tile_n")]
    grid = product([size(problem.batch), rows, columns])
    return LaunchShape((grid, 1, 1), _SIDE * _SIDE, _tile_elements(problem, signature, config))


def _tiled_resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, ProductProblem)
    rows, columns, depth = (number(config, knob) for knob in ("tile_m", "tile_n", "tile_k"))
    left, right = (signature.largest_element(operand.tensor) for operand in problem.operands)
    registers = rows * columns // _SIDE**2 + (rows + columns) // _SIDE + 40
    shared = (rows * left + columns * right + 2 * _BANK) * depth
    return Resources(_SIDE * _SIDE, registers, shared)


_SIDES = "multiples of 16 from 16 to 128"

TILED = Template(
    family="product",
    name="tiled",
    path="product/tiled.cu.j2",
    summary="tiles of the operands in shared memory, multiply-add instructions; any layout, dtype and size",
    knobs=(
        TemplateKnob("tile_m", "rows", _SIDES, multiple_of(16, 16, 128), 64, "rows of a block's tile"),
        TemplateKnob("tile_n", "columns", _SIDES, multiple_of(16, 16, 128), 64, "columns of a block's tile"),
        TemplateKnob("tile_k", "elements", "8, 16 or 32", one_of(8, 16, 32), 16, "depth of one step"),
    ),
    needs=(),
    cannot=_naive_cannot,
    requirements=lambda _problem, _signature, _config: Requirements(),
    shape=_tiled_shape,
    resources=_tiled_resources,
)


# ---- occupancy ------------------------------------------------------------------------------------------


def _room(config: Config) -> int:
    """Registers a thread may have where so many blocks share a multiprocessor."""
    return 65_536 // (_SIDE * _SIDE * number(config, "resident")) // 8 * 8


def _occupancy_refuses(problem: StepProblem, signature: Signature, config: Config) -> str | None:
    wanted = _tiled_resources(problem, signature, config).registers
    if wanted > _room(config):
        return f"about {wanted} registers a thread, and {config['resident']} blocks leave {_room(config)}"
    return None


OCCUPANCY = Template(
    family="product",
    name="occupancy",
    path="product/occupancy.cu.j2",
    summary="tiled, its registers limited so that blocks share a multiprocessor: one works while another waits",
    knobs=(
        *TILED.knobs,
        TemplateKnob(
            "resident",
            "blocks",
            "1 to 8",
            multiple_of(1, 1, 8),
            2,
            "blocks that a multiprocessor holds at once",
        ),
    ),
    needs=(),
    cannot=_naive_cannot,
    requirements=lambda _problem, _signature, _config: Requirements(),
    shape=_tiled_shape,
    resources=_tiled_resources,
    refuses=_occupancy_refuses,
)


# ---- swizzled and pipelined: tensor cores ---------------------------------------------------------------


def _warps(tile: int) -> int:
    """Warps along one side of a tile: sixty-four rows or columns each, at least two warps. As in the
    template."""
    return max(2, tile // 64)


def tensor_core_refusal(problem: StepProblem, signature: Signature) -> str | None:
    """Why tensor cores cannot compute a product of one row, one column and one reduced index, or None."""
    assert isinstance(problem, ProductProblem)
    if problem.accumulate is not DType.f32:
        return f"tensor cores accumulate in f32, and the file says `accumulate {problem.accumulate.value}`"
    if not len(problem.rows) == len(problem.columns) == len(problem.reduced) == 1:
        return "it tiles one row, one column and one reduced index, and this product has more"
    return (
        operand_refusal(problem.left, problem.rows[0].name, problem, signature)
        or operand_refusal(problem.right, problem.columns[0].name, problem, signature)
        or output_refusal(problem, signature)
    )


def operand_refusal(
    operand: Operand, outer: str, problem: ProductProblem, signature: Signature
) -> str | None:
    """Why tensor cores cannot read an operand as it lies in memory, or None."""
    if not set(HALF) & set(signature.alternatives(operand.tensor)):
        return f"tensor cores multiply bf16 or f16, and `{operand.tensor}` is neither"
    if signature.tensors[operand.tensor].default is not None:
        return f"`{operand.tensor}` may be absent"
    axes = {operand.axis_of(outer), operand.axis_of(problem.reduced[0].name)}
    if not axes >= set(signature.contiguous_axes(operand.tensor)):
        return f"the contiguous axis of `{operand.tensor}` is neither its row nor its reduced axis"
    return None


def output_refusal(problem: ProductProblem, signature: Signature) -> str | None:
    """Why tiles cannot be stored to the outputs, or None."""
    for store in problem.outputs:
        target = Operand(store.tensor, store.indices)
        if None in (target.axis_of(problem.rows[0].name), target.axis_of(problem.columns[0].name)):
            return f"`{store.tensor}` is not indexed by the row and the column alone"
        if not all(dtype.is_float for dtype in signature.alternatives(store.tensor)):
            return f"`{store.tensor}` is no floating-point tensor"
    return _not_double(problem, signature)


def _not_double(problem: ProductProblem, signature: Signature) -> str | None:
    for store in problem.outputs:
        if DType.f64 in signature.alternatives(store.tensor):
            return f"`{store.tensor}` may be f64"
    return None


def operand_guards(operand: Operand, outer: str, reduced: str, signature: Signature) -> list[Guard]:
    name = operand.tensor
    axes = [axis for axis in (operand.axis_of(outer), operand.axis_of(reduced)) if axis is not None]
    contiguous = signature.contiguous_axes(name)
    others = tuple(axes[0] if axis == axes[1] else axes[1] for axis in contiguous)
    steps = [stride_by_layout(name, others, signature)]
    steps += [signature.stride(name, axis) for axis in range(len(operand.indices)) if axis not in axes]
    guards = []
    unit = stride_by_layout(name, contiguous, signature)
    if unit != 1:
        guards.append(Guard("contiguous", ["eq", unit, 1], f"rows or columns of {name} lie in one piece"))
    aligned = [["eq", ["mod", step, 8], 0] for step in steps if not is_multiple(step, 8)]
    if name not in signature.carried:
        aligned.insert(0, ["ge", ["alignment", name], 16])
    if not aligned:
        return guards + _half_guard(name, signature)
    condition = aligned[0] if len(aligned) == 1 else ["and", *aligned]
    guards.append(
        Guard(
            "aligned", condition, f"16-byte copies of {name} need its rows to begin at multiples of 16 bytes"
        )
    )
    return guards + _half_guard(name, signature)


def _half_guard(name: str, signature: Signature) -> list[Guard]:
    if all(dtype in HALF for dtype in signature.alternatives(name)):
        return []
    half = ["member", signature.dtype(name), ["set", *(dtype.value for dtype in HALF)]]
    return [Guard("half_precision", half, f"tensor cores multiply bf16 or f16, not other {name}")]


def is_multiple(value: Expression, of: int) -> bool:
    """Whether an expression is a multiple of a number whatever its names stand for."""
    if isinstance(value, int):
        return value % of == 0
    return isinstance(value, list) and value[0] == "mul" and any(is_multiple(v, of) for v in value[1:])


def stride_by_layout(name: str, axes: tuple[int, ...], signature: Signature) -> Expression:
    """The stride along the axis that the layout of a call picks."""
    return by_layout(name, [signature.stride(name, axis) for axis in axes], signature)


def by_layout(name: str, values: Sequence[Expression], signature: Signature) -> Expression:
    """Of one value for each layout, that of the call."""
    if len(values) == 1 or values[0] == values[1]:
        return values[0]
    return ["where", ["eq", ["layout", name], signature.tensors[name].layouts[0]], *values]


def operand_requirements(problem: ProductProblem, signature: Signature) -> Requirements:
    """What 16-byte copies of both operands, in whatever layout, ask of a call."""
    reduced = problem.reduced[0].name
    left, right = problem.operands
    guards = operand_guards(left, problem.rows[0].name, reduced, signature)
    guards += operand_guards(right, problem.columns[0].name, reduced, signature)
    dtypes = signature.dtype(left.tensor), signature.dtype(right.tensor)
    if dtypes[0] != dtypes[1]:
        reason = f"tensor cores multiply {left.tensor} and {right.tensor} of one dtype"
        guards.append(Guard("one_dtype", ["eq", *dtypes], reason))
    chosen = [o.tensor for o in problem.operands if len(set(signature.contiguous_axes(o.tensor))) > 1]
    return Requirements(tuple(guards), tuple(dict.fromkeys(chosen)))


def tensor_requirements(problem: StepProblem, signature: Signature, _: Config) -> Requirements:
    assert isinstance(problem, ProductProblem)
    needed = operand_requirements(problem, signature)
    if not problem.batch:
        return needed
    layers = Guard("grid", ["le", size(problem.batch), 65_535], "a grid has 65,535 layers at most")
    return Requirements((*needed.guards, layers), needed.layouts)


def ring_bytes(config: Config) -> int:
    tiles = number(config, "tile_m") + number(config, "tile_n")
    return number({"stages": 1, **config}, "stages") * tiles * number(config, "tile_k") * 2


def slab_bytes(config: Config, element: Expression) -> Expression:
    """The output slabs of all warps, which take the place of the ring after the last step."""
    warps = _warps(number(config, "tile_m")) * _warps(number(config, "tile_n"))
    columns = number(config, "tile_n") // _warps(number(config, "tile_n"))
    if isinstance(element, int):
        return warps * 16 * (columns * element + 16)
    return ["mul", ["add", ["mul", element, columns], 16], warps * 16]


def tensor_threads(config: Config) -> int:
    return 32 * _warps(number(config, "tile_m")) * _warps(number(config, "tile_n"))


def tensor_shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, ProductProblem)
    tiles = product(
        (
            ["ceil_div", size(problem.rows), number(config, "tile_m")],
            ["ceil_div", size(problem.columns), number(config, "tile_n")],
        )
    )
    ring = ring_bytes(config)
    needed: list[Expression] = [
        slab_bytes(config, signature.element_bytes(store.tensor))
        for store in problem.outputs
        if largest_slab(config, signature, store.tensor) > ring
    ]
    shared = ["max", ring, *needed] if needed else ring
    return LaunchShape((tiles, 1, size(problem.batch)), tensor_threads(config), shared)


def largest_slab(config: Config, signature: Signature, tensor: str) -> int:
    value = slab_bytes(config, signature.largest_element(tensor))
    assert isinstance(value, int)
    return value


def tensor_resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, ProductProblem)
    rows = number(config, "tile_m") // _warps(number(config, "tile_m"))
    columns = number(config, "tile_n") // _warps(number(config, "tile_n"))
    accumulators, fragments = rows * columns // 32, 2 * (rows + columns) // 4
    slabs = [largest_slab(config, signature, store.tensor) for store in problem.outputs]
    shared = max(ring_bytes(config), *slabs)
    return Resources(tensor_threads(config), accumulators + fragments + 40, shared)


TILE = "multiples of 32 from 32 to 256, whose warps have multiples of 16"


def is_tile(value: KnobValue) -> bool:
    return multiple_of(32, 32, 256)(value) and isinstance(value, int) and value % (16 * _warps(value)) == 0


TILES = (
    TemplateKnob("tile_m", "rows", TILE, is_tile, 128, "rows of the tile that a block computes", (64, 128)),
    TemplateKnob(
        "tile_n", "columns", TILE, is_tile, 128, "columns of the tile that a block computes", (64, 128)
    ),
    TemplateKnob("tile_k", "elements", "16, 32 or 64", one_of(16, 32, 64), 32, "depth of one step"),
)

SWIZZLED = Template(
    family="product",
    name="swizzled",
    path="product/swizzled.cu.j2",
    summary="tiles in swizzled shared memory, copied with cp.async; tensor cores (mma)",
    knobs=TILES,
    needs=("cp_async",),
    cannot=tensor_core_refusal,
    requirements=tensor_requirements,
    shape=tensor_shape,
    resources=tensor_resources,
    tensor_cores=True,
)

PIPELINED = Template(
    family="product",
    name="pipelined",
    path="product/pipelined.cu.j2",
    summary="the same through a ring of tiles: copies run ahead while the tensor cores work",
    knobs=(
        *TILES,
        TemplateKnob("stages", "tiles", "2 to 8", multiple_of(1, 2, 8), 4, "slots of the ring"),
    ),
    needs=("cp_async",),
    cannot=tensor_core_refusal,
    requirements=tensor_requirements,
    shape=tensor_shape,
    resources=tensor_resources,
    tensor_cores=True,
    portfolio=3,
)
