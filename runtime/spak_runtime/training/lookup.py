"""Rows of small tables, looked up. The gradient of a table is a product with the rows' indicators, one for each sample,
summed over samples: without the sort that torch's takes, and with the same bits every time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class Embedded(torch.autograd.Function):
    """The row of a table [V, C] for each of tokens [B, T]."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.rows = len(weight)
        return F.embedding(tokens, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        (tokens,) = ctx.saved_tensors
        with torch.autocast(grads[0].device.type, enabled=False):
            of_token = _indicators(tokens, ctx.rows, grads[0])
            return None, torch.bmm(of_token.transpose(1, 2), grads[0]).sum(0)


class OfScores(torch.autograd.Function):
    """Entries of a table as the scores of heads lie."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, row: Tensor, hidden: Tensor) -> Tensor:
        samples, heads = len(row), table.shape[1]
        ctx.save_for_backward(row, hidden)
        ctx.rows = len(table)
        places = row.reshape(samples, 1, -1).expand(samples, heads, -1)
        found = table.t().expand(samples, heads, -1).gather(2, places).view(samples, heads, *row.shape[1:])
        return found.masked_fill_(hidden[:, None], -torch.inf)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        row, hidden = ctx.saved_tensors
        with torch.autocast(grads[0].device.type, enabled=False):
            known = torch.where(hidden, ctx.rows, row).flatten(1)
            found = torch.bmm(grads[0].flatten(2), _indicators(known, ctx.rows, grads[0])).sum(0).t()
        return found, None, None


def _indicators(numbers: Tensor, rows: int, like: Tensor) -> Tensor:
    """1 where a number [B, N] is that of the row, else 0: [B, N, rows]."""
    return (numbers[..., None] == torch.arange(rows, device=numbers.device)).to(like.dtype)
