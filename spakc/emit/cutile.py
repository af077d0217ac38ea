"""What the cuTile templates see: tiles of operands and outputs, and the mathematics on whole tiles, as Python text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jinja2

from spak_runtime.manifest import Param
from spakc.emit.context import called_options, type_aliases
from spakc.emit.expressions import identifier
from spakc.emit.tile_expressions import TYPES, TileScope, as_float, tile_expression, tuple_of
from spakc.emit.tile_mask import IndexLimit, index_limits
from spakc.ir.ops import Expr, Ref
from spakc.ir.simplify import TRUE
from spakc.plan.launch import LaunchPlan, Signature, uses_of
from spakc.plan.problem import AttentionProblem, IndexRange, Operand, ProductProblem, Store
from spakc.plan.templates_attention import compiled_sizes
from spakc.plan.templates_cutile import moved_whole


def tile_source(
    environment: jinja2.Environment, launch: LaunchPlan, signature: Signature, source: str
) -> str:
    """The text of `launch.source`, a cuTile program. `source` names the `.spak` file."""
    problem = launch.problem
    assert isinstance(problem, ProductProblem | AttentionProblem)
    scope = TileScope(signature.tensors, signature.dims, signature.options)
    context = _common(launch, problem, signature, source)
    if isinstance(problem, ProductProblem):
        context |= _product(problem, scope)
    else:
        context |= _attention(problem, signature, scope)
    return environment.get_template(launch.template).render({"k": context})


# ---- what every launch has ------------------------------------------------------------------------------


def _common(
    launch: LaunchPlan, problem: ProductProblem | AttentionProblem, signature: Signature, source: str
) -> dict[str, Any]:
    uses = uses_of(problem, signature)
    return {
        "title": f"{launch.source}: family {launch.family}, template {launch.template}",
        "source": " ".join(source.split()),
        "entry": launch.entry,
        "types": type_aliases(uses.tensors, signature, TYPES),
        "arguments": [_argument(param) for param in launch.params if _is_argument(param)],
        "parameters": [_parameter(p, problem, signature) for p in launch.params if _is_argument(p)],
        "dispatchers": [
            {"name": identifier("call", name), "chosen": identifier("OPTION", name), "choices": choices}
            for name, choices in called_options(launch, signature).items()
        ],
    }


def _is_argument(param: Param) -> bool:
    """Sizes and strides of a tensor come with its pointer."""
    return param.kind in ("pointer", "dim", "option")


def _argument(param: Param) -> str:
    return identifier({"pointer": "t", "dim": "d", "option": "o"}[param.kind], param.name)


def _parameter(param: Param, problem: ProductProblem | AttentionProblem, signature: Signature) -> str:
    """What the compiler is told of an argument. Tiles that move as wholes are promised to lie as TMA wants them."""
    if param.kind != "pointer":
        return f"ScalarConstraint({'ct.float32' if param.type == 'f32' else 'ct.int32'})"
    rank = len(signature.tensors[param.name].shape)
    promise = ""
    if param.name in moved_whole(problem):
        axes = signature.contiguous_axes(param.name)
        promise = f", unit={axes[0]}"
        if len(set(axes)) > 1:
            first = signature.tensors[param.name].layouts[0]
            chosen = f"{axes[0]} if {identifier('LAYOUT', param.name)} == {first!r} else {axes[1]}"
            promise = f", unit=({chosen}) if KNOB_tma else None"
    return f"array({identifier('T', param.name)}, {rank}{promise})"


def _batch(ranges: Sequence[IndexRange], scope: TileScope) -> list[str]:
    """Statements that take the batch indices from `layer`, the last fastest."""
    lines = []
    for place in range(len(ranges) - 1, -1, -1):
        name, extent = identifier("i", ranges[place].name), tile_expression(ranges[place].extent, scope).text
        lines.append(
            f"{name} = layer" if place == 0 else f"{name}, layer = layer % {extent}, layer // {extent}"
        )
    return lines


def _indices(ranges: Iterable[IndexRange]) -> dict[str, str]:
    return {r.name: identifier("i", r.name) for r in ranges}


Tiles = Sequence[tuple[IndexRange, str, str]]
"""Of a matrix, by side: its index, at which tile, and the extent of a tile."""


def _loaded(operand: Operand, sides: Tiles, scope: TileScope) -> str:
    """The tile of an operand as a matrix with these two sides."""
    places = [operand.axis_of(index.name) for index, _, _ in sides]
    at, shape = _tile(operand.indices, sides, scope)
    name = identifier("t", operand.tensor)
    text = f"ct.load({name}, index={tuple_of(at)}, shape={tuple_of(shape)}, padding_mode=ZERO)"
    turned = places[0] > places[1]  # type: ignore[operator]
    stored = [extent for _, _, extent in (reversed(sides) if turned else sides)]
    text = text if len(shape) == 2 else f"ct.reshape({text}, {tuple_of(stored)})"
    return f"ct.transpose({text})" if turned else text


def _tile(indices: Sequence[Expr], sides: Tiles, scope: TileScope) -> tuple[list[str], list[str]]:
    """Where a tile stands in a tensor, and its shape: one element thick along the other axes."""
    at, shape = [], []
    for index in indices:
        side = next((s for s in sides if isinstance(index, Ref) and index.name == s[0].name), None)
        at.append(side[1] if side is not None else tile_expression(index, scope).text)
        shape.append(side[2] if side is not None else "1")
    return at, shape


def _stored(store: Store, number: int, sides: Tiles, scope: TileScope) -> dict[str, str]:
    """One output: its values as a tile with these sides, and the statement that stores them."""
    name = f"output_{number}"
    at, shape = _tile(store.indices, sides, scope)
    places = [Operand(store.tensor, store.indices).axis_of(index.name) for index, _, _ in sides]
    extents = [extent for _, _, extent in sides] + ["1"] * (2 - len(sides))
    whole = f"ct.broadcast_to({as_float(tile_expression(store.value, scope))}, {tuple_of(extents)})"
    if places != sorted(places):  # type: ignore[type-var]
        whole = f"ct.transpose({whole})"
    tensor = identifier("t", store.tensor)
    tile = f"ct.reshape(ct.astype({name}, {identifier('T', store.tensor)}), {tuple_of(shape)})"
    return {"name": name, "value": whole, "store": f"ct.store({tensor}, index={tuple_of(at)}, tile={tile})"}


# ---- product --------------------------------------------------------------------------------------------


def _product(problem: ProductProblem, scope: TileScope) -> dict[str, Any]:
    row, column, reduced = problem.rows[0], problem.columns[0], problem.reduced[0]
    inner = scope.with_indices(_indices((*problem.batch, row, column)))
    outer = inner.with_locals({problem.accumulator: "accumulator"})
    rows, columns = (row, "tile_m", "ROWS"), (column, "tile_n", "COLUMNS")
    depth = (reduced, "step", "DEPTH")
    return {
        "rows": tile_expression(row.extent, scope).text,
        "columns": tile_expression(column.extent, scope).text,
        "depth": tile_expression(reduced.extent, scope).text,
        "row_index": identifier("i", row.name),
        "column_index": identifier("i", column.name),
        "batch": _batch(problem.batch, scope),
        "left": _loaded(problem.left, (rows, depth), inner),
        "right": _loaded(problem.right, (depth, columns), inner),
        "outputs": [_stored(s, n, (rows, columns), outer) for n, s in enumerate(problem.outputs)],
    }


# ---- attention ------------------------------------------------------------------------------------------


def _attention(problem: AttentionProblem, signature: Signature, scope: TileScope) -> dict[str, Any]:
    inner = scope.with_indices(_indices((*problem.batch, problem.query, problem.key, problem.value_depth)))
    names = {name: identifier("v", name) for name in (problem.dot, problem.lse, problem.accumulator)}
    inner = inner.with_locals(names)
    queries, keys = (problem.query, "tile_q", "QUERIES"), (problem.key, "step", "KEYS")
    depth, values = (problem.depth, "0", "DEPTH"), (problem.value_depth, "0", "VALUE_DEPTH")
    outputs = [_stored(s, n, (queries, values), inner) for n, s in enumerate(problem.outputs)]
    outputs += [_stored(s, n, (queries,), inner) for n, s in enumerate(problem.row_outputs, len(outputs))]
    value_index = identifier("i", problem.value_depth.name)
    return {
        "depth": _size(problem.depth, signature, scope),
        "value_depth": _size(problem.value_depth, signature, scope),
        "query_count": tile_expression(problem.query.extent, scope).text,
        "key_count": tile_expression(problem.key.extent, scope).text,
        "query_index": identifier("i", problem.query.name),
        "key_index": identifier("i", problem.key.name),
        "value_index": value_index,
        "uses_value_index": any(value_index in output["value"] for output in outputs),
        "batch": _batch(problem.batch, scope),
        "query": _loaded(problem.query_operand, (queries, depth), inner),
        "key": _loaded(problem.key_operand, (depth, keys), inner),
        "value": _loaded(problem.value_operand, (keys, values), inner),
        "value_type": identifier("T", problem.value_operand.tensor),
        "mask": tile_expression(problem.mask if problem.mask is not None else TRUE, inner).text,
        "score": as_float(tile_expression(problem.score, inner)),
        "limits": [_limit(limit, problem, inner) for limit in _monotone(problem)],
        "dot": names[problem.dot],
        "lse": names[problem.lse],
        "accumulator": names[problem.accumulator],
        "outputs": outputs,
    }


def _size(index: IndexRange, signature: Signature, scope: TileScope) -> str:
    """A size that is compiled in. Tiles have powers of two of everything: what lies beyond is zero."""
    sizes = compiled_sizes(index, signature)
    assert sizes is not None, "the template refuses others"
    text = tile_expression(index.extent, scope).text
    if all(size & (size - 1) == 0 for size in sizes):
        return text
    return f"1 << ({text} - 1).bit_length()"


def _monotone(problem: AttentionProblem) -> Iterator[IndexLimit]:
    """Limits of keys that lie between those of the first and the last query of a tile."""
    mask = problem.mask if problem.mask is not None else TRUE
    for limit in index_limits(mask, problem.key.name) or ():
        if limit.follows(problem.query.name):
            yield limit


def _limit(limit: IndexLimit, problem: AttentionProblem, scope: TileScope) -> dict[str, Any]:
    ends = ("tile_q * QUERIES", "tile_q * QUERIES + QUERIES - 1")
    first, last = (
        tile_expression(limit.value, scope.with_indices({problem.query.name: f"({end})"})).text
        for end in ends
    )
    conditions = [tile_expression(condition, scope).text for condition in limit.conditions]
    condition = conditions[0] if conditions else "True"
    for other in conditions[1:]:
        condition = f"both({condition}, {other})"
    return {"condition": condition, "first": first, "last": last, "least": limit.least}
