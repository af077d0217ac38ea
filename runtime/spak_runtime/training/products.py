"""Products of a training step by generated kernels, and the loss whose gradient they read: forward, and their way back
through autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spak_runtime.training.meanings import NAMES, first_output

if TYPE_CHECKING:
    from spak_runtime.function import KernelFunction
    from spak_runtime.training.turns import Use


class Product(torch.autograd.Function):
    """x W^T (+ b) and its gradients, all three products by one kernel of the product family, which reads `cast`: W in
    the dtype that is worked in, with rows of zeros behind it (`padded`), and `shift`: b like that. The gradients of
    W and b have the dtypes of W (where the kernel writes it) and b, so that a block that is used in many loops sums
    its gradients in float32. A turn of a loop, which has a `use`, puts these aside."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        """Takes x, W, `cast`, b, `shift`, the kernel and a `use`."""
        x, cast, shift = _operands(ctx, *given)
        y = x.new_empty(x.shape[0], cast.shape[0])
        multiply(ctx.kernel, x, cast.t(), out=y, bias=shift)
        return y[:, : ctx.columns]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        *x, cast = ctx.saved_tensors
        grad, gradients = _gradients(ctx, grads[0], x)
        grad_x = multiply(ctx.kernel, grad, cast[: ctx.columns]) if ctx.needs_input_grad[0] else None
        return grad_x, *gradients


@dataclass(frozen=True, slots=True)
class Half:
    """One half of an MLP by a kernel: `expand` is h = x W^T (+ b) and act(h), `contract` is act(h) W^T. Options say
    which activation it is."""

    kernel: KernelFunction
    options: Mapping[str, Any]

    def expand(self, x: Tensor, weight: Tensor, shift: Tensor | None, after: Tensor) -> Tensor:
        """h of a kernel whose results are act(h), written to `after`, and h."""
        bent, h = self.kernel.signature.outputs[:2]
        out = {bent: after, h: torch.empty_like(after)}
        given = [x, weight] if shift is None else [x, weight, shift]
        self.kernel(*given, out=out, **self.options)
        return out[h]

    def contract_gradient(self, h: Tensor, weight: Tensor, grad: Tensor, out: Tensor) -> None:
        """The gradient of h, written to `out`, from that of act(h) W^T."""
        signature = self.kernel.signature
        first, second = signature.inputs[:2]
        values = {first: h, second: weight}
        self.kernel.differentiate(values, {signature.outputs[0]: grad}, self.options, {first: out})


class Expanded(Product):
    """h = x W^T (+ b) as Product computes it, and act(h) beside it, by one launch. What reads act(h) gives h its
    gradient: act(h) has none of its own."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        """Takes what Product does, the half of it that is a kernel, and where act(h) goes."""
        *product, half, slot = given
        x, cast, shift = _operands(ctx, *product)
        after = x.new_empty(x.shape[0], cast.shape[0]) if slot is None else slot.matrix
        h = half.expand(x, cast.t(), shift, after)
        h, after = h[:, : ctx.columns], after[:, : ctx.columns]
        ctx.mark_non_differentiable(after)
        ctx.set_materialize_grads(False)
        return h, after

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        return *Product.backward(ctx, *grads), None, None


class Contracted(Product):
    """act(h) W^T (+ b) from act(h) as Product computes it. Its way back leads to h: one launch multiplies the gradient
    by W and by the derivative of the activation, where that of act(h) would be written and read again."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        """Takes h, act(h), what Product takes but x, the half of it that is a kernel, and where the gradient of h is
        wanted."""
        h, *product, ctx.half, ctx.place = given
        x, cast, shift = _operands(ctx, *product, h)
        y = x.new_empty(x.shape[0], cast.shape[0])
        multiply(ctx.kernel, x, cast.t(), out=y, bias=shift)
        return y[:, : ctx.columns]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        h, *x, cast = ctx.saved_tensors
        grad, gradients = _gradients(ctx, grads[0], x, 1)
        grad_h = None
        if ctx.needs_input_grad[0]:
            grad_h = spaced_rows(h, h.shape, h.dtype) if ctx.place is None else ctx.place.place()
            ctx.half.contract_gradient(h, cast[: ctx.columns].t(), grad, grad_h)
        return grad_h, None, *gradients, None, None


def _operands(
    ctx: Any,
    x: Tensor,
    weight: Tensor,
    cast: Tensor,
    bias: Tensor | None,
    shift: Tensor | None,
    kernel: KernelFunction,
    use: Use | None,
    *kept: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a product reads. Keeps what its way back needs, after what else is to be `kept`."""
    if use is None:
        x = spaced(x)
        ctx.save_for_backward(*kept, x, cast)
    else:
        x = use.operand
        ctx.save_for_backward(*kept, cast)
    ctx.kernel, ctx.dtype, ctx.columns, ctx.use = kernel, weight.dtype, weight.shape[0], use
    ctx.bias = None if bias is None else bias.dtype
    return x, cast, shift


