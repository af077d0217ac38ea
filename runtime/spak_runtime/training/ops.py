"""Who computes a model's operations: a generated kernel where the file says so and it can, else torch, and
why.

A generated model calls `ops.linear(x, w)`; `Ops` binds that to a kernel of the artifact. A kernel is
trusted with an operation only after its mathematics, on a small case in float32, has given what the
operation means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spak_runtime.errors import SpakRuntimeError
from spak_runtime.training.scopes import named
from spak_runtime.training.spec import TrainingError

if TYPE_CHECKING:
    from spak_runtime.artifact import Artifact
    from spak_runtime.function import KernelFunction

_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


@dataclass(frozen=True, slots=True)
class Computed:
    """One row of the table that a run prints. `kernel` is the one the file names, `by` who computes.
    `excepted`: the operation is one that this kernel's mathematics does not cover, so torch computes it
    even in a strict run."""

    op: str
    phase: str  # training | evaluation
    kernel: str | None
    by: str
    why: str
    excepted: bool = False


class Ops:
    """The operations of one model on one device. `phase` is set by whoever runs the model."""

    def __init__(
        self, uses: Mapping[str, str], every: tuple[str, ...], artifact: Artifact | None, device: torch.device
    ) -> None:
        self.uses = uses
        self.device = device
        self.phase = "training"
        self._every = every
        self._kernels: dict[str, KernelFunction] = {}
        self._rows: dict[tuple[str, str, str], Computed] = {}
        self._missing: dict[str, str] = {}
        for op, name in uses.items():
            if artifact is None or name not in artifact.kernels:
                self._missing[op] = f"the artifact has no kernel {name}"
            else:
                self._kernels[op] = artifact[name]
                _MEANINGS[op](op, artifact[name])

    def table(self) -> list[Computed]:
        """Every operation of the model: what was computed by a kernel, what by torch, and why."""
        rows = list(self._rows.values())
        seen = {row.op for row in rows}
        return rows + [
            Computed(op, "training", None, "torch", "the file names no kernel for it")
            for op in self._every
            if op not in seen and op not in self.uses
        ]

    # ---- operations ---------------------------------------------------------------------------------

    @named("linear")
    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """y = x W^T + b, for x [..., in], W [out, in]."""
        dtype = _working_dtype(x)
        kernel = self._bound("linear", dtype)
        if kernel is None:
            return F.linear(x, weight, bias)
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        y: Tensor = _Product.apply(rows, weight.to(dtype), kernel)  # type: ignore[no-untyped-call]
        self._computed("linear", kernel.spec.name, lambda: kernel.explain(rows, weight.to(dtype).t()).variant)
        y = y.view(*x.shape[:-1], weight.shape[0])
        return y if bias is None else y + bias.to(dtype)

    @named("attention")
    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        bias: Tensor | None = None,
        causal: bool = True,
        softcap: float = 0.0,
    ) -> Tensor:
        """softmax(q k^T / sqrt(D) + bias) v for q [B, H, T, D] and k, v [B, G, T, D]; G divides H."""
        dtype = _working_dtype(q)
        kernel = self._bound("attention", dtype)
        if kernel is not None and bias is not None:
            self._by_torch("attention", f"{kernel.spec.name} takes no bias on the scores", excepted=True)
            kernel = None
        if kernel is not None:
            wanted = {"causal": causal} | ({"softcap": softcap} if softcap else {})
            known = {option.name for option in kernel.spec.options}
            if missing := sorted(wanted.keys() - known):
                self._by_torch("attention", f"{kernel.spec.name} has no option {missing[0]}", excepted=True)
            else:
                y = self._attend(kernel, [part.to(dtype).contiguous() for part in (q, k, v)], wanted)
                if y is not None:
                    return y
        return _attention(q, k, v, bias, causal, softcap)

    @named("norm")
    def norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, kind: str) -> Tensor:
        """Normalisation over the last axis; `kind` is layer or rms."""
        kernel = self._bound("norm", x.dtype)
        if kernel is not None and (kind != "rms" or weight is None or bias is not None):
            why = f"{kernel.spec.name} is trusted with norm(kind = rms) alone"
            self._by_torch("norm", why, excepted=True)
            kernel = None
        if kernel is None:
            return _norm(x, weight, bias, eps, kind)
        options = {"eps": eps} if any(option.name == "eps" for option in kernel.spec.options) else {}
        rows = x.reshape(-1, x.shape[-1])
        y = _first(kernel(rows, weight, **options))
        self._computed("norm", kernel.spec.name, lambda: kernel.explain(rows, weight, **options).variant)
        return y.view_as(x)

    # ---- choosing and recording ---------------------------------------------------------------------

    def _bound(self, op: str, dtype: torch.dtype) -> KernelFunction | None:
        """The kernel that may compute the operation now, or None with the reason on record."""
        kernel = self._kernels.get(op)
        if kernel is None:
            self._by_torch(op, self._missing.get(op, "the file names no kernel for it"))
            return None
        if self.device.type != "cuda":
            self._by_torch(op, "no GPU: the file's mathematics in torch")
            return None
        taken = next(tensor.dtypes for tensor in kernel.spec.tensors if tensor.role == "input")
        if _NAMES[dtype] not in taken:
            self._by_torch(op, f"{kernel.spec.name} takes {', '.join(taken)}; this phase is {_NAMES[dtype]}")
            return None
        return kernel

    def _attend(self, kernel: KernelFunction, qkv: list[Tensor], options: Mapping[str, Any]) -> Tensor | None:
        try:
            y = _first(kernel(*qkv, **options))
        except SpakRuntimeError as error:
            self._by_torch("attention", error.message.splitlines()[0])
            return None
        self._computed("attention", kernel.spec.name, lambda: kernel.explain(*qkv, **options).variant)
        return y

    def _by_torch(self, op: str, why: str, *, excepted: bool = False) -> None:
        key = (op, self.phase, why)
        if key not in self._rows:
            self._rows[key] = Computed(op, self.phase, self.uses.get(op), "torch", why, excepted)

    def _computed(self, op: str, kernel: str, variant: Callable[[], str | None]) -> None:
        key = (op, self.phase, "")
        if key not in self._rows:
            self._rows[key] = Computed(op, self.phase, kernel, f"{kernel} ({variant()})", "")


class _Product(torch.autograd.Function):
    """x W^T and its two gradients, all three by one kernel of the product family."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kernel: KernelFunction) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kernel = kernel
        return _multiply(kernel, x, weight.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        grad_x = _multiply(ctx.kernel, grad, weight) if ctx.needs_input_grad[0] else None
        grad_weight = _multiply(ctx.kernel, grad.t(), x) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, None


def _multiply(kernel: KernelFunction, a: Tensor, b: Tensor) -> Tensor:
    """a b by a kernel that may know fewer layouts than torch has."""
    inputs = [tensor for tensor in kernel.spec.tensors if tensor.role == "input"]
    a, b = (
        tensor if tensor.is_contiguous() or "column" in spec.layouts else tensor.contiguous()
        for tensor, spec in zip((a, b), inputs, strict=False)
    )
    return _first(kernel(a, b))


def _working_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not on `meta`
    return torch.get_autocast_dtype(kind) if casts else x.dtype


def _first(result: Any) -> Tensor:
    output = result[0] if isinstance(result, tuple) else result
    assert isinstance(output, Tensor)
    return output


# ---- what the operations mean -----------------------------------------------------------------------


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, softcap: float) -> Tensor:
    if not softcap:
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal, enable_gqa=grouped)
    share = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
    scores = softcap * torch.tanh((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 / softcap)
    if bias is not None:
        scores = scores + bias
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    return torch.softmax(scores.float(), -1).to(v.dtype) @ v


def _norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, kind: str) -> Tensor:
    if kind == "rms":
        return F.rms_norm(x, x.shape[-1:], weight, eps)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def _means_linear(op: str, kernel: KernelFunction) -> None:
    source = torch.Generator().manual_seed(1)
    a, b = torch.randn(5, 16, generator=source), torch.randn(16, 8, generator=source)
    _compare(op, kernel, (a, b), {}, lambda x, y: x @ y)


