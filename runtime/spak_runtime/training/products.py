"""Products of a training step by generated kernels, and the loss whose gradient they read: forward, and their way back
through autograd."""

from __future__ import annotations

from collections.abc import Sequence
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
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        cast: Tensor,
        bias: Tensor | None,
        shift: Tensor | None,
        kernel: KernelFunction,
        use: Use | None,
    ) -> Tensor:
        if use is None:
            x = spaced(x)
            ctx.save_for_backward(x, cast)
        else:
            x = use.operand
            ctx.save_for_backward(cast)
        ctx.kernel, ctx.dtype, ctx.columns, ctx.use = kernel, weight.dtype, weight.shape[0], use
        ctx.bias = None if bias is None else bias.dtype
        y = x.new_empty(x.shape[0], cast.shape[0])
        multiply(kernel, x, cast.t(), out=y, bias=shift)
        return y[:, : weight.shape[0]]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *x, cast = ctx.saved_tensors
        grad = spaced(grads[0]) if ctx.use is None else ctx.use.put(grads[0])
        grad_x = multiply(ctx.kernel, grad, cast[: ctx.columns]) if ctx.needs_input_grad[0] else None
        if ctx.use is not None:
            return grad_x, *(None,) * 6
        grad_weight = multiply(ctx.kernel, grad.t(), x[0], ctx.dtype) if ctx.needs_input_grad[1] else None
        grad_bias = grad.sum(0, dtype=ctx.bias) if ctx.needs_input_grad[3] else None
        return grad_x, grad_weight, None, grad_bias, None, None, None


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
