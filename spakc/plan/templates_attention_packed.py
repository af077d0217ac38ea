"""The templates of attention over few queries and keys: a block holds several problems, each on chip as a whole, and
the gradient is one launch."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, fold, lower, product
from spakc.plan.problem import AttentionProblem, IndexRange, WholeGradientProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, one_of
from spakc.plan.templates_attention import (
    compiled_sizes,
    copied_in_pieces,
    copy_guards,
    number,
    same_half_precision,
    tiles_refusal,
)
from spakc.plan.templates_attention_gradient import rows_guards, rows_refusal
from spakc.plan.templates_product import operand_guards, size
from spakc.plan.templates_rows import no_double

_ELEMENT, _ROW = 2, 8
"""Bytes of an element of a tile; of what is known of a row beside its elements."""

_KNOBS = (
    TemplateKnob(
        "length",
        "length",
        "16, 32 or 64",
        one_of(16, 32, 64),
        64,
        "most queries and keys of a problem, sixteen of each a warp",
        several=(16, 32, 64),
    ),
    TemplateKnob("warps", "warps", "1, 2, 4 or 8", one_of(1, 2, 4, 8), 4, "warps of a block"),
)


def _ladder(_problem: StepProblem, _signature: Signature) -> tuple[Config, ...]:
    """Each size, so that a short problem is not filled up with zeros to the longest."""
    return tuple({"length": length, "warps": 4} for length in (16, 32, 64))


def _refuses(_problem: StepProblem, _signature: Signature, config: Config) -> str | None:
    rows, warps = number(config, "length"), number(config, "warps")
    if warps * 16 < rows:
        return f"{warps} warps of sixteen rows do not hold {rows}"
    return None


def _fit(query: IndexRange, key: IndexRange, config: Config) -> list[Guard]:
    rows = number(config, "length")
    return [
        Guard("short", ["le", lower(index.extent), rows], f"a warp has all {rows} places of `{index.name}`")
        for index in (query, key)
    ]


def _teams(config: Config) -> int:
    """Problems of a block."""
    return number(config, "warps") * 16 // number(config, "length")


def _shape_of(problems: Expression, team_bytes: Expression, config: Config) -> LaunchShape:
    grid: Expression = fold(["ceil_div", problems, _teams(config)])
    return LaunchShape((grid, 1, 1), 32 * number(config, "warps"), product([team_bytes, _teams(config)]))


def _largest(index: IndexRange, signature: Signature) -> int:
    return max(compiled_sizes(index, signature) or (0,))


def _slab(extent: Expression, element: Expression, rows: int) -> Expression:
    """Bytes of the output slabs of a team."""
    return product([fold(["add", product([extent, element]), 16]), rows])


# ---- forward --------------------------------------------------------------------------------------------


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, AttentionProblem)
    return tiles_refusal(problem, signature) or copied_in_pieces(problem, signature)


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, AttentionProblem)
    guards = [
        *_fit(problem.query, problem.key, config),
        *same_half_precision([o.tensor for o in problem.operands], signature),
        *copy_guards(problem, signature),
    ]
    return Requirements(tuple(guards))


def _shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, AttentionProblem)
    rows = number(config, "length")
    depth, value_depth = lower(problem.depth.extent), lower(problem.value_depth.extent)
    columns = fold(["add", product([depth, 2]), value_depth])
    team = product([columns, rows * _ELEMENT])
    for store in problem.outputs:
        team = fold(["max", team, _slab(value_depth, signature.element_bytes(store.tensor), rows)])
    return _shape_of(size(problem.batch), team, config)


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, AttentionProblem)
    rows = number(config, "length")
    depth, value_depth = (_largest(index, signature) for index in (problem.depth, problem.value_depth))
    slabs = max(rows * (value_depth * signature.largest_element(s.tensor) + 16) for s in problem.outputs)
    team = max(rows * _ELEMENT * (2 * depth + value_depth), slabs)
    registers = rows // 2 + rows // 4 + value_depth // 2 + 56  # scores, weights, results, the rest
    return Resources(32 * number(config, "warps"), registers, team * _teams(config))


PACKED = Template(
    family="attention",
    name="packed",
    path="attention/packed.cu.j2",
    summary="several problems of at most 64 queries and keys in a block, each on chip as a whole; tensor cores (mma)",
    knobs=_KNOBS,
    needs=("cp_async",),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    tensor_cores=True,
    refuses=_refuses,
    ladder=_ladder,
)


# ---- gradient -------------------------------------------------------------------------------------------


def _gradient_refuses(problem: StepProblem, signature: Signature, config: Config) -> str | None:
    assert isinstance(problem, WholeGradientProblem)
    if number(config, "length") > 32 and problem.by_keys.passing:
        return "registers do not hold the sums of 64 keys and values while heads pass"
    return _refuses(problem, signature, config)


def _gradient_cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, WholeGradientProblem)
    result, part = problem.result_operand, problem.by_keys
    if set(signature.contiguous_axes(result.tensor)) != {result.axis_of(part.value_depth.name)}:
        return f"rows of `{result.tensor}` do not lie in one piece"
    return rows_refusal(part, signature) or no_double(problem, signature)


def _gradient_requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, WholeGradientProblem)
    part, result = problem.by_keys, problem.result_operand
    guards = [*_fit(part.query, part.key, config), *rows_guards(part, signature)]
    if part.passing or (number(config, "length") > 32 and problem.score_outputs):
        columns = fold(["add", lower(part.depth.extent), lower(part.value_depth.extent)])
        why = "sums of keys and values stay in registers, beside heads that pass or addresses of scores"
        guards.append(Guard("registers", ["le", columns, 128], why))
    guards += operand_guards(result, part.query.name, part.value_depth.name, signature)
    return Requirements(tuple(guards))


def _in_slabs(problem: WholeGradientProblem) -> list[str]:
    """What leaves through slabs."""
    return [store.tensor for store in (*problem.query_outputs, *problem.by_keys.outputs)]


def _gradient_shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    assert isinstance(problem, WholeGradientProblem)
    rows, part = number(config, "length"), problem.by_keys
    depth, value_depth = lower(part.depth.extent), lower(part.value_depth.extent)
    widest = depth if depth == value_depth else fold(["max", depth, value_depth])
    tiles = product([fold(["add", depth, value_depth]), rows * _ELEMENT])
    passing = tiles
    for name in _in_slabs(problem):
        passing = fold(["max", passing, _slab(widest, signature.element_bytes(name), rows)])
    team = fold(["add", fold(["add", tiles, passing]), rows * rows * _ELEMENT + rows * _ROW])
    return _shape_of(size(part.space), team, config)


def _gradient_resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    assert isinstance(problem, WholeGradientProblem)
    rows, part = number(config, "length"), problem.by_keys
    depth, value_depth = (_largest(index, signature) for index in (part.depth, part.value_depth))
    tiles = rows * _ELEMENT * (depth + value_depth)
    widest = max(depth, value_depth)
    slabs = [rows * (widest * signature.largest_element(name) + 16) for name in _in_slabs(problem)]
    team = tiles + max([tiles, *slabs]) + rows * rows * _ELEMENT + rows * _ROW
    sums = depth // 2 + value_depth // 2 + max(depth // 2, rows)
    return Resources(32 * number(config, "warps"), min(255, sums + 56), team * _teams(config))


GRADIENT_PACKED = Template(
    family="attention_gradient",
    name="gradient_packed",
    path="attention/gradient_packed.cu.j2",
    summary="the whole gradient of several problems of at most 64 queries and keys a block, in one launch; no atomics",
    knobs=_KNOBS,
    needs=("cp_async",),
    cannot=_gradient_cannot,
    requirements=_gradient_requirements,
    shape=_gradient_shape,
    resources=_gradient_resources,
    tensor_cores=True,
    refuses=_gradient_refuses,
    ladder=_ladder,
)
