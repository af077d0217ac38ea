"""Attention of a training step by a generated kernel: heads where products write and read them, positions by which they
are turned, the bias of a table; forward, and their way back through autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spak_runtime.training import meanings
from spak_runtime.training.scopes import scope

if TYPE_CHECKING:
    from spak_runtime.function import KernelFunction
    from spak_runtime.training.turns import Slot, Use


@dataclass(frozen=True, slots=True)
class Turn:
    """How queries and keys are turned: by cosines and sines, or by a kernel that knows the base of their angles."""

    cos: Tensor
    sin: Tensor
    base: float
    kernel: KernelFunction | None

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Of x [B, T, heads, D], to `out` of the same shape."""
        if self.kernel is not None:
            self.kernel(x, base=self.base, out=out)
        else:
            with scope("rotation"):
                out.copy_(meanings.rotate(x.transpose(1, 2), self.cos, self.sin).transpose(1, 2))

    def backward(self, grad: Tensor, out: Tensor) -> None:
        """The gradient of x from that of what was turned: it is turned back."""
        if self.kernel is not None:
            (given, *_), (turned, *_) = self.kernel.signature.inputs, self.kernel.signature.outputs
            self.kernel.differentiate({}, {turned: grad}, {"base": self.base}, {given: out})
        else:
            with scope("rotation"):
                out.copy_(meanings.rotate(grad.transpose(1, 2), self.cos, -self.sin).transpose(1, 2))


class Attention(torch.autograd.Function):
    """Attention of heads that lie as the products beside it write and read them: nothing is copied to put heads one
    behind the other, neither here nor on the way back. In a turn of a loop the result lies in a `slot`, and gradients
    of what products gave go where their `uses` say."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: KernelFunction,
        sizes: tuple[int, int],
        turn: Turn | None,
        options: Mapping[str, Any],
        bias: Tensor | None,
        slot: Slot | None,
        uses: Sequence[Use | None],
        *projected: Tensor,
    ) -> Tensor:
        heads, groups = sizes
        parts = heads_of(projected, heads, groups)
        if turn is not None:
            runs = _runs(projected, heads, groups)
            turned = [torch.empty_like(run, memory_format=torch.contiguous_format) for run in runs]
            for run, out in zip(runs, turned, strict=True):
                turn.forward(run, out)
            parts = (*_pair(turned, heads), parts[2])
        y = parts[0].new_empty(parts[0].shape) if slot is None else slot.matrix.view(parts[0].shape)
        inputs, outputs = kernel.signature.inputs, kernel.signature.outputs
        given = [part.transpose(1, 2) for part in parts] + ([] if bias is None else [bias])
        results = kernel(*given, out={outputs[0]: y.transpose(1, 2)}, **options)
        rest = results[1:] if isinstance(results, tuple) else ()
        ctx.save_for_backward(y, *given, *rest)
        ctx.names = (*inputs[: len(given)], *outputs[1:])
        ctx.given = kernel, sizes, turn, options, uses
        ctx.shapes = tuple(part.shape for part in projected)
        return y.flatten(2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        kernel, (heads, groups), turn, options, uses = ctx.given
        y, *given = ctx.saved_tensors
        inputs, outputs = kernel.signature.inputs, kernel.signature.outputs
        values = {outputs[0]: y.transpose(1, 2), **dict(zip(ctx.names, given, strict=True))}
        grad = _split(grads[0], heads, -1).transpose(1, 2)
        found = tuple(
            y.new_empty(shape) if use is None else use.place().view(shape)
            for use, shape in zip(uses, ctx.shapes, strict=True)
        )
        query, key, value = heads_of(found, heads, groups)
        runs = [] if turn is None else _runs(found, heads, groups)
        turned = [torch.empty_like(run, memory_format=torch.contiguous_format) for run in runs]
        if turned:
            query, key = _pair(turned, heads)
        outs = [part.transpose(1, 2) for part in (query, key, value)]
        slopes = kernel.differentiate(
            values, {outputs[0]: grad}, options, dict(zip(inputs[:3], outs, strict=True))
        )
        if turn is not None:
            for grad, run in zip(turned, runs, strict=True):
                turn.backward(grad, run)
        slope = slopes[inputs[3]] if ctx.needs_input_grad[4] else None
        return (None, None, None, None, slope, None, None, *found)


def heads_of(projected: tuple[Tensor, ...], heads: int, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [B, T, heads, D], keys and values [B, T, groups, D] as views of what products wrote: all of them in one
    tensor, or queries in one and the two others in another."""
    if len(projected) == 1:
        parts = _split(projected[0], 3, heads, -1)
        return parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]
    pair = _split(projected[1], 2, groups, -1)
    return _split(projected[0], heads, -1), pair[:, :, 0], pair[:, :, 1]


def _split(x: Tensor, *sizes: int) -> Tensor:
    """x [B, T, C] with its last axis split."""
    return x.reshape(*x.shape[:2], *sizes)


def _runs(projected: tuple[Tensor, ...], heads: int, groups: int) -> list[Tensor]:
    """What is turned, [B, T, heads, D]: queries and keys in one where they lie one behind the other."""
    if len(projected) == 1:
        return [_split(projected[0], 3 * heads, -1)[:, :, : 2 * heads]]
    return list(heads_of(projected, heads, groups)[:2])


def _pair(turned: list[Tensor], heads: int) -> tuple[Tensor, Tensor]:
    """Queries and keys of tensors like `_runs`."""
    if len(turned) == 1:
        return turned[0][:, :, :heads], turned[0][:, :, heads:]
    return turned[0], turned[1]
