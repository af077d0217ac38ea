"""How much arithmetic a call is, by its mathematics: what `speed` counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spakc.ir.constraint import Env, Unknown, evaluate, lanes
from spakc.ir.lanes import Scalar
from spakc.ir.module import Kernel
from spakc.ir.ops import Expr, RefKind
from spakc.plan.problem import AttentionProblem, IndexRange, Problem, ProductProblem

SAMPLED_ROWS = 256
"""Rows of a mask that are looked at; from fewer queries all of them are."""


def operations(
    problem: Problem | None, dims: Mapping[str, int], options: Mapping[str, Scalar]
) -> float | None:
    """Floating-point operations of the contractions: a multiplication and an addition for each term that
    counts; terms behind a mask do not. None for a family without contractions."""
    env = Env().dims(dims).options(options)
    if isinstance(problem, ProductProblem):
        return 2.0 * _points(problem.batch + problem.rows + problem.columns + problem.reduced, env)
    if isinstance(problem, AttentionProblem):
        queries, keys = _points((problem.query,), env), _points((problem.key,), env)
        share = 1.0 if problem.mask is None else _share(problem, int(queries), int(keys), env)
        depths = _points((problem.depth,), env) + _points((problem.value_depth,), env)
        return 2.0 * _points(problem.batch, env) * queries * keys * share * depths
    return None


def compulsory_bytes(kernel: Kernel, dims: Mapping[str, int], dtype: str | None) -> float:
    """Bytes of all tensors of a call, each moved once: what no computation of it can do without. `dtype` is that
    of the tensors that allow it; others have their first. Optional tensors are not there."""
    env = Env().dims(dims)
    total = 0.0
    for tensor in kernel.tensors.values():
        if tensor.default is not None:
            continue
        model = kernel.tensors[tensor.same_as] if tensor.same_as is not None else tensor
        named = next((each for each in model.dtypes if each.value == dtype), model.dtypes[0])
        elements = 1.0
        for extent in tensor.shape:
            size = evaluate(extent, env)
            assert not isinstance(size, Unknown), "every dim of a call has a size"
            elements *= float(size)
        total += elements * named.bytes * (2 if tensor.role == "inout" else 1)
    return total


def _points(ranges: tuple[IndexRange, ...], env: Env) -> float:
    count = 1.0
    for each in ranges:
        extent = evaluate(each.extent, env)
        assert not isinstance(extent, Unknown), "every dim of a call has a size"
        count *= float(extent)
    return count


def _share(problem: AttentionProblem, queries: int, keys: int, env: Env) -> float:
    """The share of pairs that the mask lets count, from evenly spaced rows; 1 where it depends on data."""
    step = max(1, queries // SAMPLED_ROWS)
    rows = np.arange(step // 2, queries, step)
    pairs = {
        (RefKind.index, problem.query.name): np.repeat(rows, keys),
        (RefKind.index, problem.key.name): np.tile(np.arange(keys), len(rows)),
    }
    assert problem.mask is not None
    return _mean(problem.mask, env.bind(pairs))


def _mean(condition: Expr, env: Env) -> float:
    found = lanes(condition, env)
    return 1.0 if found.some_unknown else float(np.mean(np.asarray(found.data, dtype=np.float64)))
