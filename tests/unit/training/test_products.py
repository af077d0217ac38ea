"""The products of a training step ask a kernel for what it does fast, whatever the sizes of the model."""

import pytest
import torch

import spak_runtime
import spakc
from spak_runtime.training import ops as module
from spak_runtime.training.ops import Ops
from tests.unit.emit.planned import ROOT


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    out = tmp_path_factory.mktemp("matmul")
    spakc.compile_file(ROOT / "examples" / "kernels" / "matmul.spak", out)
    return spak_runtime.load(out)


@pytest.mark.parametrize(("width", "out"), [(64, 14), (30, 64), (64, 32)])
def test_rows_begin_where_wide_copies_may(artifact, monkeypatch, width, out):
    """A vocabulary of 14, say, whose gradient would be multiplied without tensor cores."""
    asked = []
    multiply = module._multiply

    def recorded(kernel, a, b):
        asked.extend((a, b))
        return multiply(kernel, a, b)

    monkeypatch.setattr(module, "_multiply", recorded)
    ops = Ops({"linear": "matmul"}, ("linear",), artifact, torch.device("cuda"))  # asks kernels, on the host
    x = torch.randn(5, 7, width, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(out, width, dtype=torch.bfloat16, requires_grad=True)
    y = ops.linear(x, weight)
    right = x.double() @ weight.double().t()
    torch.testing.assert_close(y.double(), right, rtol=2.0**-8, atol=0.05)
    grad = torch.randn(5, 7, out, dtype=torch.bfloat16)
    found = torch.autograd.grad(y, (x, weight), grad)
    wanted = torch.autograd.grad(right, (x, weight), grad.double())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=2.0**-6, atol=0.1)
    assert len(asked) == 6
    for matrix in asked:
        assert sorted(matrix.stride())[0] == 1 and max(matrix.stride()) % 8 == 0, matrix.stride()
