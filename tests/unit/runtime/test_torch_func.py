"""torch.func is told what it cannot do; matmul.spak, which declares no gradient, says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import spakc
from spak_runtime.errors import GradientError

KERNELS = Path(__file__).parents[3] / "examples" / "kernels"


def test_a_transform_of_a_gradient_is_refused() -> None:
    kernels = spakc.load(KERNELS / "train.spak")
    with pytest.raises(GradientError, match=r"torch\.func does not see through .* use backward\(\)"):
        torch.func.grad(lambda x: kernels.gelu(x).sum())(torch.randn(4, 16))


def test_a_product_without_a_gradient_says_how_to_declare_one() -> None:
    kernels = spakc.load(KERNELS / "matmul.spak")
    a, b = (torch.randn(8, 8, dtype=torch.bfloat16, requires_grad=grad) for grad in (True, False))
    with pytest.raises(GradientError, match="declare `gradient C wrt A`"):
        kernels.matmul(a, b)
    with torch.no_grad():
        assert kernels.matmul(a, b).shape == (8, 8)
