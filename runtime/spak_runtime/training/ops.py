"""Who computes the operations of a training step: a generated kernel where the file says so and it can, else torch,
and why.

A generated model calls `ops.linear(x, w)`; `Ops` binds that to a kernel of the artifact, which `meanings` has held
against what the operation means. The loss and the optimizer are operations of the step like those of the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spak_runtime.errors import SpakRuntimeError
from spak_runtime.training import meanings
from spak_runtime.training.meanings import NAMES, first_output, known_options
from spak_runtime.training.scopes import named

if TYPE_CHECKING:
    from spak_runtime.artifact import Artifact
    from spak_runtime.function import KernelFunction


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
    """The operations of one model's training on one device. `phase` is set by whoever runs the model."""

    def __init__(
        self, uses: Mapping[str, str], every: tuple[str, ...], artifact: Artifact | None, device: torch.device
    ) -> None:
        """`every` lists the operations of the step. Raises TrainingError for a kernel that computes something else
        than what `uses` gives it."""
        self.uses = uses
        self.device = device
        self.phase = "training"
        self._every = every
        self._kernels: dict[str, KernelFunction] = {}
        self._forms: dict[str, str] = {}
        self._rows: dict[tuple[str, str, str], Computed] = {}
        self._missing: dict[str, str] = {}
        self._constants: dict[tuple[float, int, torch.device], Tensor] = {}
        self._made: dict[tuple[int, ...], tuple[tuple[Tensor, ...], Tensor]] | None = None
        for op, name in uses.items():
            if artifact is None or name not in artifact.kernels:
                self._missing[op] = f"the artifact has no kernel {name}"
            else:
                self._kernels[op] = artifact[name]
                self._forms[op] = meanings.MEANINGS[op](artifact[name])

    def table(self) -> list[Computed]:
        """Every operation of the step: what was computed by a kernel, what by torch, and why."""
        rows = list(self._rows.values())
        seen = {row.op for row in rows}
        return rows + [
            Computed(op, "training", None, "torch", "the file names no kernel for it")
            for op in self._every
            if op not in seen and op not in self.uses
        ]

    # ---- what a step makes once ---------------------------------------------------------------------

    @contextlib.contextmanager
    def one_forward(self) -> Iterator[None]:
        """Around one run of the model, in which no weight changes and one dtype is worked in."""
        self._made = {}
        try:
            yield
        finally:
            self._made = None

    def once(self, source: tuple[Tensor, ...], make: Callable[[], Tensor]) -> Tensor:
        """What `make` derives from the tensors of `source`: made once in `one_forward`, however many loops ask, so
        that a gradient of it is summed over the loops first and taken back to the source once. One source derives
        one thing. Outside of `one_forward` it is made at every call."""
        if self._made is None:
            return make()
        key = tuple(map(id, source))
        if key not in self._made:
            self._made[key] = (source, make())  # the source is held, so that no other tensor gets its id
        return self._made[key][1]

    # ---- operations of the model --------------------------------------------------------------------

    @named("linear")
    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """y = x W^T + b, for x [..., in], W [out, in]."""
        dtype = _working_dtype(x)
        kernel = self._bound("linear", dtype)
        if kernel is None:
            return F.linear(x, weight, bias)
        rows = x.reshape(-1, x.shape[-1]).to(dtype)
        cast = self.once((weight,), lambda: _spaced(weight.detach().to(dtype)))
        y: Tensor = _Product.apply(rows, weight, cast, kernel)  # type: ignore[no-untyped-call]
        self._computed("linear", kernel, rows, cast.t())
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
            if missing := sorted(wanted.keys() - known_options(kernel, wanted).keys()):
                self._by_torch("attention", f"{kernel.spec.name} has no option {missing[0]}", excepted=True)
            else:
                y = self._attend(kernel, [part.to(dtype).contiguous() for part in (q, k, v)], wanted)
                if y is not None:
                    return y
        return meanings.attention(q, k, v, bias, causal, softcap)

    @named("norm")
    def norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, kind: str) -> Tensor:
        """Normalisation over the last axis; `kind` is layer or rms."""
        kernel = self._bound("norm", x.dtype)
        if kernel is not None and kind != self._forms["norm"]:
            known = self._forms["norm"]
            self._by_torch("norm", f"{kernel.spec.name} computes norm(kind = {known})", excepted=True)
            kernel = None
        if kernel is None:
            return meanings.norm(x, weight, bias, eps, kind)
        width, options = x.shape[-1], known_options(kernel, {"eps": eps})
        # What the model does not learn is one or zero, which changes no bit of what the kernel computes.
        parts = [x.reshape(-1, width), self._constant(1.0, width, x.device) if weight is None else weight]
        if kind == "layer":
            parts.append(self._constant(0.0, width, x.device) if bias is None else bias)
        y = first_output(kernel(*parts, **options))
        self._computed("norm", kernel, *parts, **options)
        return y.view_as(x)

    @named("activation")
    def activation(self, x: Tensor, name: str) -> Tensor:
        """An element-wise function of `meanings.ACTIVATIONS`."""
        kernel = self._bound("activation", x.dtype)
        if kernel is not None and name != self._forms["activation"]:
            known = self._forms["activation"]
            self._by_torch("activation", f"{kernel.spec.name} computes {known}, not {name}", excepted=True)
            kernel = None
        if kernel is None:
            return meanings.ACTIVATIONS[name](x)
        rows = x.reshape(-1, x.shape[-1])
        y = first_output(kernel(rows))
        self._computed("activation", kernel, rows)
        return y.view_as(x)

    # ---- operations of the step ---------------------------------------------------------------------

    @named("loss")
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy [N] float32 of logits [N, V] with integer targets [N]."""
        kernel = self._bound("loss", logits.dtype)
        if kernel is None:
            return meanings.loss(logits, targets)
        numbers = targets.int()
        each = first_output(kernel(logits, numbers))
        self._computed("loss", kernel, logits, numbers)
        return each

    def optimizer(self) -> Callable[..., None] | None:
        """A kernel's `step(p, m, v, g, settings)`, which updates weights and moments in place; None where torch is
        to do it."""
        kernel = self._bound("optimizer", torch.float32)
        if kernel is None:
            return None

        def step(p: Tensor, m: Tensor, v: Tensor, g: Tensor, now: meanings.AdamW) -> None:
            flat = [tensor.view(-1) for tensor in (p, m, v)]
            arguments = (*flat, g.reshape(-1), now.rate, now.decay, now.c1, now.c2)
            kernel(*arguments, **now.options)
            self._computed("optimizer", kernel, *arguments, **now.options)

        return step

    def _constant(self, value: float, width: int, device: torch.device) -> Tensor:
        """[width] float32, filled once."""
        key = (value, width, device)
        if key not in self._constants:
            self._constants[key] = torch.full((width,), value, device=device)
        return self._constants[key]

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
        taken = next(tensor.dtypes for tensor in kernel.spec.tensors if tensor.role in ("input", "inout"))
        if NAMES[dtype] not in taken:
            self._by_torch(op, f"{kernel.spec.name} takes {', '.join(taken)}; this phase is {NAMES[dtype]}")
            return None
        return kernel

    def _attend(self, kernel: KernelFunction, qkv: list[Tensor], options: Mapping[str, Any]) -> Tensor | None:
        try:
            y = first_output(kernel(*qkv, **options))
        except SpakRuntimeError as error:
            self._by_torch("attention", error.message.splitlines()[0])
            return None
        self._computed("attention", kernel, *qkv, **options)
        return y

    def _by_torch(self, op: str, why: str, *, excepted: bool = False) -> None:
        key = (op, self.phase, why)
        if key not in self._rows:
            self._rows[key] = Computed(op, self.phase, self.uses.get(op), "torch", why, excepted)

    def _computed(self, op: str, kernel: KernelFunction, *args: Any, **kwargs: Any) -> None:
        key = (op, self.phase, "")
        if key not in self._rows:
            name, variant = kernel.spec.name, kernel.explain(*args, **kwargs).variant
            self._rows[key] = Computed(op, self.phase, name, f"{name} ({variant})", "")


class _Product(torch.autograd.Function):
    """x W^T and its two gradients, all three by one kernel of the product family, which reads `cast`: W in the dtype
    that is worked in. The gradient of W is written in the dtype of W where the kernel can, so that a block that is
    used in many loops sums its gradients in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, cast: Tensor, kernel: KernelFunction) -> Tensor:
        x = _spaced(x)
        ctx.save_for_backward(x, cast)
        ctx.kernel, ctx.dtype = kernel, weight.dtype
        return _multiply(kernel, x, cast.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, cast = ctx.saved_tensors
        grad = _spaced(grads[0])
        grad_x = _multiply(ctx.kernel, grad, cast) if ctx.needs_input_grad[0] else None
        grad_weight = _multiply(ctx.kernel, grad.t(), x, ctx.dtype) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, None, None


def _multiply(kernel: KernelFunction, a: Tensor, b: Tensor, wanted: torch.dtype | None = None) -> Tensor:
    """a b by a kernel that may know fewer layouts than torch has, in the dtype `wanted` if the kernel writes it."""
    inputs = [tensor for tensor in kernel.spec.tensors if tensor.role == "input"]
    a, b = (
        tensor if tensor.is_contiguous() or "column" in spec.layouts else tensor.contiguous()
        for tensor, spec in zip((a, b), inputs, strict=False)
    )
    output = next(tensor for tensor in kernel.spec.tensors if tensor.role == "output")
    writes = wanted if wanted is not None and NAMES[wanted] in output.dtypes else None
    return first_output(kernel(a, b) if writes is None else kernel(a, b, dtype=writes))


def _spaced(matrix: Tensor) -> Tensor:
    """The same matrix with rows that begin at multiples of 16 bytes, as copies to tensor cores need them: the logits of
    a vocabulary of 14 have none. A copy costs what it moves, a product without tensor cores many times that."""
    unit = 16 // matrix.element_size()
    rows, columns = matrix.shape
    if matrix.stride(1) == 1 and matrix.stride(0) % unit == 0:
        return matrix
    spaced = matrix.new_empty(rows, -(-columns // unit) * unit)[:, :columns]
    return spaced.copy_(matrix)


def _working_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not on `meta`
    return torch.get_autocast_dtype(kind) if casts else x.dtype