def _means_attention(op: str, kernel: KernelFunction) -> None:
    source = torch.Generator().manual_seed(1)
    size = next((choices[0] for choices in kernel.spec.dims.values() if choices), 8)
    q, k, v = (torch.randn(2, 2, 5, size, generator=source) for _ in range(3))
    options = {"causal": True} if any(o.name == "causal" for o in kernel.spec.options) else {}
    _compare(op, kernel, (q, k, v), options, lambda q, k, v: _attention(q, k, v, None, bool(options), 0.0))


def _means_norm(op: str, kernel: KernelFunction) -> None:
    source = torch.Generator().manual_seed(1)
    x, weight = torch.randn(5, 16, generator=source), torch.randn(16, generator=source)
    options = {"eps": 1e-3} if any(o.name == "eps" for o in kernel.spec.options) else {}
    _compare(
        op, kernel, (x, weight), options, lambda x, w: _norm(x, w, None, options.get("eps", 1e-6), "rms")
    )


_MEANINGS = {"linear": _means_linear, "attention": _means_attention, "norm": _means_norm}


def _compare(
    op: str,
    kernel: KernelFunction,
    inputs: tuple[Tensor, ...],
    options: Mapping[str, Any],
    meaning: Callable[..., Tensor],
) -> None:
    """Holds the kernel's mathematics, on the CPU, against what the operation means."""
    specs = [tensor for tensor in kernel.spec.tensors if tensor.role == "input"]
    dtypes = {name: dtype for dtype, name in _NAMES.items()}
    try:
        given = [
            x.to(dtypes[spec.dtypes[0]] if spec.dtypes else x.dtype)
            for x, spec in zip(inputs, specs, strict=False)
        ]
        given = [
            x.to(given[0].dtype) if not spec.dtypes else x for x, spec in zip(given, specs, strict=False)
        ]
        found = _first(kernel(*given, **options)).float()
    except SpakRuntimeError as error:
        raise TrainingError(f"kernel {kernel.spec.name} cannot compute {op}: {error.message}") from error
    wanted = meaning(*(x.float() for x in given))
    tolerance = 4 * torch.finfo(given[0].dtype).eps
    if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=tolerance, atol=tolerance):
        raise TrainingError(f"kernel {kernel.spec.name} computes something else than {op}")
