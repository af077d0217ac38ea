"""Natural numbers as tensors of decimal digits, so that a batch of 1,000-digit numbers is arithmetic of
tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spak_runtime.training.seeds import Stream


@dataclass(frozen=True, slots=True)
class Digits:
    """`digits` [B, W] int64, least significant first, zero beyond `length` [B] (at least 1)."""

    digits: Tensor
    length: Tensor

    @property
    def width(self) -> int:
        return self.digits.shape[1]

    def select(self, rows: Tensor) -> Digits:
        return Digits(self.digits[rows], self.length[rows])


def draw(length: Tensor, width: int, source: Stream) -> Digits:
    """Numbers of exactly `length` [B] digits, uniform: the leading digit is not zero, except that 0 itself
    is a number of one digit. `width` is at least the largest length; `length` lies where `source` draws."""
    count = length.shape[0]
    digits = source.integers(10, count, width)
    leading = source.integers(9, count, 1) + 1
    column = torch.arange(width, device=length.device)[None]
    last = length[:, None] - 1
    digits = torch.where((column == last) & (last > 0), leading, digits)
    return Digits(digits.masked_fill(column > last, 0), length)


def add(a: Digits, b: Digits) -> Digits:
    width = max(a.width, b.width) + 1
    return _carry(_widen(a.digits, width) + _widen(b.digits, width))


def multiply(a: Digits, b: Digits) -> Digits:
    if a.width > b.width:
        a, b = b, a
    columns = a.digits.new_zeros(a.digits.shape[0], a.width + b.width)
    for i in range(a.width):
        columns[:, i : i + b.width] += a.digits[:, i : i + 1] * b.digits
    return _carry(columns)


def constant(value: int, count: int, device: torch.device) -> Digits:
    digits = torch.tensor([int(digit) for digit in reversed(str(value))], device=device)
    return Digits(digits[None].expand(count, -1), torch.full((count,), digits.numel(), device=device))


def _widen(digits: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(digits, (0, width - digits.shape[1]))


def _carry(columns: Tensor) -> Digits:
    """Brings columns of any size below ten; the last column must have room for the last carry."""
    carry = torch.zeros_like(columns[:, 0])
    digits = []
    for column in columns.unbind(1):
        total = column + carry
        digits.append(total % 10)
        carry = total // 10
    result = torch.stack(digits, 1)
    place = torch.arange(1, result.shape[1] + 1, device=result.device)
    return Digits(result, (place * (result > 0)).amax(1).clamp(min=1))
