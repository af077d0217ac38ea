"""How far two results are apart: units in the last place, and a comparison that says where.

References are float64. A value that is not finite agrees only with itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

_BITS = {
    torch.bfloat16: (8, -126),
    torch.float16: (11, -14),
    torch.float32: (24, -126),
    torch.float64: (53, -1022),
}
"""Significand bits and the exponent of the smallest normal number."""


def ulp(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance between neighbouring numbers of `dtype` at `value`, as float64; that of subnormals below
    the smallest normal number. The shape of `value`."""
    bits, least = _BITS[dtype]
    value = value.double()
    _, exponent = torch.frexp(value)
    exponent = torch.where(value == 0, least, exponent - 1).clamp(min=least)
    return torch.ldexp(torch.ones_like(value), exponent - (bits - 1))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The worst element of a comparison. `excess` is its error over its tolerance: at most 1 where all
    agree."""

    agrees: bool
    wrong: int
    total: int
    index: tuple[int, ...]
    result: float
    reference: float
    error: float
    tolerance: float

    @property
    def excess(self) -> float:
        if self.error == 0:
            return 0.0
        return self.error / self.tolerance if self.tolerance > 0 else math.inf

    def __str__(self) -> str:
        if self.total == 0:
            return "no elements"
        place = ", ".join(map(str, self.index))
        return (
            f"{self.wrong} of {self.total} elements differ; worst at [{place}]: {self.result:.9g}, "
            f"reference {self.reference:.9g}, error {self.error:.3g}, tolerance {self.tolerance:.3g}"
        )


def compare(result: torch.Tensor, reference: torch.Tensor, tolerance: torch.Tensor | float) -> Comparison:
    """Every element of `result` against a float64 reference of the same shape, within an absolute tolerance
    each (a number, or a tensor that broadcasts).

    Raises ValueError where the shapes differ: a broadcast would hide a wrong result.
    """
    if result.shape != reference.shape:
        raise ValueError(f"result {list(result.shape)} and reference {list(reference.shape)} differ in shape")
    a, b = result.double(), reference.double().to(result.device)
    allowed = torch.as_tensor(tolerance, dtype=torch.float64, device=a.device).expand(a.shape)
    error = torch.where(_same(a, b), 0.0, (a - b).abs().nan_to_num(nan=math.inf))
    if error.numel() == 0:
        return Comparison(True, 0, 0, (), 0.0, 0.0, 0.0, 0.0)
    wrong = ~(error <= allowed) | error.isinf()
    badness = torch.where(error == 0, 0.0, error / allowed.clamp(min=math.ulp(0.0))).nan_to_num(nan=math.inf)
    worst = int(badness.flatten().argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), a.shape))
    at = [float(t.flatten()[worst]) for t in (a, b, error, allowed)]
    count = int(wrong.sum())
    return Comparison(count == 0, count, a.numel(), index, *at)


def _same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a == b) | (a.isnan() & b.isnan())