def _gradients(
    ctx: Any, arrived: Tensor, x: list[Tensor], before: int = 0
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The gradient of a product's result as products read it, and those of what it takes behind x, which has `before`
    arguments in front: of W and b where nobody else gathers them."""
    if ctx.use is not None:
        return ctx.use.put(arrived), (None,) * 6
    grad, needed = spaced(arrived), ctx.needs_input_grad[before:]
    grad_weight = multiply(ctx.kernel, grad.t(), x[0], ctx.dtype) if needed[1] else None
    grad_bias = grad.sum(0, dtype=ctx.bias) if needed[3] else None
    return grad, (grad_weight, None, grad_bias, None, None, None)


class Loss(torch.autograd.Function):
    """The loss of every row, whose gradient has rows that a product reads as they are."""

    @staticmethod
    def forward(ctx: Any, kernel: KernelFunction, logits: Tensor, targets: Tensor, use: Use | None) -> Tensor:
        results = kernel(logits, targets)
        outputs = results if isinstance(results, tuple) else (results,)
        ctx.save_for_backward(logits, targets, *outputs)
        ctx.kernel, ctx.use = kernel, use
        return first_output(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        signature = ctx.kernel.signature
        names = (*signature.inputs, *signature.outputs)
        values = dict(zip(names, ctx.saved_tensors, strict=True))
        logits = ctx.saved_tensors[0]
        found = spaced_rows(logits, logits.shape, logits.dtype) if ctx.use is None else ctx.use.place()
        ctx.kernel.differentiate(values, {signature.outputs[0]: grads[0]}, {}, {names[0]: found})
        return None, found, None, None


def padded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight [out, in] as a product reads it: in `dtype`, rows at multiples of 16 bytes, and as many rows of zeros
    behind it that results fill such rows, too: 50,257 logits would leave tensor cores' stores for slower ones."""
    unit = 16 // dtype.itemsize
    out, width = weight.shape
    if out % unit == 0 == width % unit:
        return weight.to(dtype)
    made = weight.new_empty(-(-out // unit) * unit, -(-width // unit) * unit, dtype=dtype)[:, :width]
    made[:out].copy_(weight)
    made[out:].zero_()
    return made


def multiply(
    kernel: KernelFunction,
    a: Tensor,
    b: Tensor,
    wanted: torch.dtype | None = None,
    out: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """a b (+ bias) by a kernel that may know fewer layouts than torch has, in the dtype `wanted` if the kernel writes
    it, or written to `out`."""
    inputs = [tensor for tensor in kernel.spec.tensors if tensor.role == "input"]
    a, b = (
        tensor if tensor.is_contiguous() or "column" in spec.layouts else tensor.contiguous()
        for tensor, spec in zip((a, b), inputs, strict=False)
    )
    if out is not None:
        return first_output(kernel(a, b, *([] if bias is None else [bias]), out=out))
    output = next(tensor for tensor in kernel.spec.tensors if tensor.role == "output")
    writes = wanted if wanted is not None and NAMES[wanted] in output.dtypes else None
    return first_output(kernel(a, b) if writes is None else kernel(a, b, dtype=writes))


def spaced(matrix: Tensor) -> Tensor:
    """The same matrix with rows that begin at multiples of 16 bytes, as copies to tensor cores need them: the logits of
    a vocabulary of 14 have none. A copy costs what it moves, a product without tensor cores many times that."""
    if matrix.stride(1) == 1 and matrix.stride(0) % (16 // matrix.element_size()) == 0:
        return matrix
    return spaced_rows(matrix, matrix.shape, matrix.dtype).copy_(matrix)


def spaced_rows(like: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory for a matrix, on the device of `like`, whose rows begin at multiples of 16 bytes."""
    (rows, columns), unit = shape, 16 // dtype.itemsize
    return like.new_empty(rows, -(-columns // unit) * unit, dtype=dtype)[:, :columns]
