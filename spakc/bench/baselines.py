"""Library operations that claims compare kernels with, as calls over the tensors of a kernel's problem. An
edge: torch is imported by whoever calls them.

A baseline computes what the problem says with the library's best entry for it, or nothing: a problem that
the library has no entry for (another epilogue, a mask that is not causal) has no baseline.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spakc.ir.constraint import Env, lanes
from spakc.ir.lanes import Scalar
from spakc.ir.ops import Ref, RefKind
from spakc.plan.problem import AttentionProblem, Operand, Problem, ProductProblem

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
Baseline = Callable[[Tensors], Any]


class NoBaseline(Exception):
    """The library has no entry for this call; the message says why."""


def baseline(
    name: str, problem: Problem | None, dims: Mapping[str, int], options: Mapping[str, Scalar]
) -> Baseline:
    """The call of a library operation. Raises NoBaseline."""
    if name == "torch.matmul" and isinstance(problem, ProductProblem):
        return _matmul(problem)
    if isinstance(problem, AttentionProblem):
        return _attention(name, problem, Env().dims(dims).options(options))
    raise NoBaseline(f"{name} is not timed by this command")


BACKENDS = ("torch", "triton", "cutile")
"""What `spakc bench --against` knows: the library's own operations, Triton kernels as torch's compiler writes and tunes
them, the file's kernels as programs for cuTile."""


def rivals(
    backend: str, problem: Problem | None, dims: Mapping[str, int], options: Mapping[str, Scalar]
) -> dict[str, Baseline]:
    """All that a backend has for a call, by name. Raises NoBaseline where it is not installed or has nothing."""
    if backend == "triton" and not _is_installed("triton"):
        raise NoBaseline("Triton is not installed")
    if isinstance(problem, ProductProblem):
        found = _matmul(problem)
        return {"torch.matmul": found} if backend == "torch" else {"triton.matmul": _by_triton(found)}
    if isinstance(problem, AttentionProblem):
        env = Env().dims(dims).options(options)
        if backend == "torch":
            names = ("torch.cudnn_attention", "torch.flash_attention")
            return {name: _attention(name, problem, env) for name in names}
        return {"triton.flex_attention": _by_triton(_flex_attention(problem, env))}
    raise NoBaseline("it has no entry for this family")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _by_triton(call: Baseline) -> Baseline:
    """The same by Triton's templates, each call's configs timed at its first run."""
    import torch

    options: Any = {"max_autotune": True, "max_autotune_gemm_backends": "TRITON"}
    compiled: Baseline = torch.compile(call, dynamic=False, options=options)
    return compiled


def _matmul(problem: ProductProblem) -> Baseline:
    import torch

    left, right = problem.left, problem.right
    row, column, depth = (group[0].name for group in (problem.rows, problem.columns, problem.reduced))
    order = left.axis_of(row), left.axis_of(depth), right.axis_of(depth), right.axis_of(column)
    if len(left.indices) != 2 or len(right.indices) != 2:
        raise NoBaseline("torch.matmul is timed for two matrices")
    turn_left, turn_right = order[0] != 0, order[2] != 0

    def call(tensors: Tensors) -> Any:
        a, b = tensors[left.tensor], tensors[right.tensor]
        return torch.matmul(a.t() if turn_left else a, b.t() if turn_right else b)

    return call


def _attention(name: str, problem: AttentionProblem, env: Env) -> Baseline:
    """Over [batch, heads, sequence, depth] operands. The backend is forced, so that no slower one answers."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends = {"torch.cudnn_attention": [SDPBackend.CUDNN_ATTENTION]}
    backends["torch.flash_attention"] = [SDPBackend.FLASH_ATTENTION]
    causal, factor, operands = _is_causal(problem, env), _scale(problem, env), _four_axes(problem, name)
    chosen = backends.get(name)

    def call(tensors: Tensors) -> Any:
        q, k, v = (tensors[operand.tensor] for operand in operands)
        attend = torch.nn.functional.scaled_dot_product_attention
        grouped = q.shape[1] != k.shape[1]
        if chosen is None:
            return attend(q, k, v, is_causal=causal, scale=factor, enable_gqa=grouped)
        with sdpa_kernel(chosen):
            return attend(q, k, v, is_causal=causal, scale=factor, enable_gqa=grouped)

    return call


def _flex_attention(problem: AttentionProblem, env: Env) -> Baseline:
    """Torch's attention that takes its mask as a function; over the same operands."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    causal, factor = _is_causal(problem, env), _scale(problem, env)
    operands = _four_axes(problem, "flex_attention")
    masks: dict[tuple[int, int, Any], Any] = {}

    def call(tensors: Tensors) -> Any:
        q, k, v = (tensors[operand.tensor] for operand in operands)
        key = q.shape[2], k.shape[2], q.device
        if causal and key not in masks:
            masks[key] = create_block_mask(lambda _b, _h, i, j: j <= i, None, None, *key[:2], device=q.device)
        grouped = q.shape[1] != k.shape[1]
        return flex_attention(q, k, v, block_mask=masks.get(key), scale=factor, enable_gqa=grouped)

    return call


def _scale(problem: AttentionProblem, env: Env) -> float | None:
    scale = None if problem.scale is None else lanes(problem.scale, env)
    return None if scale is None or scale.some_unknown else float(scale.data)


def _four_axes(problem: AttentionProblem, name: str) -> tuple[Operand, Operand, Operand]:
    operands = problem.query_operand, problem.key_operand, problem.value_operand
    if any(len(operand.indices) != 4 for operand in operands):
        raise NoBaseline(f"{name} is timed for operands of four axes")
    return operands


def _is_causal(problem: AttentionProblem, env: Env) -> bool:
    """Whether the mask is the library's causal one; False without a mask. Looks at a small square.

    Raises NoBaseline for any other mask."""
    import numpy as np

    if problem.mask is None:
        return False
    size = 16
    query, key = (index.ravel() for index in np.indices((size, size)))
    names = {(RefKind.index, problem.query.name): query, (RefKind.index, problem.key.name): key}
    sizes = dict.fromkeys(_sizes(problem), size)
    found = lanes(problem.mask, env.dims(sizes).bind(names))
    if not found.some_unknown:
        live = np.broadcast_to(np.asarray(found.data, dtype=bool), query.shape)
        if live.all():
            return False
        if (live == (key <= query)).all():
            return True
    raise NoBaseline("the library has no such mask")


def _sizes(problem: AttentionProblem) -> list[str]:
    """The dims that are the extents of queries and keys."""
    extents = (problem.query.extent, problem.key.extent)
    return [e.name for e in extents if isinstance(e, Ref) and e.kind is RefKind.dim]
